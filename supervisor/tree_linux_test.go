package supervisor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// hasNoProcess fails the test if a process of the server lives at this moment.
func (w *world) hasNoProcess(name, when string) {
	w.Helper()
	for _, pid := range w.membersOf(name) {
		if running(pid) {
			w.Errorf("%s: %s lives", when, describe(pid))
		}
	}
	if st := w.status(name); st.Status != berth.Stopped || st.PID != 0 {
		w.Errorf("%s: %+v", when, st)
	}
}

// Grandchildren of every shape end with a stop: a job in the background, one in
// a session of its own, an orphan of a double fork, one that ignores SIGTERM.
func TestFault6_GrandchildrenEndWithAStop(t *testing.T) {
	const script = `
sleep 1001 &
setsid sleep 1002 &
(setsid sh -c 'sleep 1003 & echo double fork >&2' &)
sh -c 'trap "" TERM HUP INT; echo deaf >&2; while :; do sleep 1004; done' &
echo all forked >&2
sleep 1005`
	for _, mechanism := range []berth.TreeMechanism{
		berth.TreeAuto, berth.TreeCgroup, berth.TreePIDNamespace, berth.TreeSubreaper, berth.TreeProcessGroup,
	} {
		t.Run("mechanism "+string(mechanism), func(t *testing.T) {
			needsMechanism(t, mechanism)
			w := newWorld(t)
			spec := sh(script)
			spec.Grace = berth.Duration(50 * time.Millisecond)
			spec.TreeKill = mechanism
			_, err := w.m.Start(w.ctx, "a", spec)
			needs(t, !errors.Is(err, errors.ErrUnsupported), string(mechanism))
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{"double fork", "deaf", "all forked"} {
				w.awaitLog("a", line)
			}
			if n := len(w.membersOf("a")); n < 5 {
				t.Fatalf("the tree has %d processes", n)
			}
			w.stop("a")
			w.hasNoProcess("a", "after the stop")
		})
	}
}

// So they do when their server exits by itself, or is replaced.
func TestFault6_GrandchildrenEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	gate := w.gate()
	w.start("a", sh("setsid sleep 1001 & (sleep 1002 &); read x <"+gate))
	w.open(gate)
	w.awaitPhase("a", berth.PhaseExited)
	w.hasNoProcess("a", "after the exit")
}
