package home

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
)

// A full disk refuses a record and leaves the trail as it was: nothing of the
// record stays, however far its write came.
func TestAuditOnAFullDisk(t *testing.T) {
	h, err := Open(smallDisk(t, "256k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := h.trail()
	mustAppend(t, tr, action("start"))
	free := fillDisk(t, h.Dir())
	stored, refused := 1, 0
	for i := range 50 {
		before := readTrail(t, tr)
		rec := action(fmt.Sprint("a", i))
		rec.Detail = strings.Repeat("x", i*200)
		_, err := h.Append(rec)
		if err == nil { // the last page of the file has some room
			stored++
			continue
		}
		refused++
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if after := readTrail(t, tr); !bytes.Equal(before, after) {
			t.Fatalf("a refused record changed the trail from %d to %d bytes", len(before), len(after))
		}
		if report := wantWhole(t, tr); report.Records != stored || len(report.Notes) > 0 {
			t.Fatalf("%+v, %d records were acknowledged", report, stored)
		}
	}
	if refused < 10 {
		t.Fatalf("only %d records were refused", refused)
	}
	free()
	kept := []berth.Record{{Action: "stop", Time: time.Unix(9, 0)}}
	if _, err := h.AppendAll(append([]berth.Record{AuditGap(kept, "the disk was full")}, kept...)); err != nil {
		t.Fatal(err)
	}
	if report := wantWhole(t, tr); report.Records != stored+2 || len(report.Notes) != 1 {
		t.Errorf("%+v, want %d records", report, stored+2)
	}
}

// A journal keeps what a full disk refuses, and writes it once there is room,
// after a record that says so.
func TestJournalOnAFullDisk(t *testing.T) {
	h, err := Open(smallDisk(t, "256k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := h.trail()
	j := h.AuditJournal()
	if err := errors.Join(j.Commit(action("a")), j.Ready()); err != nil {
		t.Fatal(err)
	}
	free := fillDisk(t, h.Dir())
	long := func(name string) berth.Record {
		rec := action(name)
		rec.Detail = strings.Repeat("x", 8000)
		return rec
	}
	for i := range journalKept + 3 {
		if err := j.Append(long(fmt.Sprint("late", i))); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	if err := j.Commit(long("late")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := j.Ready(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if report := wantWhole(t, tr); report.Records != 1 {
		t.Fatalf("%+v", report)
	}
	free()
	if err := unix.Mount("", h.Dir(), "", unix.MS_REMOUNT, "size=32m"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); j.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(j.Ready())
		}
	}
	if err := errors.Join(j.Append(action("z")), j.Close()); err != nil {
		t.Fatal(err)
	}
	report := wantWhole(t, tr)
	if report.Records != 1+1+journalKept+1 {
		t.Errorf("%+v", report)
	}
	var says []string
	for rec, err := range h.Audit(AuditFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(rec.Action, "late") {
			says = append(says, rec.Action+" "+rec.Detail)
		}
	}
	if len(says) != 3 || !strings.Contains(says[1], fmt.Sprint("in time: ", journalKept)) || !strings.Contains(says[1], "lost: 4") {
		t.Errorf("the trail says %q", says)
	}
}

// What an older crash left is not closed by a write that the disk refuses.
func TestAuditRepairOnAFullDisk(t *testing.T) {
	h, err := Open(smallDisk(t, "256k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := h.trail()
	mustAppend(t, tr, action("start"))
	writeTrail(t, tr, append(readTrail(t, tr), `{"cut`...))
	torn := readTrail(t, tr)
	free := fillDisk(t, h.Dir())
	rec := action("a")
	rec.Detail = strings.Repeat("x", 8000)
	if _, err := h.Append(rec); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if !bytes.Equal(readTrail(t, tr), torn) {
		t.Error("the trail was changed")
	}
	free()
	mustAppend(t, tr, rec)
	if report := wantWhole(t, tr); report.Records != 3 || len(report.Notes) != 2 {
		t.Errorf("%+v", report)
	}
}

// A home that cannot be written can be read, also while its end is torn.
func TestLogsAndAuditOfAReadOnlyHome(t *testing.T) {
	dir := smallDisk(t, "1m")
	h, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := openTestLog(t, h, LogOptions{})
	l.Output([]byte("a\nb\n"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, h.trail(), action("start"), action("stop"))
	writeTrail(t, h.trail(), append(readTrail(t, h.trail()), `{"cut`...))
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		h, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if lines, err := h.Tail("s", 1); err != nil || len(lines) != 1 || string(lines[0]) != "b" {
			t.Errorf("tail: %q, %v", lines, err)
		}
		if report, err := h.VerifyAudit(); err != nil || !report.OK() || report.Records != 2 || len(report.Notes) != 1 {
			t.Errorf("verify: %+v, %v", report, err)
		}
		var bad *AuditLineError
		records := 0
		for _, err := range h.Audit(AuditFilter{}) {
			if err == nil {
				records++
			} else if !errors.As(err, &bad) {
				t.Error(err)
			}
		}
		if records != 2 || bad == nil || !bad.Unfinished {
			t.Errorf("%d records, bad line %v", records, bad)
		}
		if _, err := h.Append(action("start")); err == nil {
			t.Error("a record was appended")
		}
		l, err := h.OpenLog("s", LogOptions{})
		if o != nil {
			if err == nil {
				t.Error("a log was opened for writing in a home opened for reading")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Lifecycle(time.Unix(0, 0), LogStop); !errors.Is(err, syscall.EROFS) {
			t.Errorf("lifecycle: %v", err)
		}
	}
}
