package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/shim"
)

// What Status.Error says of a server whose shim vanished.
const (
	supervisorKilled = "its supervisor was killed"
	systemWentDown   = "the system went down while it ran"
)

// Status tells how the server is, and never writes. Its shim knows best; where
// there is none, the state file is held against the processes that live. A
// server that never ran is stopped. It returns berth.ErrBadState if the state
// file does not parse and no shim lives.
func (m *Manager) Status(ctx context.Context, name string) (berth.Status, error) {
	if err := berth.CheckInstance(name); err != nil {
		return berth.Status{}, err
	}
	// A shim that is about to listen, or about to end, holds its lock while
	// its socket is not there: it is given the time that the reference gives
	// a supervisor.
	deadline := time.Now().Add(settleTime)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		st, err := shim.Status(ctx, m.home, name)
		switch {
		case err == nil:
			return st, nil
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return m.withoutAnswer(name)
		case !errors.Is(err, shim.ErrGone):
			return berth.Status{}, fmt.Errorf("status of %q: %w", name, err)
		}
		state, found, err := m.home.ReadState(name)
		if err != nil {
			return berth.Status{}, err
		}
		if !found {
			return berth.Status{Name: name, Status: berth.Stopped, Phase: berth.PhaseStopped}, nil
		}
		st, settled, err := fromState(name, state)
		if err != nil {
			return berth.Status{}, err
		}
		if settled || time.Now().After(deadline) {
			return st, nil
		}
		lock, err := m.home.ShimLock(name)
		if err != nil {
			return berth.Status{}, err
		}
		if locked, err := home.Locked(lock); err != nil || !locked {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return berth.Status{}, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// settleTime bounds the wait for a shim that is coming or going.
const settleTime = 500 * time.Millisecond

// withoutAnswer is the status of a server whose shim is there but does not
// answer: it is stopped by a signal, or the machine is starved.
func (m *Manager) withoutAnswer(name string) (berth.Status, error) {
	state, _, err := m.home.ReadState(name)
	if err != nil {
		return berth.Status{}, err
	}
	st, _, err := fromState(name, state)
	st.ShimPID = state.ShimPID
	st.Error = fmt.Sprintf("its supervisor, process %d, does not answer", state.ShimPID)
	return st, err
}

// fromState is the status of a server without a shim. Settled means that no
// shim could tell more.
func fromState(name string, state home.State) (st berth.Status, settled bool, err error) {
	st = berth.Status{
		Name: name, Status: berth.Stopped, Phase: berth.Phase(state.Phase),
		Restarts: state.RestartAttempts, MaxRestarts: state.MaxRestarts,
		LastExit: state.LastExit, Error: state.Reason, Stderr: state.StderrTail, Denied: state.Denied, Generation: state.Generation,
	}
	if state.Status != string(berth.Running) {
		st.AtRest = state.AtRest && st.Phase == berth.PhaseStopped
		switch st.Phase {
		case berth.PhaseStarting, berth.PhaseBackoff, berth.PhaseStopping:
			st.Phase, st.Error = berth.PhaseFailed, supervisorKilled
			return st, false, nil
		case berth.PhaseFailed, berth.PhaseExited:
		default:
			st.Phase = berth.PhaseStopped // the reference writes no phase
		}
		return st, true, nil
	}
	if shim.ByReference(state) {
		alive, err := shim.ReferenceLives(state)
		if alive {
			return shim.ReferenceStatus(name, state), true, err
		}
		st.Phase = berth.PhaseExited
		return st, true, err
	}
	if st.Phase != berth.PhaseFailed { // which says why it could not be ended
		st.Phase, st.Error = berth.PhaseFailed, supervisorKilled
		if self, err := proc.Self(); err == nil && state.BootID != "" && state.BootID != self.Boot {
			st.Error = systemWentDown
		}
	}
	id := proc.ID{PID: state.PID, Start: state.StartTime, Boot: state.BootID, Namespace: state.PIDNamespace}
	alive, err := id.Alive()
	switch {
	case errors.Is(err, proc.ErrForeign):
		st.Warning = "its record is of another container or PID namespace: whether it lives cannot be seen from here"
	case err != nil:
		return st, false, fmt.Errorf("look at process %d: %w", state.PID, err)
	case alive:
		st.Status, st.PID, st.StartedAt = berth.Running, state.PID, state.StartedAt
	}
	return st, false, nil
}
