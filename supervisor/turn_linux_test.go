package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/supervisor"
)

// confinedIdle is a confined server that ends when its input does.
func confinedIdle() berth.ProcessSpec {
	return berth.ProcessSpec{Command: "/bin/cat", Confine: &berth.Confinement{Profile: berth.ProfileStandard}}
}

// confines says whether the process is a shim of the role that confines.
func (w *world) confines(pid int) bool {
	w.Helper()
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		w.Fatal(err)
	}
	return strings.HasSuffix(string(argv), "\x00confined\x00")
}

// isConfined fails unless the server runs and is confined, by a shim that can.
func (w *world) isConfined(when string) berth.Status {
	w.Helper()
	st := w.status("a")
	if st.Status != berth.Running {
		w.Fatalf("%s: %+v", when, st)
	}
	if g := w.vector(st)[berth.GuaranteePrivileges]; g.State != berth.Enforced {
		w.Errorf("%s: privileges: %+v", when, g)
	}
	if !w.confines(st.ShimPID) {
		w.Errorf("%s: process %d is a shim of plain servers", when, st.ShimPID)
	}
	return st
}

// TestShimTurns: a shim of a plain server that is asked to confine it becomes one that
// can, as the same process, and stays one.
func TestShimTurns(t *testing.T) {
	w := newWorld(t)
	plain := w.start("a", idle())
	if w.confines(plain.ShimPID) {
		t.Error("the shim of a plain server has what only a confined one needs")
	}
	for i, spec := range []berth.ProcessSpec{confinedIdle(), idle(), confinedIdle()} {
		if err := w.m.Restart(w.ctx, "a", spec); err != nil {
			t.Fatal(err)
		}
		st := w.status("a")
		if st.ShimPID != plain.ShimPID || st.PID == plain.PID || st.Generation != plain.Generation+uint64(i)+1 {
			t.Fatalf("restart %d: %+v, after %+v", i, st, plain)
		}
		if spec.Confine != nil {
			w.isConfined("after the restart")
		}
	}
	// Nobody asked for another program.
	w.hasActions("a", "start", "stop", "guarantees", "start", "restart", "stop", "guarantees", "start", "restart", "stop", "guarantees", "start", "restart")
	w.stop("a")

	// What was not started yet is confined when it is, by the shim that waited for it.
	w.inBackoff("a")
	waits := w.status("a")
	if outcome, err := w.m.Start(w.ctx, "a", confinedIdle()); err != nil || outcome != berth.Started {
		t.Fatalf("start in the backoff: %v, %v", outcome, err)
	}
	if st := w.isConfined("after the backoff"); st.ShimPID != waits.ShimPID {
		t.Errorf("process %d, not %d", st.ShimPID, waits.ShimPID)
	}
	w.stop("a")
}

// TestShimTurnsLater: what is under way when a shim is asked to confine its server goes
// on to its end.
func TestShimTurnsLater(t *testing.T) {
	w := newWorld(t)
	gate := w.gate()
	plain := w.start("a", sh("cat >/dev/null; echo ends >&2; read x <"+gate))
	stopped := make(chan error, 1)
	go func() {
		_, err := w.m.Stop(w.ctx, "a")
		stopped <- err
	}()
	w.awaitLog("a", "ends")
	started := make(chan error, 1)
	go func() {
		_, err := w.m.Start(w.ctx, "a", confinedIdle())
		started <- err
	}()
	w.open(gate)
	for what, err := range map[string]error{"stop": <-stopped, "start": <-started} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if st := w.isConfined("after the stop"); st.PID == plain.PID {
		t.Error("the same process")
	}
	w.stop("a")
}

// TestShimMakesWay: a shim that cannot turn is replaced, if the policy lets its server be
// started again.
func TestShimMakesWay(t *testing.T) {
	w := newWorldWith(t, supervisor.Options{Leashed: true})
	plain := w.start("a", idle())
	w.write("servers.deny = ['a']\n", "policy.toml")
	is(t, w.m.Restart(w.ctx, "a", confinedIdle()), berth.ErrDenied, w.path("policy.toml"))
	if st := w.status("a"); st.PID != plain.PID || st.ShimPID != plain.ShimPID {
		t.Fatalf("a restart that is denied: %+v, before %+v", st, plain)
	}
	w.write("", "policy.toml")
	if outcome, err := w.m.Start(w.ctx, "a", confinedIdle()); err != nil || outcome != berth.AlreadyRunning {
		t.Errorf("start of what runs: %v, %v", outcome, err)
	}
	if err := w.m.Restart(w.ctx, "a", confinedIdle()); err != nil {
		t.Fatal(err)
	}
	if st := w.isConfined("after the restart"); st.ShimPID == plain.ShimPID {
		t.Error("a shim on a leash turned, and lost it")
	}
	w.hasActions("a", "start", "policy-denied", "stop", "guarantees", "start", "restart")
	if err := w.m.Upgrade(w.ctx, "a", ""); err == nil || !strings.Contains(err.Error(), "ends with the program that started it") {
		t.Errorf("an upgrade that would lose the leash: %v", err)
	}
	w.stop("a")
}

// TestShimOfAServerThatDoesNotRead: half a line on its way to the server cannot be handed
// over.
func TestShimOfAServerThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	plain := w.start("a", deaf())
	h, err := home.Open(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := shim.Attach(w.ctx, h, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Write(context.Background(), make([]byte, 1<<20), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.m.Restart(w.ctx, "a", confinedIdle()); err != nil {
		t.Fatal(err)
	}
	w.isConfined("after the restart")
	if plain.PID == w.status("a").PID {
		t.Error("the same process")
	}
	w.stop("a")
}
