//go:build unix

package supervisor_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func (w *world) rest(name string, generation uint64) berth.StopOutcome {
	w.Helper()
	outcome, err := w.m.Rest(w.ctx, name, generation, "nobody called it for 1m")
	if err != nil {
		w.Fatal(err)
	}
	return outcome
}

// A server at rest is stopped, on record, and still meant to be up: nothing
// starts it but a start.
func TestRestLeavesDesiredAlone(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	if got := w.rest("a", st.Generation+1); got != berth.AlreadyStopped || w.status("a").PID != st.PID {
		t.Fatalf("another generation was put to rest: %v", got)
	}
	if got := w.rest("a", st.Generation); got != berth.StopDone {
		t.Fatalf("rest: %v", got)
	}
	w.hasActions("a", "start", "stop")
	if r := w.last("a", "stop"); r.Detail != "nobody called it for 1m" {
		t.Errorf("the record says %q", r.Detail)
	}
	w.awaitShimEnd("a")
	if got := w.status("a"); got.Status != berth.Stopped || got.Phase != berth.PhaseStopped || !got.AtRest || got.Error != "" || got.Restarts != 0 {
		t.Errorf("status: %+v", got)
	}
	file := w.read("runtime", "a.toml")
	if !strings.Contains(file, `desired = "running"`) || !strings.Contains(file, "at_rest = true") {
		t.Errorf("state:\n%s", file)
	}
	spec := idle()
	if got, err := w.m.Reconcile(w.ctx, "a", &spec); err != nil || got.Status != berth.Stopped {
		t.Errorf("Reconcile starts it: %+v, %v", got, err)
	}
	if got := w.rest("a", 0); got != berth.AlreadyStopped {
		t.Errorf("again: %v", got)
	}
	w.start("a", idle())
	if got := w.status("a"); got.AtRest || strings.Contains(w.read("runtime", "a.toml"), "at_rest") {
		t.Errorf("it runs: %+v", got)
	}
}

// A stop by its user wins over a rest, before and after.
func TestStopOfAServerAtRest(t *testing.T) {
	w := newWorld(t)
	w.start("a", idle())
	w.rest("a", 0)
	w.awaitShimEnd("a")
	if outcome, err := w.m.Stop(w.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
		t.Errorf("stop: %v, %v", outcome, err)
	}
	if file := w.read("runtime", "a.toml"); !strings.Contains(file, `desired = "stopped"`) || strings.Contains(file, "at_rest") {
		t.Errorf("state:\n%s", file)
	}
	if got := w.status("a"); got.AtRest {
		t.Errorf("status: %+v", got)
	}
}

func TestCheckPolicy(t *testing.T) {
	w := newWorld(t)
	if err := w.m.CheckPolicy("a"); err != nil {
		t.Errorf("without a policy: %v", err)
	}
	if err := os.WriteFile(w.path("policy.toml"), []byte("[servers]\ndeny = [\"a\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.m.CheckPolicy("a"); !errors.Is(err, berth.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	if err := w.m.CheckPolicy("a~s1"); !errors.Is(err, berth.ErrDenied) {
		t.Errorf("an instance: %v", err)
	}
	if err := w.m.CheckPolicy("b"); err != nil {
		t.Errorf("another: %v", err)
	}
	if _, err := w.m.Rest(w.ctx, "../a", 0, ""); err == nil {
		t.Error("a bad name")
	}
}

// A shim that is killed while it puts its server to rest leaves a server that is
// ended, and not started again.
func TestRestThatWasCutShort(t *testing.T) {
	w := newWorld(t)
	spec := outliving()
	spec.Grace = berth.Duration(patience)
	spec.AutoRestart = &berth.RestartPolicy{Enabled: true, MaxRestarts: 5}
	st := w.start("a", spec)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.m.Rest(w.ctx, "a", 0, "nobody") // its shim goes away
	}()
	w.awaitPhase("a", berth.PhaseStopping)
	w.kill(w.status("a").ShimPID)
	<-done
	got := w.reconcile("a", &spec)
	if got.Status != berth.Stopped || got.Phase != berth.PhaseStopped || !got.AtRest || got.Generation != st.Generation {
		t.Errorf("afterwards: %+v", got)
	}
	if got := w.status("a"); got.Status != berth.Stopped || !got.AtRest {
		t.Errorf("status: %+v", got)
	}
	if r := w.last("a", "stop"); r.Detail == "" {
		t.Errorf("on record: %+v", r)
	}
}
