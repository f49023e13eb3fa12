package proc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// deadline is how long a test waits for what must happen.
const deadline = 60 * time.Second

// deadlineContext is shorter than the test binary's own time-out.
func deadlineContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// rig is a tree under test, with the test's ends of its streams.
type rig struct {
	*Tree
	t      testing.TB
	stdin  *os.File
	stdout *bufio.Reader
	out    *os.File
	key    string
	lock   string
}

// options change the spec of a rig.
type options func(*Spec)

func withMechanism(m berth.TreeMechanism) options { return func(s *Spec) { s.Mechanism = m } }

// shell is a command that runs a script.
func shell(script string) options {
	return func(s *Spec) { s.Path, s.Argv = "/bin/sh", []string{"sh", "-c", script} }
}

// role is a command that plays one of roles.
func role(name string, args ...string) options {
	return func(s *Spec) {
		s.Path, s.Argv = "/proc/self/exe", append([]string{rolePrefix + name}, args...)
	}
}

// tryRig starts a tree; its streams are pipes and its lock is a fresh file.
func tryRig(t testing.TB, opts ...options) (*rig, error) {
	t.Helper()
	inR, inW := mustPipe(t)
	outR, outW := mustPipe(t)
	lock := filepath.Join(t.TempDir(), "server.tree")
	lockFile, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	key := randomHex()
	s := Spec{
		Stdin: inR, Stdout: outW, Stderr: os.Stderr, TreeLock: lockFile,
		Env: os.Environ(), Key: key, Incarnation: NewIncarnation(key),
		Mechanism: berth.TreeProcessGroup,
	}
	for _, o := range opts {
		o(&s)
	}
	tree, err := Start(s)
	inR.Close()
	outW.Close()
	lockFile.Close()
	if err != nil {
		inW.Close()
		outR.Close()
		mustHaveNoCgroup(t, s.Key)
		return nil, err
	}
	r := &rig{Tree: tree, t: t, key: s.Key, stdin: inW, out: outR, stdout: bufio.NewReader(outR), lock: lock}
	t.Cleanup(r.end)
	return r, nil
}

func startRig(t testing.TB, opts ...options) *rig {
	t.Helper()
	r, err := tryRig(t, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// end ends whatever the test left.
func (r *rig) end() {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if survivors, err := r.Kill(ctx); err != nil || len(survivors) > 0 {
		r.t.Errorf("cleanup: survivors %v, error %v", survivors, err)
	} else if err := r.Close(); err != nil {
		r.t.Errorf("cleanup: %v", err)
	} else {
		mustHaveNoCgroup(r.t, r.key)
	}
	r.stdin.Close()
	r.out.Close()
}

// line reads one line of the server.
func (r *rig) line() string {
	r.t.Helper()
	r.out.SetReadDeadline(time.Now().Add(deadline))
	line, err := r.stdout.ReadString('\n')
	if err != nil {
		r.t.Fatalf("the server said %q, then %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// awaitUp reads "up" from each of n processes.
func (r *rig) awaitUp(n int) {
	r.t.Helper()
	for i := range n {
		if line := r.line(); line != "up" {
			r.t.Fatalf("process %d of %d said %q", i+1, n, line)
		}
	}
}

// mustBeDeserted waits for the end of the server's stdout: it comes when no
// process of the tree is left, whatever Berth believes, for all of them hold it.
func (r *rig) mustBeDeserted() {
	r.t.Helper()
	r.out.SetReadDeadline(time.Now().Add(deadline))
	if _, err := io.Copy(io.Discard, r.stdout); err != nil {
		r.t.Errorf("somebody still holds the server's stdout: %v", err)
	}
}

// mustKill kills the tree and checks by every means that nothing is left.
func (r *rig) mustKill() {
	r.t.Helper()
	ctx := deadlineContext(r.t)
	survivors, err := r.Kill(ctx)
	if err != nil || len(survivors) > 0 {
		r.t.Fatalf("Kill: survivors %v, error %v", survivors, err)
	}
	select {
	case <-r.Exited():
	default:
		r.t.Error("killed, but Exited is open")
	}
	r.mustBeDeserted()
	if empty, err := r.Empty(); !empty || err != nil {
		r.t.Errorf("Empty after Kill: %v, %v", empty, err)
	}
	if members, err := r.Members(); len(members) > 0 || err != nil {
		r.t.Errorf("Members after Kill: %v, %v", members, err)
	}
	if survivors, err := r.Kill(ctx); err != nil || len(survivors) > 0 {
		r.t.Errorf("second Kill: survivors %v, error %v", survivors, err)
	}
	if err := r.Terminate(); err != nil {
		r.t.Errorf("Terminate after Kill: %v", err)
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
}

func (r *rig) awaitExit() berth.Exit {
	r.t.Helper()
	select {
	case <-r.Exited():
	case <-deadlineContext(r.t).Done():
		r.t.Fatal("no exit")
	}
	return r.Exit()
}

func mustPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// checkLeaks fails the test if it leaves a descriptor, a goroutine or a child;
// rigs look after their cgroups. Call it first, so that its check comes last.
func checkLeaks(t testing.TB) {
	t.Helper()
	files, routines := openFiles(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		if now := openFiles(t); len(now) > len(files) {
			t.Errorf("descriptors leaked: before %v, after %v", files, now)
		}
		if _, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT); err != unix.ECHILD {
			t.Errorf("a child is left (%v)", err)
		}
		// A goroutine may be returning just now.
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if runtime.NumGoroutine() <= routines {
				return
			}
			runtime.Gosched()
		}
		buf := make([]byte, 1<<16)
		t.Errorf("goroutines leaked: before %d, after %d\n%s", routines, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
	})
}

func openFiles(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // the one that reads the directory
		}
		// The poller is opened once, when it is first needed.
		if strings.Contains(target, "eventpoll") || strings.Contains(target, "eventfd") {
			continue
		}
		list = append(list, e.Name()+"="+target)
	}
	return list
}

// mustHaveNoCgroup checks that the server of a key left no cgroup. Those of
// other keys may be of other tests on this machine.
func mustHaveNoCgroup(t testing.TB, key string) {
	t.Helper()
	at, err := ownPlaces()
	if err != nil {
		t.Fatal(err)
	}
	if left := cgroupsOf(at, key); len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
}

// eachMechanism runs a test for each mechanism that works for this user.
func eachMechanism(t *testing.T, test func(t *testing.T, m berth.TreeMechanism)) {
	t.Helper()
	for _, m := range mechanisms() {
		t.Run(string(m), func(t *testing.T) {
			needMechanism(t, m)
			test(t, m)
		})
	}
}

// needMechanism skips the test where the system does not give the mechanism to
// this user. Root on a test machine has all of them.
func needMechanism(t testing.TB, m berth.TreeMechanism) {
	t.Helper()
	var p Prober
	if r := p.try(m); !r.Works {
		t.Skipf("%s does not work here: %v", m, r.Err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may do this")
	}
}

// strings of a failed expectation.
func mustBe[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
