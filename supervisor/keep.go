package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/fsnotify/fsnotify"
)

// KeepOptions adjusts Keep.
type KeepOptions struct {
	// Spec returns how to run a server whose shim was killed; false leaves it
	// down. Required.
	Spec func(name string) (berth.ProcessSpec, bool, error)
	// OnEvent, if set, is called for each change of a server's status, from
	// several goroutines, one for each server.
	OnEvent func(berth.Event)
	// OnError, if set, is called when a server cannot be brought up again.
	OnError func(name string, err error)
}

// Keep watches every server of the home, those that are started later included,
// and starts a successor for each shim that is killed. It blocks until ctx ends
// and returns its cause. Servers that were stopped, gave up, or exited without
// auto-restart are left alone. Any number of keepers may run: they differ only
// in which of them is first.
func (m *Manager) Keep(ctx context.Context, o KeepOptions) error {
	if err := m.home.CanWrite(); err != nil {
		return fmt.Errorf("keep the servers up: %w", err)
	}
	return m.eachServer(ctx, func(ctx context.Context, name string, changed <-chan struct{}) {
		m.follow(ctx, name, changed, o.OnEvent, func() { m.heal(ctx, name, o) })
	})
}

// Events calls fn for each change of the status of any server of the home, the
// present ones first, until ctx ends, whose cause it returns. Calls for one
// server come in order; calls for several may come at once.
func (m *Manager) Events(ctx context.Context, fn func(berth.Event)) error {
	return m.eachServer(ctx, func(ctx context.Context, name string, changed <-chan struct{}) {
		m.follow(ctx, name, changed, fn, func() {
			if st, err := m.Status(ctx, name); err == nil {
				fn(berth.Event{At: time.Now(), Status: st})
			}
		})
	})
}

// eachServer runs f for every server that has a state, now or later, and wakes
// it through changed when the state file or the socket of any server is
// replaced.
func (m *Manager) eachServer(ctx context.Context, f func(ctx context.Context, name string, changed <-chan struct{})) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the home directory: %w", err)
	}
	defer w.Close()
	for _, dir := range []string{m.home.RuntimeDir(), m.home.RunDir()} {
		if err := w.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := map[string]chan struct{}{}
	wake := func(name string) {
		if berth.CheckInstance(name) != nil {
			return
		}
		c, known := servers[name]
		if !known {
			c = make(chan struct{}, 1)
			servers[name] = c
			running.Go(func() { f(ctx, name, c) })
		}
		select {
		case c <- struct{}{}:
		default:
		}
	}
	// The watch is in place before the first look, so nothing falls between.
	names, err := m.home.States()
	if err != nil {
		return err
	}
	for _, name := range names {
		wake(name)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the home directory: %w", err)
			}
			names, err := m.home.States()
			if err != nil {
				return err
			}
			for _, name := range names {
				wake(name)
			}
		case ev := <-w.Events:
			if !ev.Has(fsnotify.Create) && !ev.Has(fsnotify.Write) && !ev.Has(fsnotify.Rename) {
				continue
			}
			if name, ok := strings.CutSuffix(filepath.Base(ev.Name), ".toml"); ok && filepath.Dir(ev.Name) == m.home.RuntimeDir() {
				wake(name)
			}
		}
	}
}

// follow tells fn (if it is set) of each status of one server, and calls gone
// whenever no shim is there to tell more; then it waits for the next change of
// the server's files.
func (m *Manager) follow(ctx context.Context, name string, changed <-chan struct{}, fn func(berth.Event), gone func()) {
	for ctx.Err() == nil {
		w, err := shim.Watch(ctx, m.home, name)
		if err == nil {
			m.relayStatus(ctx, w, fn)
			w.Close()
			continue // the shim ended: is there another?
		}
		gone()
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

func (m *Manager) relayStatus(ctx context.Context, w *shim.Watcher, fn func(berth.Event)) {
	for {
		st, err := w.Next(ctx)
		if err != nil {
			return
		}
		if fn != nil {
			fn(berth.Event{At: time.Now(), Status: st})
		}
	}
}

// heal starts a successor for a shim that was killed. A server that is down on
// purpose is left down.
func (m *Manager) heal(ctx context.Context, name string, o KeepOptions) {
	state, found, err := m.home.ReadState(name)
	if errors.Is(err, berth.ErrBadState) {
		state, found, err = home.State{}, true, nil // Reconcile sets it aside
	}
	if err != nil {
		o.report(name, err)
		return
	}
	if !found || !orphaned(state) {
		if st, err := m.Status(ctx, name); err == nil && o.OnEvent != nil {
			o.OnEvent(berth.Event{At: time.Now(), Status: st})
		}
		return
	}
	spec, ok, err := o.Spec(name)
	if err != nil {
		o.report(name, err)
		return
	}
	if !ok {
		return
	}
	if _, err := m.Reconcile(ctx, name, &spec); err != nil && ctx.Err() == nil {
		o.report(name, err)
	}
}

func (o *KeepOptions) report(name string, err error) {
	if o.OnError != nil {
		o.OnError(name, err)
	}
}

// orphaned says whether the state is one that only a living shim may leave.
func orphaned(st home.State) bool {
	if st.Status == string(berth.Running) {
		return !shim.ByReference(st)
	}
	switch berth.Phase(st.Phase) {
	case berth.PhaseStarting, berth.PhaseBackoff, berth.PhaseStopping:
		return true
	}
	return false
}

// awaitExit returns when the process has ended.
func awaitExit(ctx context.Context, pid int) error {
	info, err := proc.Describe(pid)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := proc.Pin(info.ID)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Wait(ctx)
}
