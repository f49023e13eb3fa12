//go:build unix

package supervisor_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// dead makes a home in which a server's record says "running", and its process
// and whoever supervised it are gone: by the reference's files, or by a shim
// that was killed together with its server. It returns the old pid.
type dead func(w *world, name string, s berth.ProcessSpec) int

func deadOfReference(w *world, name string, s berth.ProcessSpec) int {
	w.Helper()
	pid := deadPID(w.T)
	w.writeRef(name, refOf(pid, s))
	return int(pid)
}

func deadWithItsShim(w *world, name string, s berth.ProcessSpec) int {
	w.Helper()
	st := w.start(name, s)
	w.kill(st.ShimPID)
	w.awaitShimEnd(name)
	end(w.T, st.PID)
	return st.PID
}

// bothDead runs a test on both kinds of a dead server. What the killed shim
// wrote before is taken off: log and audit begin with the test.
func bothDead(t *testing.T, test func(w *world, kill dead)) {
	for what, kill := range map[string]dead{"reference": deadOfReference, "shim killed": deadWithItsShim} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			test(w, func(w *world, name string, s berth.ProcessSpec) int {
				w.Helper()
				pid := kill(w, name, s)
				os.Remove(w.path("logs", name+".log"))
				os.RemoveAll(w.path("audit"))
				if err := os.Mkdir(w.path("audit"), 0o700); err != nil {
					w.Fatal(err)
				}
				return pid
			})
		})
	}
}

func TestS5_DeadBecomesStopped(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := deaf()
		pid := kill(w, "a", spec)
		before := w.snapshot()
		if st := w.status("a"); st.Status != berth.Stopped || st.PID != 0 {
			w.Errorf("status: %+v", st)
		}
		w.unchanged(before)

		if st := w.reconcile("a", nil); st.Status != berth.Stopped || st.Phase != berth.PhaseExited || st.PID != 0 {
			w.Errorf("reconcile: %+v", st)
		}
		w.hasLifecycle("a", "EXIT")
		w.hasActions("a", "exit")
		w.last("a", "exit").about(w, pid, spec)
		ref := w.readRef("a")
		if ref.Status != "stopped" || ref.PID != 0 || ref.Command != spec.Command {
			w.Errorf("state: %+v", ref)
		}
		// Once is enough.
		before = w.snapshot()
		w.reconcile("a", nil)
		w.unchanged(before)
	})
}

func TestS5_ExitSeenByItsShim(t *testing.T) {
	for what, c := range map[string]struct {
		end    string
		code   int
		signal string
	}{
		"code":    {end: "exit 7", code: 7},
		"success": {end: "exit 0", code: 0},
		"signal":  {end: "kill -KILL $$", signal: "SIGKILL"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			gate := w.gate()
			spec := sh("echo last words >&2; read x <" + gate + "; " + c.end)
			st := w.start("a", spec)
			w.open(gate)
			got := w.awaitPhase("a", berth.PhaseExited)
			w.awaitShimEnd("a")
			if got.Status != berth.Stopped || got.PID != 0 || got.LastExit == nil || got.LastExit.Signal != c.signal {
				t.Fatalf("status: %+v", got)
			}
			if code := got.LastExit.Code; c.signal == "" && (code == nil || *code != c.code) || c.signal != "" && code != nil {
				t.Errorf("exit: %v", got.LastExit)
			}
			if len(got.Stderr) != 1 || got.Stderr[0] != "last words" {
				t.Errorf("stderr: %q", got.Stderr)
			}
			w.hasLifecycle("a", startLine(st.PID), "EXIT")
			w.hasActions("a", "start", "exit")
			r := w.last("a", "exit")
			r.about(t, st.PID, spec)
			equal(t, "signal", r.Signal, c.signal)
			if c.signal == "" && (r.Code == nil || *r.Code != c.code) {
				t.Errorf("code: %v", r.Code)
			}
			equal(t, "status on disk", w.readRef("a").Status, "stopped")
			// The shim is gone; what it left says the same.
			after := w.status("a")
			if after.Phase != berth.PhaseExited || after.LastExit.String() != got.LastExit.String() || len(after.Stderr) != 1 {
				t.Errorf("without the shim: %+v", after)
			}
		})
	}
}

