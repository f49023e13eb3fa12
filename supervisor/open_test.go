//go:build unix

package supervisor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

func TestG1_VersionAndStatesInWords(t *testing.T) {
	if berth.Version == "" {
		t.Error("there is no version")
	}
	w := newWorld(t)
	equal(t, "a server that never ran", fmt.Sprint(w.status("a").Status), "stopped")
	w.start("a", idle())
	equal(t, "a server that runs", fmt.Sprint(w.status("a").Status), "running")
	equal(t, "what its file says", w.readRef("a").Status, "running")
	w.stop("a")
	equal(t, "a server that was stopped", fmt.Sprint(w.status("a").Status), "stopped")
	equal(t, "what its file says", w.readRef("a").Status, "stopped")
}

// openSoon opens a home, and fails the test if that waits for anything.
func openSoon(t *testing.T, o supervisor.Options) *supervisor.Manager {
	t.Helper()
	type opened struct {
		m   *supervisor.Manager
		err error
	}
	done := make(chan opened, 1)
	go func() {
		m, err := supervisor.Open(&o)
		done <- opened{m, err}
	}()
	select {
	case got := <-done:
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.m
	case <-time.After(patience):
		t.Fatal("opening a home waits for something")
		return nil
	}
}

// Opening reads no file of a home: whoever reads one of these waits for ever.
func TestN1_OpenReadsNothing(t *testing.T) {
	w := newWorld(t)
	for _, file := range []string{
		"policy.toml", "berth.toml", "servers/a.toml", "runtime/a.toml", "permissions/a.toml", "logs/a.log", "logs/a.log.1",
		"audit/audit.jsonl", "audit/audit.lock", "audit/head", "locks/a.shim", "locks/a.tree", "locks/keeper", "run/a.addr",
	} {
		if err := syscall.Mkfifo(w.path(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := w.snapshot()
	for _, readOnly := range []bool{false, true} {
		m := openSoon(t, supervisor.Options{Home: w.dir, ReadOnly: readOnly})
		equal(t, "directory", m.Dir(), w.dir)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	w.unchanged(before)
	for name := range before {
		if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			if err := os.Remove(name); err != nil { // the end of the test looks into some
				t.Fatal(err)
			}
		}
	}
}

// It makes the directories, and what it needs to prove that locks work. A home
// that is opened for reading is not even made.
func TestN1_OpenMakesDirectoriesOnly(t *testing.T) {
	dir := filepath.Join(shortDir(t), "new", "home")
	openSoon(t, supervisor.Options{Home: dir, ReadOnly: true})
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened for reading, it is there: %v", err)
	}
	w := newWorldWith(t, supervisor.Options{Home: dir})
	var made []string
	for path, is := range w.snapshot() {
		if !strings.HasPrefix(is, "d") {
			made = append(made, strings.TrimPrefix(path, w.dir))
		}
	}
	if !slices.Equal(made, []string{"/locks/probe"}) || w.read("locks", "probe") != "" {
		t.Errorf("the files that were made are %q", made)
	}
	before := w.snapshot()
	openSoon(t, supervisor.Options{Home: dir})
	openSoon(t, supervisor.Options{Home: dir, ReadOnly: true})
	w.unchanged(before)
}

// What runs is not touched by whoever opens its home.
func TestN1_OpenOfAHomeInUse(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	before := w.snapshot()
	m := openSoon(t, supervisor.Options{Home: w.dir})
	w.unchanged(before)
	got, err := m.Status(w.ctx, "a")
	if err != nil || got.PID != st.PID || got.Generation != st.Generation {
		t.Errorf("status: %+v, %v", got, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	equal(t, "pid after the other was closed", w.status("a").PID, st.PID)
}

// foreign are the mechanisms of other systems than this one.
func foreign() []berth.TreeMechanism {
	return slices.DeleteFunc(berth.TreeMechanisms(), func(m berth.TreeMechanism) bool {
		switch runtime.GOOS {
		case "linux":
			return m != berth.TreeJob
		case "darwin":
			return m == berth.TreeProcessGroup
		}
		return false
	})
}

// What this system does not have is refused as unsupported, before anything
// runs; it is never taken for something weaker.
func TestO1_MechanismOfAnotherSystem(t *testing.T) {
	if len(foreign()) == 0 {
		t.Fatal("every mechanism is said to be this system's")
	}
	for _, mechanism := range foreign() {
		t.Run(string(mechanism), func(t *testing.T) {
			w := newWorld(t)
			births := w.path("births")
			spec := restarting(sh(`echo born >>"$0"; exec cat >/dev/null`, births), 3)
			spec.TreeKill = mechanism
			outcome, err := w.m.Start(w.ctx, "a", spec)
			is(t, err, errors.ErrUnsupported, string(mechanism), `"a"`)
			equal(t, "outcome", outcome, 0)
			w.hasNotStarted("a")
			if st := w.status("a"); st.Phase != berth.PhaseFailed || !strings.Contains(st.Error, string(mechanism)) {
				t.Errorf("status: %+v", st)
			}
			is(t, w.m.Restart(w.ctx, "a", spec), errors.ErrUnsupported, string(mechanism))
			is(t, w.m.Supervise(w.ctx, "b", spec), nil) // there is nothing to take up
			w.awaitShimEnd("a")
			if got := w.read("births"); got != "" {
				t.Errorf("it was started: %q", got)
			}
			// A mechanism that there is helps.
			spec.TreeKill = berth.TreeAuto
			w.start("a", spec)
		})
	}
}

// A manager that was opened for reading sees everything and changes nothing,
// neither in the home nor in what runs.
func TestReadOnlyManager(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 3)
	st := w.start("a", spec)
	w.start("b", spec)
	w.stop("b")
	w.awaitShimEnd("b")
	m := openSoon(t, supervisor.Options{Home: w.dir, ReadOnly: true})
	before := w.snapshot()
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "opened for reading only") {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		if got, err := m.Status(w.ctx, name); err != nil || got.PID != w.status(name).PID {
			t.Errorf("status: %+v, %v", got, err)
		}
		if _, err := m.Logs(name, 10); err != nil {
			t.Errorf("logs: %v", err)
		}
		_, err := m.Start(w.ctx, name, spec)
		refused("start "+name, err)
		_, err = m.Stop(w.ctx, name)
		refused("stop "+name, err)
		refused("restart "+name, m.Restart(w.ctx, name, spec))
		_, err = m.Reconcile(w.ctx, name, &spec)
		refused("reconcile "+name, err)
		refused("supervise "+name, m.Supervise(w.ctx, name, spec))
		refused("renew "+name, m.Renew(w.ctx, name, 1))
		refused("upgrade "+name, m.Upgrade(w.ctx, name, ""))
		_, err = m.Record(w.ctx, berth.Record{Server: name, Action: "approved"})
		refused("record "+name, err)
		err = m.Keep(w.ctx, supervisor.KeepOptions{Spec: func(string) (berth.ProcessSpec, bool, error) { return spec, true, nil }})
		refused("keep", err)
	}
	if names, err := m.Names(); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("names: %q, %v", names, err)
	}
	w.unchanged(before)
	if got := w.status("a"); got.PID != st.PID || got.Generation != st.Generation {
		t.Errorf("the server was %+v, is %+v", st, got)
	}
}
