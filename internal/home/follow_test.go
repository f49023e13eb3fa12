package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// following runs Follow and hands its lines to the test.
type following struct {
	t      *testing.T
	lines  chan string
	ended  chan error
	cancel context.CancelFunc
}

func follow(t *testing.T, h *Home, name string, n int) *following {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	f := &following{t: t, lines: make(chan string), ended: make(chan error, 1), cancel: cancel}
	go func() {
		f.ended <- h.Follow(ctx, name, n, func(line []byte) error {
			select {
			case f.lines <- string(line):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(cancel)
	return f
}

// want waits for the lines.
func (f *following) want(lines ...string) {
	f.t.Helper()
	for _, want := range lines {
		select {
		case got := <-f.lines:
			if got != want {
				f.t.Fatalf("got the line %q, want %q", got, want)
			}
		case err := <-f.ended:
			f.t.Fatalf("ended with %v before %q", err, want)
		}
	}
}

// end stops following, and no line may be left.
func (f *following) end() {
	f.t.Helper()
	f.cancel()
	select {
	case got := <-f.lines:
		f.t.Fatalf("got the line %q, want none", got)
	case err := <-f.ended:
		if !errors.Is(err, context.Canceled) {
			f.t.Fatalf("ended with %v", err)
		}
	}
}

func openTestHome(t testing.TB) *Home {
	t.Helper()
	h, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func openTestLog(t testing.TB, h *Home, o LogOptions) *Log {
	t.Helper()
	l, err := h.OpenLog("s", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestFollowLogThatDoesNotExistYet(t *testing.T) {
	h := openTestHome(t)
	f := follow(t, h, "s", 10)
	// Another server's log wakes it and is not mistaken for ours.
	other, err := h.OpenLog("other", LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Output([]byte("no\n"))
	l := openTestLog(t, h, LogOptions{})
	l.Output([]byte("one\ntw"))
	f.want("one")
	l.Flush()
	l.Output([]byte("o\n\xff\n"))
	f.want("two", "\xff")
	f.end()
}

func TestFollowBeginsWithFinishedLines(t *testing.T) {
	h := openTestHome(t)
	l := openTestLog(t, h, LogOptions{})
	l.Output([]byte("a\nb\nc\nunfin"))
	l.Flush()
	for n, want := range [][]string{{}, {"c"}, {"b", "c"}, {"a", "b", "c"}, {"a", "b", "c"}} {
		f := follow(t, h, "s", n)
		f.want(want...)
		f.end()
	}
	f := follow(t, h, "s", 1)
	f.want("c")
	l.Output([]byte("ished\n"))
	f.want("unfinished")
	f.end()
}

// More is written between two looks than fits in one file, and one line goes on
// from file to file.
func TestFollowAcrossRotation(t *testing.T) {
	h := openTestHome(t)
	l := openTestLog(t, h, LogOptions{MaxBytes: 4 << 10, Keep: 50, BytesPerSecond: -1})
	l.Output([]byte("begin\n"))
	f := follow(t, h, "s", 5)
	f.want("begin")
	long := strings.Repeat("long ", 2000)
	for round := range 5 {
		for i := range 500 {
			l.Output(fmt.Appendf(nil, "line %d of %d\n", i, round))
		}
		l.Output([]byte(long + "\n"))
		for i := range 500 {
			f.want(fmt.Sprintf("line %d of %d", i, round))
		}
		f.want(long)
	}
	numbers, err := tailNumbers(h.logPath("s"))
	if err != nil || len(numbers) < 10 {
		t.Errorf("rotated files %v, %v: the log did not rotate enough for this test", numbers, err)
	}
	f.end()
}

// The log is rotated all the time between any two steps of the reader.
func TestFollowDuringRotation(t *testing.T) {
	h := openTestHome(t)
	l := openTestLog(t, h, LogOptions{MaxBytes: 4 << 10, Keep: tailMaxNumber, BytesPerSecond: -1})
	l.Output([]byte("line -1\n"))
	f := follow(t, h, "s", 1)
	f.want("line -1")
	const lines = 20000
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range lines {
			l.Output(fmt.Appendf(nil, "line %d\n", i))
		}
	})
	defer writer.Wait()
	for i := range lines {
		f.want(fmt.Sprint("line ", i))
	}
	f.end()
}

func TestFollowLogMadeShorterOrReplaced(t *testing.T) {
	h := openTestHome(t)
	path := h.logPath("s")
	if err := os.WriteFile(path, []byte("first\nunfinished"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := follow(t, h, "s", 1)
	f.want("first")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	l := openTestLog(t, h, LogOptions{})
	l.Output([]byte("second\n"))
	f.want("second")
	// Someone's own rotation: a rename to a name of theirs.
	if err := os.Rename(path, filepath.Join(filepath.Dir(path), "s.old")); err != nil {
		t.Fatal(err)
	}
	if err := l.Lifecycle(time.Unix(7, 0), LogStop); err != nil {
		t.Fatal(err)
	}
	f.want("[7] STOP")
	f.end()
}

func TestFollowEndsWithTheCallersError(t *testing.T) {
	h := openTestHome(t)
	l := openTestLog(t, h, LogOptions{})
	l.Output([]byte("a\nb\n"))
	stop := errors.New("enough")
	calls := 0
	err := h.Follow(t.Context(), "s", 9, func([]byte) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("ended with %v after %d calls", err, calls)
	}
	if err := h.Follow(t.Context(), "../s", 9, nil); err == nil {
		t.Error("a name that is a path was taken")
	}
}