// While its supervisor is about to replace the process, Reconcile waits for the
// replacement; Status tells what is.
func TestS6_WaitsForTheReplacement(t *testing.T) {
	w := newWorld(t)
	spec := idle()
	spec.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: 10,
		MinDelay: berth.Duration(time.Second), MaxDelay: berth.Duration(time.Second),
	}
	first := w.start("a", spec)
	w.kill(first.PID) // replaced at once: it is the first
	second := w.awaitNext("a", first.Generation)
	w.kill(second.PID)
	backoff := w.await("a", "backoff", func(st berth.Status) bool {
		return st.Phase == berth.PhaseBackoff && !st.NextRestart.IsZero()
	})
	if backoff.Status != berth.Stopped || backoff.PID != 0 || !backoff.NextRestart.After(second.StartedAt) {
		t.Errorf("status during the backoff: %+v", backoff)
	}
	if st := w.status("a"); st.Phase != berth.PhaseBackoff || st.PID != 0 {
		t.Errorf("status does not wait: %+v", st)
	}
	st := w.reconcile("a", &spec)
	if st.Status != berth.Running || st.PID == second.PID || st.Generation != second.Generation+1 {
		t.Errorf("reconcile: %+v", st)
	}
	// Half of the delay is certain.
	if d := st.StartedAt.Sub(second.StartedAt); d < 500*time.Millisecond {
		t.Errorf("it was started after %v, before its backoff was over", d)
	}
}

func TestS7_DeadIsStartedAgain(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		pid := kill(w, "a", spec)
		st := w.reconcile("a", &spec)
		if st.Status != berth.Running || st.PID == 0 || st.PID == pid || st.Restarts != 1 || st.MaxRestarts != 3 {
			w.Errorf("reconcile: %+v", st)
		}
		w.hasLifecycle("a", "EXIT", autoLine(st.PID, 1, 3))
		w.hasActions("a", "exit", "auto-restart")
		w.last("a", "exit").about(w, pid, spec)
		w.last("a", "auto-restart").about(w, st.PID, spec)
		ref := w.readRef("a")
		if ref.Status != "running" || int(ref.PID) != st.PID || ref.RestartAttempts != 1 || ref.MaxRestarts != 3 || !ref.AutoRestartEnabled {
			w.Errorf("state: %+v", ref)
		}
	})
}

// The reference's count goes on, as long as it may be within the window.
func TestS7_CountGoesOn(t *testing.T) {
	for what, c := range map[string]struct {
		age     time.Duration
		attempt int
	}{"fresh": {0, 3}, "old": {11 * time.Minute, 1}} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			spec := restarting(deaf(), 4)
			ref := refOf(deadPID(t), spec)
			ref.RestartAttempts = 2
			ref.UpdatedAtEpochSecs = uint64(time.Now().Add(-c.age).Unix())
			w.writeRef("a", ref)
			st := w.reconcile("a", &spec)
			equal(t, "restarts", st.Restarts, c.attempt)
			w.hasLifecycle("a", "EXIT", autoLine(st.PID, c.attempt, 4))
		})
	}
}

func TestS8_DeniedByPolicy(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		pid := kill(w, "a", spec)
		w.write("[servers]\ndeny = [\" A \"]\n", "policy.toml")
		st := w.reconcile("a", &spec)
		if st.Status != berth.Stopped || st.Phase != berth.PhaseFailed || st.Error == "" {
			w.Errorf("reconcile: %+v", st)
		}
		w.hasLifecycle("a", "EXIT", "POLICY_DENIED_AUTO_RESTART")
		w.hasActions("a", "exit", "policy-denied")
		w.last("a", "exit").about(w, pid, spec)
		equal(w, "status on disk", w.readRef("a").Status, "stopped")
	})
}

func TestS8_DeniedByPolicyUnderAShim(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 3)
	st := w.start("a", spec)
	w.write("[servers]\ndeny = [\"*\"]\n", "policy.toml")
	w.kill(st.PID)
	w.awaitPhase("a", berth.PhaseFailed)
	if got := w.reconcile("a", &spec); got.Status != berth.Stopped || got.Phase != berth.PhaseFailed {
		t.Errorf("reconcile: %+v", got)
	}
	w.awaitShimEnd("a")
	w.hasLifecycle("a", startLine(st.PID), "EXIT", "POLICY_DENIED_AUTO_RESTART")
	w.hasActions("a", "start", "exit", "policy-denied")
}

