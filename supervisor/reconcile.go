package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/shim"
)

// Reconcile brings the record of a server up to date with what is true, and the
// server up again if it went down by itself, spec is given and its auto-restart
// allows it. Where a shim is at work, it waits for the outcome, a backoff
// included. Without a spec nothing is started. A policy that forbids the
// restart is no error: the server is down, and Status.Error says why.
func (m *Manager) Reconcile(ctx context.Context, name string, spec *berth.ProcessSpec) (berth.Status, error) {
	if err := berth.CheckInstance(name); err != nil {
		return berth.Status{}, err
	}
	if spec != nil {
		if err := spec.Check(); err != nil {
			return berth.Status{}, err
		}
	}
	var st berth.Status
	err := m.withShim(ctx, name, func(ctx context.Context) (err error) {
		st, err = m.verdict(ctx, name)
		return err
	}, func(ctx context.Context) (busy bool, err error) {
		st, busy, err = m.reconcileWithout(ctx, name, spec)
		return busy, err
	})
	if err != nil {
		return st, fmt.Errorf("reconcile %q: %w", name, err)
	}
	return st, nil
}

// verdict waits until a live shim is not between two states.
func (m *Manager) verdict(ctx context.Context, name string) (berth.Status, error) {
	w, err := shim.Watch(ctx, m.home, name)
	if err != nil {
		return berth.Status{}, err
	}
	defer w.Close()
	for {
		st, err := w.Next(ctx)
		if err != nil {
			return st, err
		}
		switch st.Phase {
		case berth.PhaseRunning, berth.PhaseReady, berth.PhaseStopped, berth.PhaseExited:
			return st, nil
		case berth.PhaseFailed:
			return st, failure(w)
		}
	}
}

// failure is why a server could not be started, unless the policy forbade it.
func failure(w *shim.Watcher) error {
	if err := w.Failure(); !errors.Is(err, berth.ErrDenied) {
		return err
	}
	return nil
}

// reconcileWithout is Reconcile of a server that has no shim.
func (m *Manager) reconcileWithout(ctx context.Context, name string, spec *berth.ProcessSpec) (st berth.Status, busy bool, err error) {
	state, found, err := m.home.ReadState(name)
	bad := errors.Is(err, berth.ErrBadState)
	if err != nil && !bad {
		return st, false, err
	}
	if !found && !bad {
		return berth.Status{Name: name, Status: berth.Stopped, Phase: berth.PhaseStopped}, false, nil
	}
	restarts := spec != nil && spec.AutoRestart != nil && spec.AutoRestart.Enabled
	if !bad {
		st, settled, err := fromState(name, state)
		switch {
		case err != nil:
			return st, false, err
		case st.Status == berth.Running && settled:
			return st, false, nil // the reference's, alive
		case settled && state.Status != string(berth.Running) && !(st.Phase == berth.PhaseExited && restarts):
			return st, false, nil
		}
	}
	if !restarts {
		busy, err = m.underLock(name, func() error {
			r, err := shim.Recover(m.home, name)
			if err != nil {
				return err
			}
			st, _, err = fromState(name, r.State)
			st.Warning = r.Warning()
			return err
		})
		return st, busy, err
	}
	l, err := m.launch(ctx, name, shim.ModeHeal, *spec)
	switch {
	case l.Busy:
		return st, true, nil
	case errors.Is(err, berth.ErrDenied):
		return l.Status, false, nil
	case err != nil:
		return l.Status, false, err
	}
	switch l.Status.Phase {
	case berth.PhaseStarting, berth.PhaseBackoff, berth.PhaseStopping:
		return st, true, nil // it is at work: its verdict is next
	}
	return l.Status, false, nil
}

// Supervise keeps the server up until somebody stops it, and then returns nil.
// It returns at once, touching nothing, if the spec's auto-restart is off. It
// takes part in nothing that the server's shim does by itself; what it adds is
// a successor for a shim that was killed. It returns nil when the restart
// policy gave up or the organisation's policy forbids a restart (Status says
// why), and an error if the server cannot be started.
func (m *Manager) Supervise(ctx context.Context, name string, spec berth.ProcessSpec) error {
	if spec.AutoRestart == nil || !spec.AutoRestart.Enabled {
		return nil
	}
	if err := check(name, &spec); err != nil {
		return err
	}
	for {
		st, err := m.Reconcile(ctx, name, &spec)
		if err != nil {
			return err
		}
		if st.Status != berth.Running {
			if st.ShimPID != 0 {
				// It says so before it has written down why.
				if err := m.awaitChange(ctx, name, st); err != nil {
					return err
				}
			}
			return m.whyDown(name)
		}
		if err := m.awaitChange(ctx, name, st); err != nil {
			return err
		}
	}
}

// whyDown is the error with which the server could not be started, if it is down
// for that and no policy forbade it.
func (m *Manager) whyDown(name string) error {
	st, found, err := m.home.ReadState(name)
	if err != nil || !found {
		return err
	}
	if err := shim.Failure(st); !errors.Is(err, berth.ErrDenied) {
		return err
	}
	return nil
}

// awaitChange returns when the server may have gone down: its shim ended, or,
// for a server of the reference, its process did. An error of the shim's last
// attempt to start the server is returned.
func (m *Manager) awaitChange(ctx context.Context, name string, st berth.Status) error {
	w, err := shim.Watch(ctx, m.home, name)
	if errors.Is(err, shim.ErrGone) {
		if st.ShimPID != 0 {
			return nil // it was killed meanwhile; its server may live on
		}
		return awaitExit(ctx, st.PID)
	}
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		if _, err := w.Next(ctx); errors.Is(err, shim.ErrGone) {
			return failure(w)
		} else if err != nil {
			return err
		}
	}
}
