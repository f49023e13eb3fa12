package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// Recovered is what Recover found and left.
type Recovered struct {
	// State is the server's state, with no process running.
	State home.State
	// Foreign: the reference's record of a process that lives. It was not
	// touched; Status tells about it.
	Foreign bool
	Status  berth.Status
	// Ended: a process of the last incarnation, or its record, was put to
	// rest. Exit says when nobody stopped it.
	Ended bool
	// SetAside is where a state file that did not parse now is.
	SetAside string
}

// sweepTimeout is how long the leftovers of an incarnation may take to vanish
// once they were killed.
const sweepTimeout = 10 * time.Second

// dyingTimeout is how long the locks of processes that cannot be seen may be
// held before they are taken for living ones.
const dyingTimeout = 5 * time.Second

// Recover puts to rest what a shim that was killed left of its server: the
// processes, and the record that says "running". The caller holds shim.lock,
// so nobody else does, and no shim is alive. It returns berth.ErrEscaped if
// processes are left that cannot be ended: nothing may be started then.
func Recover(h *home.Home, name string) (Recovered, error) {
	var r Recovered
	st, found, err := h.ReadState(name)
	if errors.Is(err, berth.ErrBadState) {
		if r.SetAside, err = h.SetAside(name); err != nil {
			return r, err
		}
		lifecycle(h, name, time.Now(), "STATE_SET_ASIDE "+r.SetAside)
		found = false
	} else if err != nil {
		return r, err
	}
	if st.Desired == "" {
		st.Desired = st.Status // the reference's word for it
	}
	if found && ByReference(st) {
		alive, err := ReferenceLives(st)
		if err != nil {
			return r, err
		}
		if alive {
			r.Foreign, r.State, r.Status = true, st, ReferenceStatus(name, st)
			return r, nil
		}
	}
	if path, err := h.ReadSocketPath(name); err == nil {
		_ = os.Remove(path) // nobody listens at it
	}
	ran := found && (st.Status == string(berth.Running) || st.Phase == string(berth.PhaseStopping))
	var left *engine
	if ran {
		left = engineLeft(h, name, st)
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		left.try(ctx) // before its tree is gone: see shim.clear
		cancel()
	}
	fail.Point("shim.recover.before-sweep")
	if err := sweep(h, name, st); err != nil {
		return r, err
	}
	fail.Point("shim.recover.after-sweep")
	r.State = st
	if !ran {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	if err := left.remove(ctx); err != nil {
		return r, berth.WithHint(fmt.Errorf("%w: an earlier run of %q: %w", berth.ErrEscaped, name, err),
			"start the container engine, or end the container by hand; nothing is started before")
	}
	r.Ended = true
	r.State, err = putToRest(h, name, st)
	return r, err
}

// Warning says what the user should know of what was found; "" is nothing.
func (r Recovered) Warning() string {
	if r.SetAside == "" {
		return ""
	}
	return "its state file did not parse and was set aside as " + r.SetAside
}

// lifecycle writes a line of Berth's own into the log of a server that has no
// shim. A log that cannot be written stops nothing.
func lifecycle(h *home.Home, name string, at time.Time, text string) {
	if log, err := h.OpenLog(name, home.LogOptions{}); err == nil {
		log.Lifecycle(at, text)
		log.Close()
	}
}

// sweep ends every process that an incarnation of the server left.
func sweep(h *home.Home, name string, st home.State) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	treeLock, err := h.TreeLock(name)
	if err != nil {
		return err
	}
	q := proc.Query{Key: h.Key(name), TreeLock: treeLock}
	for _, path := range []string{st.Cgroup, st.MemoryCgroup} {
		if path != "" {
			q.CgroupPaths = append(q.CgroupPaths, path)
		}
	}
	left, err := proc.Sweep(ctx, q)
	if err != nil && len(left) == 0 {
		return fmt.Errorf("look for processes that %q left: %w", name, err)
	}
	if len(left) > 0 {
		return berth.WithHint(
			fmt.Errorf("%w: %w of an earlier run of %q cannot be ended", berth.ErrEscaped, &remoteError{describeLeft(left, err), err}, name),
			"end them by hand; nothing is started while they live")
	}
	// A process that is ending cannot be seen any more when it lets go of its
	// locks: the end of a PID namespace is not waited for by anybody.
	ctx, cancel = context.WithTimeoutCause(context.Background(), dyingTimeout, home.ErrLocked)
	defer cancel()
	lock, err := home.WaitLock(ctx, treeLock)
	if errors.Is(err, home.ErrLocked) {
		return berth.WithHint(
			fmt.Errorf("%w: a process that cannot be seen from here still holds %s", berth.ErrEscaped, treeLock),
			"it is in another container or PID namespace that shares this home; stop it there")
	}
	if err != nil {
		return err
	}
	return lock.Unlock()
}

