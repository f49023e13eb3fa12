package supervisor_test

import (
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// The first restart comes at once, later ones wait, each about twice as long as
// the one before, and half of each wait is certain.
func TestFault12_RestartsBackOff(t *testing.T) {
	w := newWorld(t)
	spec := sh("exit 1")
	spec.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: 5, MinDelay: berth.Duration(100 * time.Millisecond), MaxDelay: berth.Duration(300 * time.Millisecond),
	}
	w.startBriefly("a", spec)
	w.awaitPhase("a", berth.PhaseFailed)
	w.awaitShimEnd("a")
	var waits []time.Duration
	var exit time.Time
	for _, r := range w.records("a") {
		switch r.Action {
		case berth.ActionExit:
			exit = r.Time
		case berth.ActionAutoRestart:
			waits = append(waits, r.Time.Sub(exit))
		}
	}
	equal(t, "restarts", len(waits), 5)
	for i, least := range []time.Duration{0, 50, 100, 150, 150} {
		if i < len(waits) && waits[i] < least*time.Millisecond-5*time.Millisecond {
			t.Errorf("restart %d came after %v, at least %v ms of its delay are certain", i+1, waits[i], least)
		}
	}
}

// A count that never forgets ends every server some day: one that lived long
// enough begins a new one.
func TestFault12_HealthBeginsANewCount(t *testing.T) {
	w := newWorld(t)
	spec := deaf()
	spec.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: 2, Window: berth.Duration(time.Second), Healthy: berth.Duration(time.Nanosecond),
		MinDelay: berth.Duration(time.Hour), MaxDelay: berth.Duration(time.Hour),
	}
	st := w.start("a", spec)
	var restarted []time.Time
	for i := range 6 {
		// Not a wait for something: time itself is what the count forgets by.
		if i >= 2 {
			time.Sleep(time.Until(restarted[i-2].Add(1100 * time.Millisecond)))
		}
		w.kill(st.PID)
		st = w.awaitNext("a", st.Generation) // never after an hour: it was healthy
		restarted = append(restarted, time.Now())
		if st.Restarts > 2 {
			t.Errorf("restarts: %d", st.Restarts)
		}
	}
}

// Twenty-five restarts leave no zombie: not of the server, nor of what it left
// to its shim.
func TestFault12_NoZombies(t *testing.T) {
	for _, mechanism := range []berth.TreeMechanism{berth.TreeAuto, berth.TreeSubreaper, berth.TreeProcessGroup} {
		t.Run("mechanism "+string(mechanism), func(t *testing.T) {
			w := newWorld(t)
			spec := restarting(sh("(sleep 1000 & sleep 1001 &); exec sleep 1002"), 1000)
			spec.Grace = berth.Duration(10 * time.Millisecond)
			spec.TreeKill = mechanism
			st := w.start("a", spec)
			for range rounds(25, 5) {
				w.kill(st.PID)
				st = w.awaitNext("a", st.Generation)
			}
			equal(t, "restarts", st.Restarts, rounds(25, 5))
			for _, pid := range childrenOf(t, st.ShimPID) {
				if !running(pid) {
					t.Errorf("a zombie: %s", describe(pid))
				}
			}
		})
	}
}
