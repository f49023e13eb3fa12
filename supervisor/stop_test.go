//go:build unix

package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func TestP1_NeverRan(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	if outcome, err := w.m.Stop(w.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
		t.Errorf("stop: %v, %v", outcome, err)
	}
	w.unchanged(before)
}

func TestP1_AlreadyStopped(t *testing.T) {
	w := newWorld(t)
	w.start("a", idle())
	w.stop("a")
	w.awaitShimEnd("a")
	before := w.snapshot()
	if outcome, err := w.m.Stop(w.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
		t.Errorf("stop: %v, %v", outcome, err)
	}
	w.unchanged(before)
}

func TestP1_StoppedByTheReference(t *testing.T) {
	w := newWorld(t)
	ref := refOf(0, idle())
	ref.Status = "stopped"
	w.writeRef("a", ref)
	before := w.snapshot()
	if outcome, err := w.m.Stop(w.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
		t.Errorf("stop: %v, %v", outcome, err)
	}
	for path, now := range w.snapshot() {
		if strings.HasPrefix(path, w.path("locks")) {
			before[path] = now // the locks that made certain of it
		}
	}
	w.unchanged(before)
}

// The end of its input is all that a well-behaved server needs.
func TestP2_EndOfInputFirst(t *testing.T) {
	w := newWorld(t)
	spec := sh(`trap "echo terminated >&2; exit 1" TERM; cat >/dev/null; echo end of input >&2; exit 5`)
	st := w.start("a", spec)
	w.stop("a")
	if got := w.status("a"); got.Status != berth.Stopped || got.Phase != berth.PhaseStopped || got.PID != 0 || got.Error != "" {
		t.Errorf("status: %+v", got)
	}
	w.hasLifecycle("a", startLine(st.PID), "STOP")
	w.hasActions("a", "start", "stop")
	r := w.last("a", "stop")
	r.about(t, st.PID, spec)
	if r.Code == nil || *r.Code != 5 || r.Signal != "" {
		t.Errorf("the record says code %v, signal %q", r.Code, r.Signal)
	}
	if log := w.read("logs", "a.log"); !strings.Contains(log, "end of input") || strings.Contains(log, "terminated") {
		t.Errorf("the log: %q", log)
	}
	if ref := w.readRef("a"); ref.Status != "stopped" || ref.PID != 0 || ref.Command != spec.Command || !slices.Equal(ref.Args, spec.Args) {
		t.Errorf("state: %+v", ref)
	}
}

// A process leaves its cgroup before its parent knows how it ended: the stop
// that comes in between must not take it for one that could not be ended.
func TestP2_EveryStopIsOnRecord(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		st := w.start("a", idle())
		w.stop("a")
		w.awaitShimEnd("a")
		w.last("a", "stop").about(t, st.PID, idle())
		if got := w.status("a"); got.Phase != berth.PhaseStopped || got.LastExit == nil || got.LastExit.Code == nil {
			t.Fatalf("status: %+v", got)
		}
	}
}

// A server that is deaf to everything sees each step of the ladder, and at each
// the intent is on the disk already.
func TestP2_IntentBeforeTheFirstSignal(t *testing.T) {
	w := newWorld(t)
	dir := shortDir(t)
	spec := asRole(t, "witness", w.path("runtime", "a.toml"), dir)
	spec.Grace = berth.Duration(300 * time.Millisecond)
	st := w.start("a", spec)
	w.awaitLog("a", "ready")
	begin := time.Now()
	w.stop("a")
	finish := time.Now()

	var seen []time.Time
	for _, step := range []string{"eof", "term"} {
		path := filepath.Join(dir, step)
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("the server did not see %s: %v", step, err)
		}
		ref, err := parseRef(doc)
		if err != nil || ref.Status != "running" || int(ref.PID) != st.PID {
			t.Errorf("at %s the state was %+v, %v", step, ref, err)
		}
		for _, line := range []string{"phase = 'stopping'\n", "desired = 'stopped'\n"} {
			if !strings.Contains(strings.ReplaceAll(string(doc), `"`, "'"), line) {
				t.Errorf("at %s the state had no %q:\n%s", step, line, doc)
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, info.ModTime())
	}
	const slack = 20 * time.Millisecond // of the file system's clock
	for i, d := range []time.Duration{seen[0].Sub(begin), seen[1].Sub(seen[0]), finish.Sub(seen[1])} {
		if least := []time.Duration{0, 300 * time.Millisecond, 300 * time.Millisecond}[i]; d < least-slack {
			t.Errorf("step %d came after %v, before the grace was over", i+1, d)
		}
	}
	w.hasLifecycle("a", startLine(st.PID), "STOP")
	w.hasActions("a", "start", "stop")
	r := w.last("a", "stop")
	r.about(t, st.PID, spec)
	equal(t, "signal", r.Signal, "SIGKILL")
}

func TestP2_StopOfABackoff(t *testing.T) {
	w := newWorld(t)
	w.inBackoff("a")
	w.stop("a")
	if st := w.status("a"); st.Phase != berth.PhaseStopped || st.Restarts != 0 {
		t.Errorf("status: %+v", st)
	}
	lines := w.lifecycle("a")
	equal(t, "last line", lines[len(lines)-1], "STOP")
	equal(t, "last record", w.last("a", "stop").Server, "a")
}

func TestP3_DeadIsStopped(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		pid := kill(w, "a", spec)
		w.stop("a")
		w.hasLifecycle("a", "EXIT", "STOP")
		w.hasActions("a", "exit", "stop")
		w.last("a", "exit").about(w, pid, spec)
		w.last("a", "stop").about(w, pid, spec)
		if ref := w.readRef("a"); ref.Status != "stopped" || ref.PID != 0 {
			w.Errorf("state: %+v", ref)
		}
		// A stop is a user's word: nobody brings it back.
		if st := w.reconcile("a", &spec); st.Status != berth.Stopped || st.Phase != berth.PhaseStopped {
			w.Errorf("reconcile: %+v", st)
		}
	})
}

// The reference's own server is ended too, and all that came from it.
func TestP2_StopOfTheReference(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	w.stop("a")
	equal(t, "the reference's process runs", running(ref.pid), false)
	w.hasLifecycle("a", "STOP")
	w.hasActions("a", "stop")
	w.last("a", "stop").about(t, ref.pid, ref.spec)
	if st := w.readRef("a"); st.Status != "stopped" || st.PID != 0 || st.Command != "sleep" {
		t.Errorf("state: %+v", st)
	}
}

// A server that nobody supervises any more can be stopped.
func TestP2_StopOfAnOrphan(t *testing.T) {
	w := newWorld(t)
	spec := deaf()
	st := w.orphan("a", spec)
	w.stop("a")
	equal(t, "the process runs", running(st.PID), false)
	w.hasLifecycle("a", startLine(st.PID), "EXIT", "STOP")
	w.hasActions("a", "start", "exit", "stop")
	w.last("a", "stop").about(t, st.PID, spec)
	equal(t, "phase", w.status("a").Phase, berth.PhaseStopped)
}

// A supervisor that races with a stop brings nothing back, and ends with it.
func TestP5_StopAgainstSupervise(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 1000)
	for i := range rounds(25, 4) {
		st := w.start("a", spec)
		ended := make(chan error, 1)
		go func() { ended <- w.m.Supervise(w.ctx, "a", spec) }()
		w.kill(st.PID)
		if i%2 == 1 {
			w.awaitNext("a", st.Generation)
		}
		if _, err := w.m.Stop(w.ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("supervise: %v", err)
		}
		w.hasNoProcess("a", fmt.Sprintf("round %d", i))
	}
}