func TestS9_OutOfAttempts(t *testing.T) {
	w := newWorld(t)
	spec := restarting(sh("exit 3"), 3)
	w.startBriefly("a", spec)
	st := w.awaitPhase("a", berth.PhaseFailed)
	w.awaitShimEnd("a")
	if st.Status != berth.Stopped || st.Restarts != 3 || st.Error == "" {
		t.Errorf("status: %+v", st)
	}
	lines := w.lifecycle("a")
	equal(t, "lines of the log", len(lines), 8) // START, AUTO_RESTART ×3, EXIT ×4
	w.hasActions("a", "start", "exit", "auto-restart", "exit", "auto-restart", "exit", "auto-restart", "exit")
	// It is sticky.
	before := w.snapshot()
	if st := w.reconcile("a", &spec); st.Phase != berth.PhaseFailed {
		t.Errorf("reconcile: %+v", st)
	}
	w.unchanged(before)
}

func TestS9_OutOfAttemptsOfTheReference(t *testing.T) {
	w := newWorld(t)
	spec := restarting(deaf(), 3)
	ref := refOf(deadPID(t), spec)
	ref.RestartAttempts = 3
	w.writeRef("a", ref)
	if st := w.reconcile("a", &spec); st.Status != berth.Stopped || st.Phase != berth.PhaseFailed {
		t.Errorf("reconcile: %+v", st)
	}
	w.hasLifecycle("a", "EXIT")
	w.hasActions("a", "exit")
}

func TestS10_NoSpecNoRestart(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		kill(w, "a", restarting(deaf(), 3))
		if st := w.reconcile("a", nil); st.Status != berth.Stopped || st.Phase != berth.PhaseExited {
			w.Errorf("reconcile: %+v", st)
		}
		w.hasLifecycle("a", "EXIT")
		w.hasActions("a", "exit")
	})
}

func TestS11_RestartCannotBeSpawned(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		pid := kill(w, "a", spec)
		missing, refused := spec, spec
		missing.Command = filepath.Join(w.dir, "no-such-program")
		refused.Command = w.path("runtime", "a.toml") // no program: mode 0600
		if _, err := w.m.Reconcile(w.ctx, "a", &missing); err == nil {
			w.Error("a missing command: no error")
		} else {
			is(w, err, fs.ErrNotExist, missing.Command)
		}
		w.hasLifecycle("a", "EXIT")
		w.hasActions("a", "exit")
		w.last("a", "exit").about(w, pid, spec)
		st := w.status("a")
		if st.Status != berth.Stopped || st.Phase != berth.PhaseFailed || st.Error == "" {
			w.Errorf("status: %+v", st)
		}
		equal(w, "status on disk", w.readRef("a").Status, "stopped")
		if _, err := w.m.Start(w.ctx, "a", refused); !errors.Is(err, fs.ErrPermission) {
			w.Errorf("a command that is no program: %v", err)
		}
	})
}

// Under a shim nobody waits for the error: the phase says why.
func TestS11_RestartCannotBeSpawnedUnderAShim(t *testing.T) {
	w := newWorld(t)
	program := w.program("exec sleep 1000")
	spec := restarting(berth.ProcessSpec{Command: program}, 3)
	st := w.start("a", spec)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	w.kill(st.PID)
	failed := w.awaitPhase("a", berth.PhaseFailed)
	w.awaitShimEnd("a")
	if failed.Status != berth.Stopped || failed.PID != 0 {
		t.Errorf("status: %+v", failed)
	}
	if !strings.Contains(failed.Error, program) {
		t.Errorf("the reason %q does not name the program", failed.Error)
	}
	w.hasLifecycle("a", startLine(st.PID), "EXIT")
	w.hasActions("a", "start", "exit")
}

func TestS12_MalformedPolicyAtARestart(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		spec := restarting(deaf(), 3)
		pid := kill(w, "a", spec)
		w.write("[servers]\ndeny = 3\n", "policy.toml")
		_, err := w.m.Reconcile(w.ctx, "a", &spec)
		is(w, err, berth.ErrBadConfig, w.path("policy.toml"))
		equal(w, "first line", w.lifecycle("a")[0], "EXIT")
		equal(w, "first record", w.actions("a")[0], "exit")
		w.records("a")[0].about(w, pid, spec)
		st := w.status("a")
		if st.Status != berth.Stopped || st.Phase != berth.PhaseFailed || st.Error == "" {
			w.Errorf("status: %+v", st)
		}
	})
}
