package home

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A full disk is survived: what could not be written is counted, and lifecycle
// lines come later, in their order.
func TestLogOnAFullDisk(t *testing.T) {
	h, err := Open(smallDisk(t, "256k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := openTestLog(t, h, LogOptions{Now: func() time.Time { return time.Unix(50, 0) }})
	lifecycle := func(at int64, text string, want error) {
		t.Helper()
		if err := l.Lifecycle(time.Unix(at, 0), text); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Fatalf("%s: %v, want %v", text, err, want)
		}
	}
	lifecycle(10, LogStart(1), nil)
	free := fillDisk(t, h.Dir())
	// The rest of the page that the file has already takes some more.
	page := strings.Repeat("x", 3000)
	for range 3 {
		l.Output([]byte(page + "\n"))
	}
	lost := l.Lost()
	if lost < 3000 || lost > 9003 {
		t.Fatalf("%d bytes are said to be lost", lost)
	}
	lifecycle(20, LogExit, syscall.ENOSPC)
	lifecycle(21, LogStart(2), syscall.ENOSPC)
	l.Output([]byte("more\n"))
	if l.Lost() != lost+5 {
		t.Fatalf("%d bytes are said to be lost, want %d", l.Lost(), lost+5)
	}
	free()
	l.Output([]byte("out\n"))
	lifecycle(30, LogStop, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := wholeLog(t, h.logPath("s"), 1<<20)
	// Tries that ended in the middle leave their beginnings as lines.
	end := fmt.Sprintf("\n[20] EXIT\n[21] START pid=2\n[50] LOG_DROPPED bytes=%d\nout\n[30] STOP\n", lost+5)
	if !strings.HasPrefix(got, "[10] START pid=1\nxxx") || !strings.HasSuffix(got, end) {
		t.Errorf("got %q, want it to end in %q", got, end)
	}
}

// The lines that wait for a full disk are bounded.
func TestLogOnADiskThatStaysFull(t *testing.T) {
	h, err := Open(smallDisk(t, "64k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fillDisk(t, h.Dir())
	l := openTestLog(t, h, LogOptions{})
	for i := range 10 * logMaxLate {
		if err := l.Lifecycle(time.Unix(0, 0), LogStart(i)); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if len(l.late) != logMaxLate || l.Lost() == 0 {
		t.Errorf("%d lines wait, %d bytes are lost", len(l.late), l.Lost())
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close returned %v", err)
	}
}
