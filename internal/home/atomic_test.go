package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bigState is a state of several pages whose parts all say n: a torn one is
// seen.
func bigState(n int) State {
	return State{Status: "running", PID: n, Args: []string{strings.Repeat(fmt.Sprint(n), 20000)}, ShimPID: n}
}

func whole(st State) bool {
	want := bigState(st.PID)
	want.UpdatedAt = st.UpdatedAt
	return reflect.DeepEqual(st, want)
}

func TestNoTornReads(t *testing.T) {
	h := openTestHome(t)
	if err := h.WriteState("s", bigState(1)); err != nil {
		t.Fatal(err)
	}
	const writers, readers, writes = 4, 4, 40
	var writing, reading sync.WaitGroup
	var done atomic.Bool
	var reads atomic.Int64
	for n := range writers {
		writing.Go(func() {
			for range writes {
				if err := h.WriteState("s", bigState(n+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range readers {
		reading.Go(func() {
			for !done.Load() {
				st, found, err := h.ReadState("s")
				if err != nil || !found || !whole(st) {
					t.Errorf("read %d torn: found %v, %v", reads.Load(), found, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
	if reads.Load() < writers*writes/4 {
		t.Errorf("only %d reads: that shows nothing", reads.Load())
	}
}

// Writers that are killed at any moment leave no torn file.
func TestKilledWriters(t *testing.T) {
	h := openTestHome(t)
	for round := range 20 {
		cmd, end := helper(t, "write", h.Dir())
		// A few reads pass, so that the moment differs from round to round.
		for range 1 + round%5 {
			if st, found, err := h.ReadState("s"); err != nil || found && !whole(st) {
				t.Fatalf("torn: %v", err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		end()
		if st, found, err := h.ReadState("s"); err != nil || found && !whole(st) {
			t.Fatalf("torn: %v", err)
		}
		if err := h.WriteState("s", bigState(round+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAbandonedTemporaryFilesGo(t *testing.T) {
	h := openTestHome(t)
	old, young := h.path(runtimeDir, ".tmp-s.toml-1"), h.path(runtimeDir, ".tmp-s.toml-2")
	other := h.path(runtimeDir, "other")
	for _, path := range []string{old, young, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ago := time.Now().Add(-2 * abandonedAfter)
	for _, path := range []string{old, other} {
		if err := os.Chtimes(path, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.WriteState("s", State{Status: "stopped"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	for _, path := range []string{young, other} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestReplaceMakesDirectoryAgain(t *testing.T) {
	h := openTestHome(t)
	if err := os.RemoveAll(h.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteState("s", State{Status: "stopped"}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := h.ReadState("s"); err != nil || !found {
		t.Errorf("found %v, %v", found, err)
	}
	if left, err := filepath.Glob(h.path(runtimeDir, tempPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkWriteState(b *testing.B) {
	h := openTestHome(b)
	st := fullState()
	for b.Loop() {
		if err := h.WriteState("s", st); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadState(b *testing.B) {
	h := openTestHome(b)
	if err := h.WriteState("s", fullState()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := h.ReadState("s"); err != nil {
			b.Fatal(err)
		}
	}
}
