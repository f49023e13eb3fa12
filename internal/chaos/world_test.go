//go:build linux

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/supervisor"
)

// world is one home with its servers, its keeper and its callers.
type world struct {
	t      *testing.T
	m      *supervisor.Manager
	home   *home.Home
	dir    string // everything else
	points string // armed failpoints
	keeper *exec.Cmd
	alive  *os.File // ends, for who reads it, with this process
	talk   talk
}

// awaited is how long anything may take to heal without a command, and looks how
// often that is looked at in that time at least: on a machine that is so busy
// that a look takes long, so may all else.
const (
	awaited = 5 * time.Second
	looks   = 500
)

func newWorld(t *testing.T) *world {
	t.Helper()
	// The race detector makes every exit of a process a second longer.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	dir := t.TempDir()
	w := &world{t: t, dir: dir, points: filepath.Join(dir, "points")}
	for _, d := range []string{w.points, w.specs()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	alive, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		end.Close()
	})
	w.alive = alive
	if w.m, err = supervisor.Open(&supervisor.Options{Home: filepath.Join(dir, "home")}); err != nil {
		t.Fatal(err)
	}
	if w.home, err = home.Open(w.m.Dir(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

func (w *world) specs() string  { return filepath.Join(w.dir, "specs") }
func (w *world) report() string { return filepath.Join(w.dir, "report") }

// mostRestarts is more than a test needs, and few enough that what is left of one that
// was killed itself ends within minutes.
const mostRestarts = 1 << 14

// add installs a server of the given kind. Its restart policy is generous: what
// is tested is that it comes back, not that Berth gives up.
func (w *world) add(name string, k kind) {
	w.t.Helper()
	spec := berth.ProcessSpec{
		Command: "/bin/sh",
		Args:    []string{"-c", k.script},
		Env: map[string]string{
			"REPORT": w.report(), "LOCK": filepath.Join(w.dir, name+".twin"), "NAME": name, "SCRIPTS": w.dir,
		},
		AutoRestart: &berth.RestartPolicy{
			Enabled: true, MaxRestarts: mostRestarts, MinDelay: berth.Duration(time.Millisecond), MaxDelay: berth.Duration(20 * time.Millisecond),
		},
		Grace:    berth.Duration(100 * time.Millisecond),
		TreeKill: k.mechanism,
	}
	data, err := json.Marshal(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(specPath(w.specs(), name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// process starts this binary in a role. With failpoints, any of them may kill it.
func (w *world) process(role string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role, "BERTH_FAILPOINTS="+w.points)
	cmd.Stdin, cmd.Stderr = w.alive, &w.talk
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

func (w *world) startKeeper() {
	w.t.Helper()
	w.keeper = w.process(roleKeeper, w.m.Dir(), w.specs())
}

func (w *world) killKeeper() {
	w.keeper.Process.Kill()
	w.keeper.Wait()
}

// command runs one command to its end and says whether it succeeded.
func (w *world) command(op, name string) bool {
	w.t.Helper()
	return w.process(roleCaller, w.m.Dir(), w.specs(), op, name).Wait() == nil
}

// mustCommand runs a command that has to succeed.
func (w *world) mustCommand(op, name string) {
	w.t.Helper()
	if !w.command(op, name) {
		w.t.Fatalf("%s %s failed:\n%s", op, name, w.talk.String())
	}
}

func (w *world) status(name string) berth.Status {
	w.t.Helper()
	st, err := w.m.Status(context.Background(), name)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("status of %s: %v", name, err)
	}
	return st
}

// awaitUp waits until the server is up under a living shim and is another
// process than the given one, by looking: what is measured is what happens
// unaided, so nothing is asked to tell.
func (w *world) awaitUp(name string, not int) (berth.Status, time.Duration) {
	w.t.Helper()
	begun := time.Now()
	for look := 0; ; look++ {
		st := w.status(name)
		took := time.Since(begun)
		if st.Status == berth.Running && st.ShimPID != 0 && st.PID != not {
			return st, took
		}
		if took > awaited && (look > looks || took > 10*awaited) {
			w.t.Fatalf("lost: %s is %s, %s (%s) after %v\n%s\nreport:\n%s", name, st.Status, st.Phase, st.Error, took, w.talk.String(), w.tailReport())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// kill sends SIGKILL to the process if it is still the one that was meant.
func kill(pid int) {
	if pid == 0 {
		return
	}
	id, err := proc.Identify(pid)
	if err != nil {
		return
	}
	p, err := proc.Pin(id)
	if err != nil {
		return
	}
	defer p.Close()
	p.Kill()
}

// noTwins fails if a server ever met another of its kind.
func (w *world) noTwins() {
	w.t.Helper()
	data, _ := os.ReadFile(w.report()) // none: nothing started
	if bytes.Contains(data, []byte("TWIN")) {
		w.t.Fatalf("doubled:\n%s", w.tailReport())
	}
}

func (w *world) tailReport() string {
	data, _ := os.ReadFile(w.report())
	return string(data[max(0, len(data)-2000):])
}

// nothingLeft stops the server and fails if a process of it is left.
func (w *world) nothingLeft(name string) {
	w.t.Helper()
	w.mustCommand("stop", name)
	lock, err := w.home.TreeLock(name)
	if err != nil {
		w.t.Fatal(err)
	}
	left, err := proc.Leftovers(proc.Query{Key: w.home.Key(name), TreeLock: lock})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(left) > 0 {
		w.t.Fatalf("left over after the stop of %s: %v", name, left)
	}
	if st := w.status(name); st.Status != berth.Stopped || st.Phase != berth.PhaseStopped {
		w.t.Fatalf("%s is %s, %s after its stop", name, st.Status, st.Phase)
	}
}

// soundFiles fails if a file is half written.
func (w *world) soundFiles() {
	w.t.Helper()
	names, err := w.home.States()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if _, _, err := w.home.ReadState(name); err != nil {
			w.t.Error(err)
		}
	}
	report, err := w.home.VerifyAudit()
	if err != nil {
		w.t.Fatal(err)
	}
	if !report.OK() {
		w.t.Errorf("the audit trail is damaged: %+v", report)
	}
}

// end stops everything, whatever state the test left it in.
func (w *world) end() {
	if entries, err := os.ReadDir(w.points); err == nil {
		for _, e := range entries {
			os.Remove(filepath.Join(w.points, e.Name()))
		}
	}
	if w.keeper != nil {
		w.killKeeper()
	}
	specs, _ := filepath.Glob(specPath(w.specs(), "*"))
	for _, s := range specs {
		name := strings.TrimSuffix(filepath.Base(s), ".json")
		if _, err := w.m.Stop(context.Background(), name); err != nil {
			w.t.Errorf("stop %s at the end: %v", name, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), awaited)
		if left, err := proc.Sweep(ctx, proc.Query{Key: w.home.Key(name)}); err != nil || len(left) > 0 {
			w.t.Errorf("clean up after %s: %v %v", name, left, err)
		}
		cancel()
	}
}

// talk is what keepers and callers said on stderr, several at once.
type talk struct {
	mu   sync.Mutex // guards said
	said bytes.Buffer
}

func (l *talk) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *talk) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}
