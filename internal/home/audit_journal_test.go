package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func testJournal(t testing.TB, tr trail) *AuditJournal {
	h := &Home{dir: filepath.Dir(tr.dir)}
	j := newJournal(h, tr)
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return j
}

// headOf is the last record that the trail's head acknowledges.
func headOf(t testing.TB, tr trail) uint64 {
	t.Helper()
	head, err := tr.head()
	if err != nil {
		t.Fatal(err)
	}
	return head.Seq
}

// What Append wrote can be read at once, and is acknowledged soon; what Commit
// wrote is acknowledged when it returns.
func TestJournalAcknowledges(t *testing.T) {
	tr := testTrail(t)
	j := testJournal(t, tr)
	if err := j.Append(action("a")); err != nil {
		t.Fatal(err)
	}
	if r := wantWhole(t, tr); r.Records != 1 {
		t.Fatalf("%+v after an append", r)
	}
	deadline := time.Now().Add(time.Minute)
	for headOf(t, tr) < 1 {
		if time.Now().After(deadline) {
			t.Fatal("a record was not synced by itself")
		}
		time.Sleep(time.Millisecond) // the head is written by nobody who would tell
	}
	for i := range uint64(5) {
		if err := j.Commit(action("b")); err != nil {
			t.Fatal(err)
		}
		if got := headOf(t, tr); got != i+2 {
			t.Fatalf("record %d was committed, the head is at %d", i+2, got)
		}
	}
	if r := wantWhole(t, tr); r.Records != 6 || len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
}

// Journals, and writers that open the trail each time, append side by side while
// the trail goes on in new files: every record is there once, each writer's in
// its order.
func TestJournalAmongWriters(t *testing.T) {
	const each = 300
	tr := testTrail(t)
	tr.maxBytes = 8 << 10
	var all sync.WaitGroup
	writer := func(name string, write func(berth.Record) error) {
		all.Go(func() {
			for i := range each {
				if err := write(action(fmt.Sprintf("%s.%d", name, i))); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	for n := range 2 {
		j := testJournal(t, tr)
		for m := range 3 {
			writer(fmt.Sprintf("append%d%d", n, m), j.Append)
		}
		writer(fmt.Sprint("commit", n), j.Commit)
		writer(fmt.Sprint("bare", n), func(r berth.Record) error {
			_, err := tr.append([]berth.Record{r})
			return err
		})
	}
	all.Wait()
	report := wantWhole(t, tr)
	if report.Records != 10*each || report.Files < 3 || len(report.Notes) > 0 {
		t.Errorf("%+v", report)
	}
	next := map[string]int{}
	err := tr.each(AuditFilter{}, func(_ string, l auditLine) bool {
		var writer string
		var n int
		for i := range l.rec.Action {
			if l.rec.Action[i] == '.' {
				writer = l.rec.Action[:i]
				fmt.Sscan(l.rec.Action[i+1:], &n)
			}
		}
		if n != next[writer] {
			t.Errorf("%s has record %d where %d was to be", writer, n, next[writer])
		}
		next[writer] = n + 1
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What others do to the end of the trail meanwhile is noticed, and said, as by
// Append.
func TestJournalNoticesTheEnd(t *testing.T) {
	for name, change := range map[string]struct {
		do   func(t *testing.T, tr trail)
		says string
	}{
		"a fragment": {func(t *testing.T, tr trail) { writeTrail(t, tr, append(readTrail(t, tr), `{"cut`...)) }, berth.ActionAuditRepaired},
		"a missing end": {func(t *testing.T, tr trail) {
			data := readTrail(t, tr)
			writeTrail(t, tr, data[:len(data)/2+2])
		}, berth.ActionAuditGap},
		"a file of another": {func(t *testing.T, tr trail) {
			for _, file := range []string{auditCurrent, "head"} {
				if err := os.Remove(tr.path(file)); err != nil {
					t.Fatal(err)
				}
			}
			mustAppend(t, tr, action("new"))
		}, "new"},
		"no file": {func(t *testing.T, tr trail) {
			if err := os.Remove(tr.path(auditCurrent)); err != nil {
				t.Fatal(err)
			}
		}, berth.ActionAuditGap},
	} {
		t.Run(name, func(t *testing.T) {
			tr := testTrail(t)
			j := testJournal(t, tr)
			for _, a := range []string{"one", "two"} {
				if err := j.Commit(action(a)); err != nil {
					t.Fatal(err)
				}
			}
			change.do(t, tr)
			if err := j.Append(action("three")); err != nil {
				t.Fatal(err)
			}
			said := map[string]bool{}
			if err := tr.each(AuditFilter{}, func(_ string, l auditLine) bool { said[l.rec.Action] = true; return true }); err != nil {
				t.Fatal(err)
			}
			if !said[change.says] || !said["three"] {
				t.Errorf("the trail says %v", said)
			}
		})
	}
}

// The lock may be removed with the home and made anew: then it is taken anew.
func TestJournalTakesTheLockThatIsThere(t *testing.T) {
	tr := testTrail(t)
	j := testJournal(t, tr)
	if err := j.Append(action("a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(tr.path("audit.lock")); err != nil {
		t.Fatal(err)
	}
	other, err := TryLock(tr.path("audit.lock"))
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- j.Append(action("b")) }()
	select {
	case err := <-written:
		t.Fatalf("it wrote under a lock that is no more: %v", err)
	case <-time.After(200 * time.Millisecond): // it waits
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestJournalThatIsClosed(t *testing.T) {
	tr := testTrail(t)
	j := newJournal(&Home{}, tr)
	if err := j.Append(action("a")); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := headOf(t, tr); got != 1 {
		t.Errorf("the head is at %d after the end", got)
	}
	for _, write := range []func(berth.Record) error{j.Append, j.Commit} {
		if err := write(action("b")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a write after the end: %v", err)
		}
	}
}
