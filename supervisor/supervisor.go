// Package supervisor keeps MCP servers up. It is the library behind the berth
// command, for any program that wants to start a server, trust that it is up,
// see what it does, and stop it for good.
//
//	Manager ──starts──▶ shim ──owns──▶ server
//	        ──asks────▶  │ one per running server; survives the Manager
//
// A program in ten lines:
//
//	m, err := supervisor.Open(nil)
//	if err != nil { … }
//	spec := berth.ProcessSpec{
//		Command:     "npx",
//		Args:        []string{"-y", "@modelcontextprotocol/server-everything"},
//		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10},
//	}
//	outcome, err := m.Start(ctx, "everything", spec)
//
// What is promised: a server that was started is up, or Status says why not; a
// process that was started ends when Stop says so, with its whole tree; a
// process that was not started here is never signalled; any process of Berth's
// may be killed at any moment, and nothing is lost, doubled or left half
// written.
//
// A program that imports this package can become a shim: an init function of
// package internal/shim, or for a confined server of internal/confined, takes
// over when argv[0] is "berth-shim". Package initialisation that the language
// orders before that one runs in the shim as well.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	_ "github.com/berth-run/berth/internal/confined" // a role of this program
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
)

// Options adjusts Open; nil means its zero value.
type Options struct {
	// Home is the directory that holds everything; default $BERTH_HOME, else
	// ~/.berth.
	Home string
	// Executable is the binary that becomes a shim; default the running
	// program. A host that cannot (a plugin of another program) names berth.
	Executable string
	// GreetTimeout is how long that binary may take to become a shim; default
	// 2 s for a named Executable, 30 s for the running program.
	GreetTimeout time.Duration
	// Environ is where the allow-listed variables of a server come from;
	// default os.Environ() at each start. See berth.AllowedEnv.
	Environ []string
	// ReadOnly refuses every change, of what runs as well, and makes nothing in
	// the home.
	ReadOnly bool
	// Leashed ends every server that this Manager starts when this process
	// ends, however it ends. For a throw-away home.
	Leashed bool
}

// Manager works on the servers of one home. It holds nothing that another
// Manager, in this process or another, would miss: any number may work on one
// home. Its methods may be called concurrently.
type Manager struct {
	home    *home.Home
	o       Options
	leashes leashes
}

// Open returns a Manager of a home. It reads no file of it: it finds that the
// directory is this user's and on a local disk, makes what is missing in it and
// closes it to other users, unless it is opened for reading, and proves that
// file locks work in it; otherwise the error is berth.ErrUnfitHome with a hint.
func Open(o *Options) (*Manager, error) {
	if o == nil {
		o = &Options{}
	}
	dir := o.Home
	if dir == "" {
		var err error
		if dir, err = home.Default(); err != nil {
			return nil, err
		}
	}
	h, err := home.Open(dir, &home.Options{ReadOnly: o.ReadOnly})
	if err != nil {
		return nil, err
	}
	return &Manager{home: h, o: *o}, nil
}

// Dir returns the home's directory.
func (m *Manager) Dir() string { return m.home.Dir() }

// Start has the server up and returns once its program was executed and its
// start is on record. It returns AlreadyRunning, and changes nothing, if the
// server runs; berth.ErrDenied if the policy forbids it; and the system's error
// kind (fs.ErrNotExist, fs.ErrPermission) if the command cannot be executed.
func (m *Manager) Start(ctx context.Context, name string, spec berth.ProcessSpec) (berth.StartOutcome, error) {
	if err := check(name, &spec); err != nil {
		return 0, err
	}
	var outcome berth.StartOutcome
	err := m.withShim(ctx, name, func(ctx context.Context) (err error) {
		_, outcome, err = shim.Start(ctx, m.home, name, spec, m.environ())
		if errors.Is(err, shim.ErrReplace) && shim.Runs(ctx, m.home, name) {
			outcome = berth.AlreadyRunning
			return nil
		}
		return m.makeWay(ctx, name, &spec, err)
	}, func(ctx context.Context) (busy bool, err error) {
		if runs, err := m.referenceRuns(name); runs || err != nil {
			outcome = berth.AlreadyRunning
			return false, err
		}
		var l shim.Launched
		l, err = m.launch(ctx, name, shim.ModeStart, spec)
		outcome = l.Outcome
		return l.Busy, err
	})
	if err != nil {
		return 0, fmt.Errorf("start %q: %w", name, err)
	}
	return outcome, nil
}

