//go:build unix

package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// tail returns the last n lines of the server's log, as the library hands them
// out, those of Berth's own without their time.
func (w *world) tail(name string, n int) []string {
	w.Helper()
	lines, err := w.m.Logs(name, n)
	if err != nil {
		w.Fatal(err)
	}
	var all []string
	for _, line := range lines {
		text := string(line)
		if m := lifecycleLine().FindStringSubmatch(text + "\n"); m != nil {
			text = m[2]
		}
		all = append(all, text)
	}
	return all
}

// talks is a server that prints, by stderr, and does not end before its input.
func talks(printf string) berth.ProcessSpec {
	return sh("printf '" + printf + "' >&2; exec cat >/dev/null")
}

func TestL1_LastLinesInOrder(t *testing.T) {
	w := newWorld(t)
	var script strings.Builder
	var want []string
	for i := range 100 {
		fmt.Fprintf(&script, `line %d\n`, i)
		want = append(want, fmt.Sprintf("line %d", i))
	}
	st := w.start("a", talks(script.String()))
	w.awaitLog("a", "line 99")
	w.stop("a")
	want = slices.Concat([]string{startLine(st.PID)}, want, []string{"STOP"})
	for _, n := range []int{1, 2, 50, 101, 102, 103, 1 << 30} {
		if got := w.tail("a", n); !slices.Equal(got, want[max(0, len(want)-n):]) {
			t.Errorf("the last %d lines are %q", n, got)
		}
	}
}

func TestL1_NoLinesOrNoLog(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	for _, n := range []int{0, 1, 50} {
		if lines, err := w.m.Logs("never", n); err != nil || len(lines) != 0 {
			t.Errorf("the last %d lines of no log: %q, %v", n, lines, err)
		}
	}
	w.unchanged(before)
	w.start("a", idle())
	for _, n := range []int{0, -1} {
		if lines, err := w.m.Logs("a", n); err != nil || len(lines) != 0 {
			t.Errorf("the last %d lines: %q, %v", n, lines, err)
		}
	}
	for _, name := range []string{"", "../policy", "A"} {
		_, err := w.m.Logs(name, 1)
		is(t, err, berth.ErrInvalidName)
		is(t, w.m.FollowLogs(w.ctx, name, 1, func([]byte) error { return nil }), berth.ErrInvalidName)
	}
}

// Lines are bytes: the reference stumbles over one that is not UTF-8. A line
// that its server did not finish is one all the same.
func TestL1_AnyBytes(t *testing.T) {
	w := newWorld(t)
	w.start("a", talks(`\377\376 x\n\000\001\033[2J\n\ntwo \r\n\303(\n\357\273\277bom\nunfinished`))
	w.awaitLog("a", "bom")
	w.stop("a")
	want := []string{"\xff\xfe x", "\x00\x01\x1b[2J", "", "two \r", "\xc3(", "\ufeffbom", "unfinished", "STOP"}
	if got := w.tail("a", len(want)); !slices.Equal(got, want) {
		t.Errorf("the lines are %q, want %q", got, want)
	}
}

// Where the newest file holds too few lines they come from those that were
// rotated out of it, also while the server runs on.
func TestL1_IntoRotatedFiles(t *testing.T) {
	w := newWorld(t)
	w.write("1\n2\n", "logs", "a.log.2")
	w.write("3\n4 goes on", "logs", "a.log.1")
	w.write(" here\n5\n", "logs", "a.log")
	w.write("not this\n", "logs", "a.log.bak")
	w.write("nor that\n", "logs", "aa.log")
	st := w.start("a", talks(`said\n`))
	w.awaitLog("a", "said")
	want := []string{"1", "2", "3", "4 goes on here", "5", startLine(st.PID), "said"}
	for n := range len(want) + 3 {
		if got := w.tail("a", n); !slices.Equal(got, want[max(0, len(want)-n):]) {
			t.Errorf("the last %d lines are %q", n, got)
		}
	}
	// A log that is gone is none; what the server says is written anew or not
	// at all, but nothing fails.
	for _, file := range []string{"a.log", "a.log.1", "a.log.2"} {
		if err := os.Remove(w.path("logs", file)); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.tail("a", 10); len(got) != 0 {
		t.Errorf("of no file: %q", got)
	}
	w.stop("a")
}

// Follow hands out what was there, then what comes, each line once, across a
// restart.
func TestL1_Follow(t *testing.T) {
	w := newWorld(t)
	spec := talks(`hello\n`)
	st := w.start("a", spec)
	w.awaitLog("a", "hello")
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var got []string
	enough := errors.New("enough")
	restarted := make(chan error, 1)
	err := w.m.FollowLogs(ctx, "a", 2, func(line []byte) error {
		if m := lifecycleLine().FindSubmatch(append(bytes.Clone(line), '\n')); m != nil {
			line = m[2]
		}
		got = append(got, string(line))
		switch len(got) {
		case 2:
			go func() { restarted <- w.m.Restart(w.ctx, "a", spec) }()
		case 5:
			return enough
		}
		return nil
	})
	is(t, err, enough)
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	want := []string{startLine(st.PID), "hello", "STOP", startLine(w.status("a").PID), "hello"}
	if !slices.Equal(got, want) {
		t.Errorf("followed %q, want %q", got, want)
	}
}
