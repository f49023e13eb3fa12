//go:build unix

package supervisor_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// patience bounds everything that a test waits for. It is never waited for in
// a test that passes.
const patience = 60 * time.Second

// world is a home and a manager of it. When the test ends, every server of the
// home is stopped, and nothing may be left: no process, child, descriptor,
// socket or cgroup.
type world struct {
	*testing.T
	m   *supervisor.Manager
	dir string
	ctx context.Context
}

// newWorld opens a new home. Its path is short, so that sockets fit into it.
func newWorld(t *testing.T) *world { return newWorldWith(t, supervisor.Options{}) }

func newWorldWith(t *testing.T, o supervisor.Options) *world {
	t.Helper()
	before := lookAround(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	if o.Home == "" {
		o.Home = shortDir(t)
	}
	m, err := supervisor.Open(&o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, m: m, dir: m.Dir(), ctx: ctx}
	t.Cleanup(func() { w.leave(before) })
	return w
}

// shortDir returns a new directory with a short path, which is removed.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// leave stops what runs and looks for what is left.
func (w *world) leave(before surroundings) {
	w.Helper()
	for _, name := range w.servers() {
		if _, err := w.m.Stop(w.ctx, name); err != nil {
			w.Errorf("at the end of the test: %v", err)
		}
		w.awaitShimEnd(name)
	}
	if err := w.m.Close(); err != nil {
		w.Errorf("close: %v", err)
	}
	for _, name := range w.servers() {
		if info, err := os.Lstat(w.path("run", w.key(name))); err == nil {
			w.Errorf("the socket of %q is left: %v", name, info.Mode())
		}
	}
	w.nothingLeft(before)
}

// servers are those that the home has a state or a lock of.
func (w *world) servers() []string {
	w.Helper()
	names := map[string]bool{}
	for dir, suffix := range map[string]string{"runtime": ".toml", "locks": ".shim"} {
		entries, err := os.ReadDir(w.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.Fatal(err)
		}
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), suffix); ok && berth.CheckName(name) == nil {
				names[name] = true
			}
		}
	}
	var all []string
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// path returns the path of a file of the home.
func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// key is what the home knows a server by: the name of its socket, and the
// beginning of the mark that its processes carry.
func (w *world) key(name string) string {
	sum := sha256.Sum256([]byte(w.dir + "\x00" + name))
	return hex.EncodeToString(sum[:8])
}

// sh is a server that is a shell script.
func sh(script string, args ...string) berth.ProcessSpec {
	return berth.ProcessSpec{
		Command: "/bin/sh", Args: append([]string{"-c", script}, args...),
		Grace: berth.Duration(patience), // a server that does not end when it should is noticed
	}
}

// idle is a server as stdio servers are: it ends when its input does.
func idle() berth.ProcessSpec { return sh("cat >/dev/null") }

// deaf is a server that an end of its input does not end.
func deaf() berth.ProcessSpec {
	s := sh("exec sleep 1000")
	s.Grace = berth.Duration(10 * time.Millisecond)
	return s
}

// outliving is a server that goes on when its shim is killed: it is deaf, and in
// no PID namespace, which would end with the shim.
func outliving() berth.ProcessSpec {
	s := deaf()
	s.TreeKill = berth.TreeProcessGroup
	return s
}

// asRole is this test binary as a server.
func asRole(t *testing.T, name string, args ...string) berth.ProcessSpec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return berth.ProcessSpec{
		Command: self, Args: append([]string{rolePrefix + name}, args...),
		Env:   map[string]string{"GORACE": os.Getenv("GORACE")},
		Grace: berth.Duration(patience),
	}
}

// restarting returns the spec with automatic restarts, which come quickly.
func restarting(s berth.ProcessSpec, most int) berth.ProcessSpec {
	s.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: most,
		MinDelay: berth.Duration(time.Millisecond), MaxDelay: berth.Duration(5 * time.Millisecond),
	}
	return s
}

func (w *world) start(name string, s berth.ProcessSpec) berth.Status {
	w.Helper()
	outcome, err := w.m.Start(w.ctx, name, s)
	if err != nil || outcome != berth.Started {
		w.Fatalf("start: %v, %v", outcome, err)
	}
	st := w.status(name)
	if st.Status != berth.Running || st.PID == 0 || st.ShimPID == 0 {
		w.Fatalf("after the start: %+v", st)
	}
	return st
}

func (w *world) stop(name string) {
	w.Helper()
	if outcome, err := w.m.Stop(w.ctx, name); err != nil || outcome != berth.StopDone {
		w.Fatalf("stop: %v, %v", outcome, err)
	}
}

func (w *world) status(name string) berth.Status {
	w.Helper()
	st, err := w.m.Status(w.ctx, name)
	if err != nil {
		w.Fatalf("status: %v", err)
	}
	return st
}

func (w *world) reconcile(name string, s *berth.ProcessSpec) berth.Status {
	w.Helper()
	st, err := w.m.Reconcile(w.ctx, name, s)
	if err != nil {
		w.Fatalf("reconcile: %v", err)
	}
	return st
}

// await returns the first status of the server that ok accepts, by Events.
func (w *world) await(name, what string, ok func(berth.Status) bool) berth.Status {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	found := make(chan berth.Status, 1)
	var last berth.Status
	err := w.m.Events(ctx, func(e berth.Event) {
		if e.Status.Name != name {
			return
		}
		last = e.Status
		if ok(e.Status) {
			select {
			case found <- e.Status:
			default:
			}
			cancel()
		}
	})
	select {
	case st := <-found:
		return st
	default:
	}
	w.Fatalf("%q did not come: %v; the last status was %+v", what, err, last)
	panic("unreachable")
}

// awaitPhase waits for a phase.
func (w *world) awaitPhase(name string, phase berth.Phase) berth.Status {
	w.Helper()
	return w.await(name, string(phase), func(st berth.Status) bool { return st.Phase == phase })
}

// awaitNext waits for a running process of a later generation.
func (w *world) awaitNext(name string, after uint64) berth.Status {
	w.Helper()
	return w.await(name, "next generation", func(st berth.Status) bool {
		return st.Status == berth.Running && st.Generation > after
	})
}

// awaitLog waits for a line of the server's log that holds text.
func (w *world) awaitLog(name, text string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	found := ""
	stop := errors.New("found")
	err := w.m.FollowLogs(ctx, name, 1000, func(line []byte) error {
		if strings.Contains(string(line), text) {
			found = string(line)
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		w.Fatalf("the log has no %q: %v\n%s", text, err, w.read("logs", name+".log"))
	}
	return found
}

// read returns a file of the home; a missing one is empty.
func (w *world) read(elem ...string) string {
	w.Helper()
	data, err := os.ReadFile(w.path(elem...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	return string(data)
}

// write puts a file into the home.
func (w *world) write(text string, elem ...string) {
	w.Helper()
	if err := os.WriteFile(w.path(elem...), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// equal fails the test unless got is want.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// is fails the test unless err is of the kind and names each text.
func is(t testing.TB, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("the error is %v, not a %v", err, kind)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not name %q", err, text)
		}
	}
}

// startBriefly starts a server that may have ended when Start returns.
func (w *world) startBriefly(name string, s berth.ProcessSpec) {
	w.Helper()
	if outcome, err := w.m.Start(w.ctx, name, s); err != nil || outcome != berth.Started {
		w.Fatalf("start: %v, %v", outcome, err)
	}
}
