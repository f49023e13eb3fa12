package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// auditFollowing runs FollowAudit and hands what it tells to the test.
func auditFollowing(t *testing.T, h *Home, f AuditFilter) *following {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	a := &following{t: t, lines: make(chan string), ended: make(chan error, 1), cancel: cancel}
	go func() {
		a.ended <- h.FollowAudit(ctx, f, func(rec berth.Record, err error) error {
			text := rec.Action
			if err != nil {
				text = err.Error()
			}
			select {
			case a.lines <- text:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(cancel)
	return a
}

func TestFollowAuditFromNothing(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	f := auditFollowing(t, h, AuditFilter{Server: "s"})
	mustAppend(t, tr, action("one"), berth.Record{Server: "other", Action: "no"})
	f.want("one")
	mustAppend(t, tr, action("two"))
	f.want("two")
	f.end()
}

// What was there is handed out first, in order and once, files that were put aside
// included; then what comes, across rotation.
func TestFollowAuditAcrossRotation(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	tr.maxBytes = 1 // each append goes to a new file
	mustAppend(t, tr, action("one"))
	mustAppend(t, tr, action("two"))
	mustAppend(t, tr, action("three"))
	f := auditFollowing(t, h, AuditFilter{})
	f.want("one", "two", "three")
	for i := range 5 {
		mustAppend(t, tr, action(fmt.Sprint("more ", i)))
	}
	f.want("more 0", "more 1", "more 2", "more 3", "more 4")
	f.end()
}

// A reader that lags behind writers who put files aside misses and doubles nothing.
func TestFollowAuditDuringRotation(t *testing.T) {
	const writers, each = 4, 40
	h := openTestHome(t)
	tr := h.trail()
	tr.maxBytes = 500 // a file has three records or so
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if _, err := tr.append([]berth.Record{action("a")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer all.Wait()
	enough := errors.New("enough")
	next := uint64(1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := h.FollowAudit(ctx, AuditFilter{}, func(rec berth.Record, err error) error {
		if err != nil || rec.Seq != next {
			return fmt.Errorf("record %d (%v), want %d", rec.Seq, err, next)
		}
		if next++; next > writers*each {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

// A line that is being written is waited for; one that its writer takes back, since
// the disk was full, was never there; and what a crash cut off is told with the repair.
func TestFollowAuditUnfinishedLine(t *testing.T) {
	tr := testTrail(t)
	var got []string
	a := auditFollower{t: tr}
	defer a.close()
	a.sift = auditSift{t: tr, yield: func(rec berth.Record, err error) bool {
		text := rec.Action
		var line *AuditLineError
		if errors.As(err, &line) {
			text = fmt.Sprintf("line %d, repaired %v", line.Line, line.Repaired)
		}
		got = append(got, text)
		return true
	}}
	write := func(text string) {
		t.Helper()
		file, err := os.OpenFile(tr.path(auditCurrent), os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = file.WriteString(text)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(lines ...string) {
		t.Helper()
		if err := a.read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, lines) {
			t.Fatalf("got %q, want %q", got, lines)
		}
		got = nil
	}
	want()
	mustAppend(t, tr, action("one"))
	want("one")
	write(`{"server":"s","action":`)
	want()
	write(`"slow"}` + "\n")
	want("slow")
	size := int64(len(readTrail(t, tr)))
	write(`{"taken":"back`)
	want()
	if err := os.Truncate(tr.path(auditCurrent), size); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, tr, action("two"))
	want("two")
	write(`{"cut off`)
	want()
	mustAppend(t, tr, action("three"))
	want("line 4, repaired true", berth.ActionAuditRepaired, "three")
}

// Of a long trail only the files are read that may have what is wanted.
func TestAuditRecent(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	tr.maxBytes = 1
	for _, a := range []string{"one", "two", "three"} {
		mustAppend(t, tr, action(a))
	}
	older, err := tr.olderFiles()
	if err != nil || len(older) != 2 {
		t.Fatal(older, err)
	}
	past := time.Now().Add(-time.Hour)
	writeOld := tr.path(older[0])
	if err := errors.Join(os.WriteFile(writeOld, []byte("no record\n"), 0o600), os.Chtimes(writeOld, past, past)); err != nil {
		t.Fatal(err)
	}
	f := AuditFilter{Since: time.Now().Add(-time.Minute), Recent: true}
	got := []string{}
	for rec, err := range h.Audit(f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Action)
	}
	if !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("got %q", got)
	}
	follows := auditFollowing(t, h, f)
	follows.want("two", "three")
	follows.end()
}

// Of a long file the end is read that may have what is wanted; a few records that were
// written late do not hide what is before them.
func TestAuditRecentInOneFile(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	now := time.Now()
	at := func(name string, ago time.Duration) berth.Record {
		rec := action(name)
		rec.Time = now.Add(-ago)
		return rec
	}
	path := tr.path(auditCurrent)
	mustAppend(t, tr, at("old", time.Hour))
	// Whoever reads this line says so.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("no record\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	filler := make([]berth.Record, 4*auditLate)
	for i := range filler {
		filler[i] = at("old", time.Hour)
	}
	mustAppend(t, tr, filler...)
	mustAppend(t, tr, at("one", time.Second))
	mustAppend(t, tr, filler[:auditLate-1]...) // late
	mustAppend(t, tr, at("two", time.Second))
	filter := AuditFilter{Since: now.Add(-time.Minute), Recent: true}
	read := func() (got []string) {
		for rec, err := range h.Audit(filter) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rec.Action)
		}
		return got
	}
	if got := read(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
	follows := auditFollowing(t, h, filter)
	follows.want("one", "two")
	mustAppend(t, tr, at("three", 0))
	follows.want("three")
	follows.end()

	// Where all of it is wanted, all of it is.
	filter.Since = now.Add(-2 * time.Hour)
	n, bad := 0, 0
	for _, err := range h.Audit(filter) {
		if err != nil {
			bad++
		} else {
			n++
		}
	}
	if want := 1 + len(filler) + 1 + 1 + auditLate - 1 + 2; n != want || bad != 1 {
		t.Errorf("%d records of %d, and %d lines", n, want, bad)
	}
}

func TestFollowAuditEndsWithTheCallersError(t *testing.T) {
	h := openTestHome(t)
	mustAppend(t, h.trail(), action("one"))
	mine := errors.New("mine")
	if err := h.FollowAudit(t.Context(), AuditFilter{}, func(berth.Record, error) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}
