package shim

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// StopWithout stops a server that has no shim; the caller holds shim.lock. What
// a killed shim left is ended and recorded; a process that the reference
// started is stopped by the ladder, as far as a process that is not ours can
// be.
func StopWithout(ctx context.Context, h *home.Home, name string) (berth.StopOutcome, error) {
	was, found, err := h.ReadState(name)
	if err == nil && !found {
		return berth.AlreadyStopped, nil
	}
	r, err := Recover(h, name)
	if err != nil && (errors.Is(err, berth.ErrEscaped) || !r.Ended) {
		return 0, err
	}
	// An error beyond this point is one of writing it down: the processes are
	// gone, the state still says that they ran, and the next operation that
	// can write makes up for it.
	outcome := berth.AlreadyStopped
	st := r.State
	switch {
	case r.Foreign:
		if err := endReference(ctx, st); err != nil {
			return 0, err
		}
		outcome = berth.StopDone
		record(h, name, st, berth.ActionStop, home.LogStop)
	case r.Ended:
		outcome = berth.StopDone
		if st.Phase != string(berth.PhaseStopped) {
			st.PID = was.PID
			record(h, name, st, berth.ActionStop, home.LogStop)
		}
	case st.Phase == string(berth.PhaseStarting) || st.Phase == string(berth.PhaseBackoff):
		outcome = berth.StopDone // of a start that would have come
		record(h, name, st, berth.ActionStop, home.LogStop)
	case st.Desired != string(berth.Running):
		return outcome, nil
	}
	st.Status, st.Phase, st.Desired = string(berth.Stopped), string(berth.PhaseStopped), string(berth.Stopped)
	st.PID, st.StartTime, st.Reason, st.Failure, st.StderrTail = 0, 0, "", "", nil
	st.AtRest = false
	st.RestartAttempts, st.RestartTimes = 0, nil // as a shim forgets them
	if err := h.WriteState(name, st); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return outcome, err
	}
	return outcome, nil
}

// MayReplace returns why the policy would not let a server be started again that
// runs without a shim, or with one that cannot ask, and records it; nil if it may.
func MayReplace(h *home.Home, name string, st home.State, spec *berth.ProcessSpec) error {
	_, denied := checkPolicy(h, name, spec)
	if denied == nil {
		return nil
	}
	at := time.Now()
	_, err := h.Append(berth.Record{
		TimestampEpochSecs: at.Unix(), Time: at, Server: name, Action: berth.ActionPolicyDenied,
		Command: st.Command, Args: st.Args, Detail: denied.Error(),
	})
	return errors.Join(denied, err)
}

// record writes a lifecycle line and an audit record for a server without a
// shim. A full disk does not undo what was done.
func record(h *home.Home, name string, st home.State, action, text string) {
	at := time.Now()
	lifecycle(h, name, at, text)
	h.Append(berth.Record{
		TimestampEpochSecs: at.Unix(), Time: at, Server: name, Action: action,
		PID: st.PID, Command: st.Command, Args: st.Args,
	})
}

// endReference signals the process of a reference's record and its descendants,
// each through a handle that was verified after it was opened.
func endReference(ctx context.Context, st home.State) error {
	info, err := proc.Describe(st.PID)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	ids, err := proc.Descendants(info.ID)
	if err != nil {
		return err
	}
	var pinned []*proc.Pinned
	defer func() {
		for _, p := range pinned {
			p.Close()
		}
	}()
	for _, id := range append([]proc.ID{info.ID}, ids...) {
		p, err := proc.Pin(id)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take hold of process %d: %w", id.PID, err)
		}
		pinned = append(pinned, p)
	}
	if alive, err := ReferenceLives(st); err != nil || !alive {
		return err // it ended meanwhile
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, p := range pinned {
			if err := p.Signal(signal); err != nil && !errors.Is(err, proc.ErrGone) {
				return fmt.Errorf("signal process %d: %w", st.PID, err)
			}
		}
		wait, cancel := context.WithTimeout(ctx, berth.DefaultGrace.Std())
		left := 0
		for _, p := range pinned {
			if p.Wait(wait) != nil {
				left++
			}
		}
		cancel()
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: process %d does not end", berth.ErrEscaped, st.PID)
}
