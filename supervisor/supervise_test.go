//go:build unix

package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// supervise runs Supervise; the channel tells its end.
func (w *world) supervise(name string, s berth.ProcessSpec) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- w.m.Supervise(w.ctx, name, s) }()
	return ended
}

// ended returns what Supervise returned.
func (w *world) ended(supervise <-chan error) error {
	w.Helper()
	select {
	case err := <-supervise:
		return err
	case <-time.After(patience):
		w.Fatal("supervise does not end")
		return nil
	}
}

func TestV1_AutoRestartOff(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		kill(w, "a", deaf())
		before := w.snapshot()
		off := idle()
		off.AutoRestart = &berth.RestartPolicy{MaxRestarts: 3}
		for _, spec := range []berth.ProcessSpec{idle(), off} {
			if err := w.m.Supervise(w.ctx, "a", spec); err != nil {
				w.Errorf("supervise: %v", err)
			}
		}
		w.unchanged(before)
	})
}

func TestV2_EndsWhenItIsStopped(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 100)
	st := w.start("a", spec)
	first, second := w.supervise("a", spec), w.supervise("a", spec) // two owners are none: the shim is one
	w.kill(st.PID)
	st = w.awaitNext("a", st.Generation)
	w.kill(st.ShimPID)
	st = w.awaitNext("a", st.Generation) // only they can have done it
	w.stop("a")
	for _, s := range []<-chan error{first, second} {
		if err := w.ended(s); err != nil {
			t.Errorf("supervise: %v", err)
		}
	}
	w.hasNoProcess("a", "after the stop")
	// Of a server that is stopped it says so at once, and lets it be.
	before := w.snapshot()
	if err := w.m.Supervise(w.ctx, "a", spec); err != nil {
		t.Errorf("supervise: %v", err)
	}
	w.unchanged(before)
}

func TestV2_EndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 3)
	st := w.start("a", spec)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.m.Supervise(ctx, "a", spec) }()
	cancel(why)
	is(t, w.ended(ended), why)
	equal(t, "pid", w.status("a").PID, st.PID)
}

// The reference's supervisor waits for ever for such a server.
func TestV3_RunningWithoutAPID(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 3)
	ref := refOf(0, spec)
	w.writeRef("a", ref)
	if st := w.status("a"); st.Status != berth.Stopped {
		t.Errorf("status: %+v", st)
	}
	ended := w.supervise("a", spec)
	st := w.awaitNext("a", 0)
	w.hasLifecycle("a", "EXIT", autoLine(st.PID, 1, 3))
	w.hasActions("a", "exit", "auto-restart")
	w.last("a", "exit").about(t, 0, spec)
	w.stop("a")
	if err := w.ended(ended); err != nil {
		t.Errorf("supervise: %v", err)
	}
}

// Each death is logged and audited, and followed by the next process.
func TestV4_EachDeathIsOnRecord(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 10)
		pid := kill(w, "a", spec)
		ended := w.supervise("a", spec)
		lines, actions := []string{"EXIT"}, []string{"exit"}
		var generation uint64
		if st := w.status("a"); st.Generation > 0 {
			generation = 1 // of the one that was killed with its shim
		}
		var pids []int
		for i := range 3 {
			st := w.awaitNext("a", generation)
			generation = st.Generation
			pids = append(pids, st.PID)
			lines = append(lines, autoLine(st.PID, i+1, 10), "EXIT")
			actions = append(actions, "auto-restart", "exit")
			w.kill(st.PID)
		}
		st := w.awaitNext("a", generation)
		lines, actions = append(lines, autoLine(st.PID, 4, 10)), append(actions, "auto-restart")
		w.stop("a")
		if err := w.ended(ended); err != nil {
			w.Errorf("supervise: %v", err)
		}
		w.hasLifecycle("a", append(lines, "STOP")...)
		w.hasActions("a", append(actions, "stop")...)
		n := 0
		for _, r := range w.records("a") {
			if r.Action == "exit" {
				r.about(w, append([]int{pid}, pids...)[n], spec)
				n++
			}
		}
	})
}