// putToRest records the end of a process that no shim saw end.
func putToRest(h *home.Home, name string, st home.State) (home.State, error) {
	at := time.Now()
	action, text := berth.ActionExit, home.LogExit
	detail := "its supervisor was killed"
	if ByReference(st) {
		detail = ""
	}
	if st.Phase == string(berth.PhaseStopping) && (st.Desired == string(berth.Stopped) || st.AtRest) {
		action, text, detail = berth.ActionStop, home.LogStop, "completed after its supervisor was killed"
	}
	if st.BootID != "" {
		if self, err := proc.Self(); err == nil && self.Boot != st.BootID {
			detail = "the system went down"
		}
	}
	record := berth.Record{
		TimestampEpochSecs: at.Unix(), Time: at, Server: name, Action: action,
		PID: st.PID, Command: st.Command, Args: st.Args, Detail: detail,
	}
	lifecycle(h, name, at, text)
	fail.Point("shim.recover.before-audit")
	if _, err := h.Append(record); err != nil {
		return st, err
	}
	fail.Point("shim.recover.after-audit")
	st.Status = string(berth.Stopped)
	st.PID, st.StartTime = 0, 0
	st.LastExit = &berth.Exit{At: at}
	if action == berth.ActionStop {
		st.Phase, st.Reason, st.Failure = string(berth.PhaseStopped), "", ""
	} else {
		st.Phase, st.Reason, st.Failure = string(berth.PhaseExited), detail, ""
	}
	if err := h.WriteState(name, st); err != nil {
		return st, err
	}
	fail.Point("shim.recover.after-state")
	return st, nil
}

// ByReference says whether the record was written by the reference, which
// knows a process by its bare pid.
func ByReference(st home.State) bool {
	return st.Status == string(berth.Running) && st.PID > 0 && st.StartTime == 0 && st.Incarnation == "" && st.NextIncarnation == ""
}

// referenceSlack is how long before its record the reference's process may
// have started: it writes the record right after.
const referenceSlack = 2 * time.Second

// ReferenceLives says whether the process of a reference's record is there: the
// same user, the same argv, and started when the record says.
func ReferenceLives(st home.State) (bool, error) {
	info, err := proc.Describe(st.PID)
	if errors.Is(err, proc.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at process %d: %w", st.PID, err)
	}
	written := time.Unix(st.UpdatedAt, 0).Add(time.Second) // the record has whole seconds, rounded down
	return info.UID == os.Getuid() && sameArgv(info.Argv, st.Command, st.Args) &&
		!info.Started.After(written) && !info.Started.Before(written.Add(-referenceSlack-time.Second)), nil
}

// sameArgv compares a process's argv with what was started. The kernel puts the
// interpreter before the path of a script (execve(2)), so the words may be
// preceded by others, and the command may have become a path.
func sameArgv(argv []string, command string, args []string) bool {
	at := len(argv) - len(args) - 1
	return at >= 0 && slices.Equal(argv[at+1:], args) &&
		(argv[at] == command || at > 0 && filepath.Base(argv[at]) == filepath.Base(command))
}

// ReferenceStatus is the status of a server that the reference started and that
// still runs.
func ReferenceStatus(name string, st home.State) berth.Status {
	return berth.Status{
		Name: name, Status: berth.Running, Phase: berth.PhaseRunning, PID: st.PID,
		Restarts: st.RestartAttempts, MaxRestarts: st.MaxRestarts,
		Warning: "started by an earlier Berth: it has no supervisor and no open stdin; restart it to have both",
	}
}
