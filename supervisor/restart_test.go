//go:build unix

package supervisor_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func TestR1_RestartOfARunningServer(t *testing.T) {
	w := newWorld(t)
	old := idle()
	was := w.start("a", old)
	spec := restarting(sh("cat >/dev/null", "anew"), 4)
	if err := w.m.Restart(w.ctx, "a", spec); err != nil {
		t.Fatal(err)
	}
	st := w.status("a")
	if st.Status != berth.Running || st.PID == was.PID || st.ShimPID != was.ShimPID || st.MaxRestarts != 4 || st.Restarts != 0 {
		t.Errorf("status: %+v", st)
	}
	w.hasLifecycle("a", startLine(was.PID), "STOP", startLine(st.PID))
	w.hasActions("a", "start", "stop", "start", "restart")
	w.last("a", "stop").about(t, was.PID, old)
	w.last("a", "start").about(t, st.PID, spec)
	w.last("a", "restart").about(t, st.PID, spec)
}

func TestR1_RestartOfAStoppedServer(t *testing.T) {
	w := newWorld(t)
	spec := idle()
	if err := w.m.Restart(w.ctx, "a", spec); err != nil {
		t.Fatal(err)
	}
	st := w.status("a")
	equal(t, "status", st.Status, berth.Running)
	w.hasLifecycle("a", startLine(st.PID))
	w.hasActions("a", "start", "restart")
	w.last("a", "restart").about(t, st.PID, spec)
}

func TestR1_RestartOfADeadServer(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		old := deaf()
		pid := kill(w, "a", old)
		spec := idle()
		if err := w.m.Restart(w.ctx, "a", spec); err != nil {
			w.Fatal(err)
		}
		st := w.status("a")
		equal(w, "status", st.Status, berth.Running)
		lines, actions := w.lifecycle("a"), w.actions("a")
		equal(w, "first line", lines[0], "EXIT")
		equal(w, "last line", lines[len(lines)-1], startLine(st.PID))
		equal(w, "first record", actions[0], "exit")
		equal(w, "last record", actions[len(actions)-1], "restart")
		w.last("a", "exit").about(w, pid, old)
		w.last("a", "restart").about(w, st.PID, spec)
	})
}

func TestR1_RestartOfTheReference(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	spec := idle()
	if err := w.m.Restart(w.ctx, "a", spec); err != nil {
		t.Fatal(err)
	}
	equal(t, "the reference's process runs", running(ref.pid), false)
	st := w.status("a")
	if st.Status != berth.Running || st.PID == ref.pid || st.ShimPID == 0 || st.Warning != "" {
		t.Errorf("status: %+v", st)
	}
	w.hasLifecycle("a", "STOP", startLine(st.PID))
	w.hasActions("a", "stop", "start", "restart")
}

func TestR1_RestartOfABackoff(t *testing.T) {
	w := newWorld(t)
	w.inBackoff("a")
	if err := w.m.Restart(w.ctx, "a", idle()); err != nil {
		t.Fatal(err)
	}
	if st := w.status("a"); st.Status != berth.Running || st.Restarts != 0 || st.MaxRestarts != 0 {
		t.Errorf("status: %+v", st)
	}
}

func TestM1_MaxRestartsZero(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 0)
	st := w.start("a", spec)
	w.kill(st.PID)
	got := w.awaitPhase("a", berth.PhaseExited)
	w.awaitShimEnd("a")
	if got.Status != berth.Stopped || got.Error == "" {
		t.Errorf("status: %+v", got)
	}
	if st := w.reconcile("a", &spec); st.Status != berth.Stopped {
		t.Errorf("reconcile: %+v", st)
	}
	if err := w.m.Supervise(w.ctx, "a", spec); err != nil {
		t.Errorf("supervise: %v", err)
	}
	w.hasLifecycle("a", startLine(st.PID), "EXIT")
	w.hasActions("a", "start", "exit")
}

// A client that needs a process nobody shook hands with gets one; of another
// generation than it saw, it has one.
func TestRenewIsNoRestart(t *testing.T) {
	w := newWorld(t)
	first := w.start("a", restarting(idle(), 3))
	if err := w.m.Renew(w.ctx, "a", first.Generation); err != nil {
		t.Fatal(err)
	}
	second := w.status("a")
	if second.Generation != first.Generation+1 || second.PID == first.PID || second.Restarts != 0 {
		t.Errorf("status: %+v", second)
	}
	if err := w.m.Renew(w.ctx, "a", first.Generation); err != nil {
		t.Fatal(err)
	}
	equal(t, "pid", w.status("a").PID, second.PID)
	w.hasActions("a", "start", "stop", "renew")
}

// A limit that held before a restart, of whatever kind, holds after it.
func TestFault13_RestartKeepsLimits(t *testing.T) {
	w := newWorld(t)
	// Each process counts itself: a pid may mean something else to it.
	count := filepath.Join(w.dir, "count")
	spec := restarting(sh(`echo >>"$0"; echo limit of $(wc -l <"$0") is $(ulimit -n) >&2; exec sleep 1000`, count), 10)
	spec.Grace = berth.Duration(10 * time.Millisecond)
	spec.MaxFileDescriptors = 77
	st := w.start("a", spec)
	w.awaitLog("a", "limit of 1 is 77")

	w.kill(st.PID) // by the shim
	st = w.awaitNext("a", st.Generation)
	w.awaitLog("a", "limit of 2 is 77")

	if err := w.m.Restart(w.ctx, "a", spec); err != nil { // by a user
		t.Fatal(err)
	}
	st = w.status("a")
	w.awaitLog("a", "limit of 3 is 77")

	w.kill(st.ShimPID) // by a successor
	w.awaitShimEnd("a")
	st = w.reconcile("a", &spec)
	w.awaitLog("a", "limit of 4 is 77")

	if err := w.m.Renew(w.ctx, "a", st.Generation); err != nil {
		t.Fatal(err)
	}
	w.awaitLog("a", "limit of 5 is 77")
}