func TestV5_OutOfAttempts(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		kill(w, "a", restarting(deaf(), 2))
		spec := restarting(sh("exit 4"), 2)
		if err := w.ended(w.supervise("a", spec)); err != nil {
			w.Errorf("supervise: %v", err)
		}
		w.awaitShimEnd("a")
		if st := w.status("a"); st.Status != berth.Stopped || st.Phase != berth.PhaseFailed || st.Restarts != 2 {
			w.Errorf("status: %+v", st)
		}
		w.hasActions("a", "exit", "auto-restart", "exit", "auto-restart", "exit")
	})
}

func TestV6_DeniedByPolicy(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 5)
		kill(w, "a", spec)
		ended := w.supervise("a", spec)
		st := w.await("a", "its next process", func(st berth.Status) bool { return st.Status == berth.Running && st.ShimPID != 0 })
		w.write("[servers]\ndeny = [\"a\"]\n", "policy.toml")
		w.kill(st.PID)
		if err := w.ended(ended); err != nil {
			w.Errorf("supervise: %v", err)
		}
		w.awaitShimEnd("a")
		w.hasLifecycle("a", "EXIT", autoLine(st.PID, 1, 5), "EXIT", "POLICY_DENIED_AUTO_RESTART")
		w.hasActions("a", "exit", "auto-restart", "exit", "policy-denied")
		equal(w, "status on disk", w.readRef("a").Status, "stopped")
	})
}

func TestV7_SpawnsTheNext(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 10)
	was := w.orphan("a", spec)
	ended := w.supervise("a", spec)
	st := w.awaitNext("a", was.Generation)
	equal(t, "the old process runs", running(was.PID), false)
	equal(t, "restarts", st.Restarts, 1)
	w.stop("a")
	if err := w.ended(ended); err != nil {
		t.Errorf("supervise: %v", err)
	}
}

// A stop that comes between a death and the next process wins.
func TestV8_StopInBetween(t *testing.T) {
	w := newWorld(t)
	spec := w.inBackoff("a")
	ended := w.supervise("a", spec)
	w.stop("a")
	if err := w.ended(ended); err != nil {
		t.Errorf("supervise: %v", err)
	}
	w.awaitShimEnd("a")
	w.hasNoProcess("a", "after the stop")
	lines := w.lifecycle("a")
	equal(t, "end of the log", fmt.Sprint(lines[len(lines)-2:]), "[EXIT STOP]")
}

func TestV9_SpawnErrorEndsIt(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		kill(w, "a", spec)
		spec.Command = "/no/such/program"
		is(w, w.ended(w.supervise("a", spec)), fs.ErrNotExist, spec.Command)
		if st := w.status("a"); st.Status != berth.Stopped || st.Phase != berth.PhaseFailed || st.Error == "" {
			w.Errorf("status: %+v", st)
		}
	})
}

// Also when it was the shim that tried.
func TestV9_SpawnErrorOfAShimEndsIt(t *testing.T) {
	w := newWorld(t)
	program := w.program("exec sleep 1000")
	spec := restarting(berth.ProcessSpec{Command: program}, 3)
	st := w.start("a", spec)
	ended := w.supervise("a", spec)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	w.kill(st.PID)
	is(t, w.ended(ended), fs.ErrNotExist, program)
	w.awaitShimEnd("a")
	if st := w.status("a"); st.Phase != berth.PhaseFailed || st.Error == "" {
		t.Errorf("status: %+v", st)
	}
}

func TestV10_StateErrorEndsIt(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 3)
	path := w.path("runtime", "a.toml")
	if err := os.Mkdir(path, 0o700); err != nil { // nobody can read it, or put it aside and know what it was
		t.Fatal(err)
	}
	err := w.ended(w.supervise("a", spec))
	if err == nil {
		t.Error("supervise: no error")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