// Stop ends the server's whole process tree and returns when it is empty. It
// returns AlreadyStopped if nothing ran, and berth.ErrEscaped, naming them, if
// processes are left.
func (m *Manager) Stop(ctx context.Context, name string) (berth.StopOutcome, error) {
	if err := berth.CheckInstance(name); err != nil {
		return 0, err
	}
	var outcome berth.StopOutcome
	err := m.withShim(ctx, name, func(ctx context.Context) (err error) {
		outcome, err = shim.Stop(ctx, m.home, name)
		return err
	}, func(ctx context.Context) (busy bool, err error) {
		if never, err := m.neverRan(name); never || err != nil {
			outcome = berth.AlreadyStopped
			return false, err
		}
		return m.underLock(name, func() error {
			outcome, err = shim.StopWithout(ctx, m.home, name)
			return err
		})
	})
	if err != nil {
		return outcome, fmt.Errorf("stop %q: %w", name, err)
	}
	return outcome, nil
}

// Rest stops a server that nobody uses, as Stop does, until somebody needs it:
// whether it should be up stays as it is, and reason goes on record. A server of
// another generation is left alone, unless that is 0, and so is one that is down
// or that has lost its shim, which are AlreadyStopped.
func (m *Manager) Rest(ctx context.Context, name string, generation uint64, reason string) (berth.StopOutcome, error) {
	if err := berth.CheckInstance(name); err != nil {
		return 0, err
	}
	err := m.home.CanWrite()
	outcome := berth.AlreadyStopped
	if err == nil {
		if outcome, err = shim.Rest(ctx, m.home, name, generation, reason); errors.Is(err, shim.ErrGone) {
			outcome, err = berth.AlreadyStopped, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("put %q to rest: %w", name, err)
	}
	return outcome, nil
}

// CheckPolicy returns why the policies do not let the server start as its file in the
// home says, which wraps berth.ErrDenied, and nil if it may. Each start asks again,
// about the spec that it is given.
func (m *Manager) CheckPolicy(name string) error {
	if err := berth.CheckInstance(name); err != nil {
		return err
	}
	return shim.CheckPolicy(m.home, name)
}

// Restart stops the server if it runs and starts it with spec. The server runs
// afterwards, whether it ran before or not. A policy that forbids the start is
// berth.ErrDenied, and what runs goes on.
func (m *Manager) Restart(ctx context.Context, name string, spec berth.ProcessSpec) error {
	if err := check(name, &spec); err != nil {
		return err
	}
	err := m.withShim(ctx, name, func(ctx context.Context) error {
		_, err := shim.Restart(ctx, m.home, name, spec, m.environ())
		return m.makeWay(ctx, name, &spec, err)
	}, func(ctx context.Context) (busy bool, err error) {
		if err := m.endReference(ctx, name, &spec); err != nil {
			return errors.Is(err, home.ErrLocked), err
		}
		l, err := m.launch(ctx, name, shim.ModeRestart, spec)
		return l.Busy, err
	})
	if err != nil {
		return fmt.Errorf("restart %q: %w", name, err)
	}
	return nil
}

// Renew replaces the server's process if it still is of the given generation,
// because a client needs one that nobody shook hands with. It is on record and
// does not count as a restart.
func (m *Manager) Renew(ctx context.Context, name string, generation uint64) error {
	if err := berth.CheckInstance(name); err != nil {
		return err
	}
	err := m.home.CanWrite()
	if err == nil {
		_, err = shim.Renew(ctx, m.home, name, generation)
	}
	if err != nil {
		return fmt.Errorf("renew %q: %w", name, err)
	}
	return nil
}

// Upgrade has the server's shim become the given binary in place, the server
// untouched; an empty path is the running program. Linux and macOS.
func (m *Manager) Upgrade(ctx context.Context, name, executable string) error {
	if err := berth.CheckInstance(name); err != nil {
		return err
	}
	if err := m.home.CanWrite(); err != nil {
		return fmt.Errorf("upgrade the shim of %q: %w", name, err)
	}
	if executable == "" {
		var err error
		if executable, err = os.Executable(); err != nil {
			return err
		}
	}
	if _, err := shim.Upgrade(ctx, m.home, name, executable); err != nil {
		return fmt.Errorf("upgrade the shim of %q: %w", name, err)
	}
	return nil
}

// Logs returns the last n lines of the server's log, oldest first; none if
// there is no log. Lines are bytes: a server may print anything. One of more
// than a megabyte is cut, and says so.
func (m *Manager) Logs(name string, n int) ([][]byte, error) {
	if err := berth.CheckInstance(name); err != nil {
		return nil, err
	}
	return m.home.Tail(name, n)
}

// FollowLogs calls fn for each of the last n lines of the server's log and then
// for each that is added, until ctx ends or fn returns an error.
func (m *Manager) FollowLogs(ctx context.Context, name string, n int, fn func(line []byte) error) error {
	if err := berth.CheckInstance(name); err != nil {
		return err
	}
	return m.home.Follow(ctx, name, n, fn)
}

// Record appends a record of the caller's own to the audit trail and returns
// it as written, once it is on the disk. A blank action is fs.ErrInvalid.
func (m *Manager) Record(_ context.Context, r berth.Record) (berth.Record, error) {
	if strings.TrimSpace(r.Action) == "" {
		return r, fmt.Errorf("record an action: %w: the action is blank", fs.ErrInvalid)
	}
	if err := berth.CheckInstance(r.Server); err != nil {
		return r, err
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.TimestampEpochSecs = r.Time.Unix()
	return m.home.Append(r)
}

// Names lists the servers that have a state in this home, sorted.
func (m *Manager) Names() ([]string, error) {
	names, err := m.home.States()
	slices.Sort(names)
	return names, err
}

// Close ends the servers that were started on a leash; others are not touched.
func (m *Manager) Close() error { return m.leashes.Close() }

func check(name string, spec *berth.ProcessSpec) error {
	if err := spec.Check(); err != nil {
		return err
	}
	return berth.CheckInstance(name)
}

func (m *Manager) environ() []string {
	if m.o.Environ != nil {
		return berth.AllowedEnv(m.o.Environ)
	}
	return berth.AllowedEnv(os.Environ())
}

func (m *Manager) launch(ctx context.Context, name string, mode shim.Mode, spec berth.ProcessSpec) (shim.Launched, error) {
	l, err := shim.Launch(ctx, m.home, name, shim.LaunchOptions{
		Executable: m.o.Executable, GreetTimeout: m.o.GreetTimeout,
		Mode: mode, Spec: spec, Environ: m.environ(), Leash: m.o.Leashed,
	})
	if l.Leash != nil {
		m.leashes.add(l.Leash)
	}
	return l, err
}

// patience is how long an operation waits for a shim that does not answer, and
// for a lock whose holder cannot be reached: a shim that is about to listen or
// about to end.
const patience = 20 * time.Second

// withShim asks the server's shim or, where none listens, does without. Busy
// means that a shim came between: it is asked again. Waits are short and few:
// the state between "lock taken" and "socket open" lasts milliseconds.
func (m *Manager) withShim(ctx context.Context, name string, asked func(context.Context) error, without func(context.Context) (busy bool, err error)) error {
	if err := m.home.CanWrite(); err != nil {
		return err
	}
	fail.Point("supervisor.request")
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := m.answers(ctx, name)
		if err == nil {
			err = asked(ctx)
		}
		if !errors.Is(err, shim.ErrGone) {
			return err
		}
		busy, err := without(ctx)
		if !busy && !errors.Is(err, shim.ErrGone) {
			return err
		}
		if time.Now().After(deadline) {
			return berth.WithHint(
				fmt.Errorf("another process holds the lock of %q and does not answer", name),
				"look for a stopped (SIGSTOP) process named berth-shim")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// makeWay ends the server of a shim that cannot do what it was asked, if that is what err
// says and the policy lets another be started, which a shim of this version does then:
// ErrGone. Any other error is returned as it is.
func (m *Manager) makeWay(ctx context.Context, name string, spec *berth.ProcessSpec, err error) error {
	if !errors.Is(err, shim.ErrReplace) {
		return err
	}
	st, _, stateErr := m.home.ReadState(name)
	if stateErr != nil {
		return stateErr
	}
	if err := shim.MayReplace(m.home, name, st, spec); err != nil {
		return err
	}
	if _, err := shim.Stop(ctx, m.home, name); err != nil {
		return err
	}
	return fmt.Errorf("%w: it has made way", shim.ErrGone)
}

// answers returns nil if a shim answers, shim.ErrGone if there is none, and says
// so if there is one that does not: what it is asked to do may take long, and
// nobody should wait for a process that was stopped.
func (m *Manager) answers(ctx context.Context, name string) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := shim.Answers(waiting, m.home, name)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		state, _, _ := m.home.ReadState(name)
		return berth.WithHint(fmt.Errorf("its supervisor, process %d, does not answer", state.ShimPID),
			fmt.Sprintf("if it was stopped, kill -CONT %[1]d; else end it with kill -KILL %[1]d and start the server: what is left of it is ended first", state.ShimPID))
	}
	if errors.Is(err, shim.ErrGone) {
		return err
	}
	return nil // what is wrong, the request itself will tell
}

// underLock runs f as the holder of shim.lock, so that no shim is there and
// none can come.
func (m *Manager) underLock(name string, f func() error) (busy bool, err error) {
	path, err := m.home.ShimLock(name)
	if err != nil {
		return false, err
	}
	lock, err := home.TryLock(path)
	if errors.Is(err, home.ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	err = f()
	return false, errors.Join(err, lock.Unlock())
}

// neverRan says whether there is no state of the server and nobody is about to
// make one: then even a lock file would be too much to write.
func (m *Manager) neverRan(name string) (bool, error) {
	_, found, err := m.home.ReadState(name)
	if found || err != nil {
		return false, nil // who acts under the lock reads it again
	}
	lock, err := m.home.ShimLock(name)
	if err != nil {
		return false, err
	}
	locked, err := home.Locked(lock)
	return !locked, err
}

// referenceRuns says whether a process of the reference's is the server.
func (m *Manager) referenceRuns(name string) (bool, error) {
	st, found, err := m.home.ReadState(name)
	if err != nil || !found || !shim.ByReference(st) {
		return false, nil // a shim's affair
	}
	return shim.ReferenceLives(st)
}

// endReference stops a process that the reference started, so that another can
// take its place.
func (m *Manager) endReference(ctx context.Context, name string, spec *berth.ProcessSpec) error {
	st, found, err := m.home.ReadState(name)
	if err != nil || !found || !shim.ByReference(st) {
		return nil // a shim's affair
	}
	if alive, err := shim.ReferenceLives(st); err != nil {
		return err
	} else if alive {
		if err := shim.MayReplace(m.home, name, st, spec); err != nil {
			return err
		}
	}
	busy, err := m.underLock(name, func() error {
		_, err := shim.StopWithout(ctx, m.home, name)
		return err
	})
	if busy {
		return home.ErrLocked
	}
	return err
}

var _ io.Closer = (*Manager)(nil)
