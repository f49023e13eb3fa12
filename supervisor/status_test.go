//go:build unix

package supervisor_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/berth-run/berth"
)

func TestS1_NoStateFileIsStopped(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	st := w.status("a")
	if st.Name != "a" || st.Status != berth.Stopped || st.Phase != berth.PhaseStopped || st.PID != 0 || st.Error != "" {
		t.Errorf("status: %+v", st)
	}
	spec := restarting(idle(), 3)
	for _, s := range []*berth.ProcessSpec{nil, &spec} {
		if st := w.reconcile("a", s); st.Status != berth.Stopped || st.Phase != berth.PhaseStopped {
			t.Errorf("reconcile: %+v", st)
		}
	}
	if names, err := w.m.Names(); err != nil || len(names) != 0 {
		t.Errorf("names: %v, %v", names, err)
	}
	w.unchanged(before)
}

func TestS2_StoppedIsBelieved(t *testing.T) {
	w := newWorld(t)
	st := refOf(uint32(os.Getpid()), idle())
	st.Status = "stopped"
	w.writeRef("a", st)
	before := w.snapshot()
	for _, st := range []berth.Status{w.status("a"), w.reconcile("a", nil)} {
		if st.Status != berth.Stopped || st.Phase != berth.PhaseStopped || st.PID != 0 {
			t.Errorf("status: %+v", st)
		}
	}
	w.unchanged(before)
}

func TestS3_RunningAndAlive(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	if st.Phase != berth.PhaseRunning || st.Generation != 1 || st.StartedAt.IsZero() || st.Error != "" || st.Warning != "" {
		t.Errorf("status: %+v", st)
	}
}

// How the process ended is known from the moment that it is known to have ended,
// also while what is left of its tree is being ended.
func TestExitIsKnownAtOnce(t *testing.T) {
	w := newWorld(t)
	gate := w.gate()
	w.start("a", restarting(sh("sleep 1000 & read x <"+gate+"; exit 3"), 1))
	told := uint64(0) // the generation that was told to exit
	w.await("a", "the end", func(st berth.Status) bool {
		switch {
		case st.Status == berth.Running && st.Generation > told:
			told = st.Generation
			w.open(gate)
		case st.Status == berth.Stopped && (st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 3):
			t.Errorf("it ended, by what? %+v", st)
		}
		return st.Phase == berth.PhaseFailed
	})
	equal(t, "generations", told, 2)
}

func TestS3_RunningWithoutItsShim(t *testing.T) {
	w := newWorld(t)
	was := w.orphan("a", outliving())
	before := w.snapshot()
	st := w.status("a")
	if st.Status != berth.Running || st.PID != was.PID || st.Phase != berth.PhaseFailed || st.Error != "its supervisor was killed" {
		t.Errorf("status: %+v", st)
	}
	w.unchanged(before)
}

func TestS3_RunningOfTheReference(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	before := w.snapshot()
	st := w.status("a")
	if st.Status != berth.Running || st.PID != ref.pid || st.Phase != berth.PhaseRunning || st.Warning == "" {
		t.Errorf("status: %+v", st)
	}
	w.unchanged(before)
}

func TestS4_BadStateFile(t *testing.T) {
	for what, c := range map[string]struct {
		doc  string
		line int
	}{
		"not TOML":          {"status = \"running\"\nupdated_at_epoch_secs = 1\npid = = 3\n", 3},
		"no status":         {"updated_at_epoch_secs = 1\n", 2},
		"no time":           {"status = \"stopped\"\n", 2},
		"an unknown status": {"updated_at_epoch_secs = 1\nstatus = \"happy\"\n", 2},
		"a negative pid":    {"status = \"running\"\nupdated_at_epoch_secs = 1\npid = -4\n", 3},
		"cut short":         {"status = \"running\"\nupdated_at_ep", 2},
		"empty":             {"", 1},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.write(c.doc, "runtime", "a.toml")
			before := w.snapshot()
			_, err := w.m.Status(w.ctx, "a")
			is(t, err, berth.ErrBadState, fmt.Sprintf("%s:%d:", w.path("runtime", "a.toml"), c.line))
			w.unchanged(before)
		})
	}
}

// As long as a shim lives it knows better than any file.
func TestS4_BadStateFileWithAShim(t *testing.T) {
	w := newWorld(t)
	was := w.start("a", idle())
	w.write("rubbish", "runtime", "a.toml")
	equal(t, "pid", w.status("a").PID, was.PID)
	w.stop("a")
	equal(t, "status on disk", w.readRef("a").Status, "stopped")
}
