//go:build unix

package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// open returns another manager of the same home.
func (w *world) another() *supervisor.Manager {
	w.Helper()
	m, err := supervisor.Open(&supervisor.Options{Home: w.dir})
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// Whoever reads a state file, at any moment, reads a whole one; and a start of
// a server that runs, however often, is no harm to it.
func TestFault7_StateIsNeverTorn(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 1000)
	st := w.start("a", spec)
	shim := st.ShimPID
	done := make(chan struct{})
	var reads, starts atomic.Int64
	var all sync.WaitGroup
	forever := func(act func() error) {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := act(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	path := w.path("runtime", "a.toml")
	forever(func() error {
		doc, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		reads.Add(1)
		_, err = parseRef(doc)
		return err
	})
	forever(func() error {
		_, err := w.m.Status(w.ctx, "a")
		return err
	})
	forever(func() error {
		starts.Add(1)
		_, err := w.m.Start(w.ctx, "a", spec)
		return err
	})
	for range rounds(100, 10) {
		end(t, st.PID)
		st = w.awaitNext("a", st.Generation)
	}
	close(done)
	all.Wait()
	equal(t, "shim", w.status("a").ShimPID, shim)
	t.Logf("%d reads, %d starts", reads.Load(), starts.Load())
	if reads.Load() < 100 || starts.Load() < 10 {
		t.Errorf("%d reads and %d starts show nothing", reads.Load(), starts.Load())
	}
}

// However many start a server at once, one process is started.
func TestFault8_ConcurrentStartsAreOne(t *testing.T) {
	const starters = 30
	w := newWorld(t)
	births := filepath.Join(shortDir(t), "births")
	spec := sh(`echo $$ >>"$0"; exec cat >/dev/null`, births)
	var managers []*supervisor.Manager
	for range starters {
		managers = append(managers, w.another())
	}
	for round := range rounds(50, 3) {
		var started atomic.Int64
		var all sync.WaitGroup
		for _, m := range managers {
			all.Go(func() {
				outcome, err := m.Start(w.ctx, "a", spec)
				if err != nil {
					t.Error(err)
				}
				if outcome == berth.Started {
					started.Add(1)
				}
			})
		}
		all.Wait()
		equal(t, fmt.Sprintf("starts of round %d", round), started.Load(), 1)
		// The stop waits for the end of the tree, so every process that there
		// was has written its line.
		w.stop("a")
		lines, err := os.ReadFile(births)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(lines), "\n"); n != round+1 {
			t.Fatalf("%d processes in %d rounds", n, round+1)
		}
		if t.Failed() {
			return
		}
	}
}

// A stop right after a crash finds the server dead, being cleared away, or up
// again; whichever it is, nothing is left afterwards.
func TestFault11_StopRightAfterACrash(t *testing.T) {
	w := newWorld(t)
	spec := deaf()
	spec.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: 1000, MinDelay: berth.Duration(20 * time.Millisecond), MaxDelay: berth.Duration(100 * time.Millisecond),
	}
	n := rounds(200, 12)
	for i := range n {
		st := w.start("a", spec)
		if i%2 == 1 { // the second restart of a run has a delay
			end(t, st.PID)
			st = w.awaitNext("a", st.Generation)
		}
		end(t, st.PID)
		// Not a wait for something: the moment of the stop is what is varied.
		time.Sleep(200 * time.Millisecond * time.Duration(i) / time.Duration(n))
		if _, err := w.m.Stop(w.ctx, "a"); err != nil {
			t.Fatal(err)
		}
		w.hasNoProcess("a", fmt.Sprintf("round %d", i))
		if t.Failed() {
			return
		}
	}
}

// To look at a server that has just crashed does not keep it from coming back.
func TestFault11_LookingCancelsNothing(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 1000)
	st := w.start("a", spec)
	shim := st.ShimPID
	ctx, cancel := context.WithCancel(w.ctx)
	var all sync.WaitGroup
	for range 4 {
		m := w.another()
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := m.Names(); err != nil {
					t.Error(err)
				}
				if _, err := m.Status(w.ctx, "a"); err != nil {
					t.Error(err)
				}
				if _, err := m.Logs("a", 5); err != nil {
					t.Error(err)
				}
				if _, err := m.Reconcile(w.ctx, "a", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range rounds(20, 5) {
		end(t, st.PID)
		st = w.awaitNext("a", st.Generation)
	}
	cancel()
	all.Wait()
	equal(t, "shim", w.status("a").ShimPID, shim)
}
