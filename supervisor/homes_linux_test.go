package supervisor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// Two homes with servers of one name have nothing to do with each other, not
// even when the shim of one is killed and its server is looked for.
func TestTwoHomes(t *testing.T) {
	for _, mechanism := range []berth.TreeMechanism{berth.TreeAuto, berth.TreeSubreaper, berth.TreeProcessGroup} {
		t.Run("mechanism "+string(mechanism), func(t *testing.T) {
			one, other := newWorld(t), newWorld(t)
			spec := deaf()
			spec.TreeKill = mechanism
			kept := other.start("a", spec)
			st := one.start("a", spec)
			if st.PID == kept.PID || st.ShimPID == kept.ShimPID {
				t.Fatalf("one is %+v, the other %+v", st, kept)
			}
			one.kill(st.ShimPID)
			one.awaitShimEnd("a")
			st = one.start("a", spec)
			if err := one.m.Restart(one.ctx, "a", spec); err != nil {
				t.Fatal(err)
			}
			one.kill(one.status("a").ShimPID)
			one.awaitShimEnd("a")
			one.stop("a")
			one.hasNoProcess("a", "after the stop")
			if got := other.status("a"); got.PID != kept.PID || got.ShimPID != kept.ShimPID || got.Status != berth.Running {
				t.Errorf("the other was %+v, is %+v", kept, got)
			}
			other.unharmed(kept.PID)
			other.hasActions("a", "start")
		})
	}
}

// A home by another name is the same home.
func TestTwoWaysToOneHome(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	link := filepath.Join(shortDir(t), "link")
	if err := os.Symlink(w.dir, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(w.dir))
	for _, dir := range []string{link, link + "/../link/.", filepath.Base(w.dir)} {
		m, err := supervisor.Open(&supervisor.Options{Home: dir})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "its directory", m.Dir(), w.dir)
		if got, err := m.Status(w.ctx, "a"); err != nil || got.PID != st.PID {
			t.Errorf("%s: %+v, %v", dir, got, err)
		}
		if outcome, err := m.Start(w.ctx, "a", idle()); err != nil || outcome != berth.AlreadyRunning {
			t.Errorf("%s: %v, %v", dir, outcome, err)
		}
	}
}

// A home of somebody else is refused, whoever asks, and nothing is made in it.
func TestForeignHome(t *testing.T) {
	g := newGuest(t)
	g.call(request{Verb: "start", Name: "a", Spec: idle()})
	before := g.snapshot()
	for _, readOnly := range []bool{false, true} {
		_, err := supervisor.Open(&supervisor.Options{Home: g.dir, ReadOnly: readOnly})
		is(t, err, berth.ErrUnfitHome, g.dir, strconv.Itoa(g.uid))
		var hint *berth.Hinted
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint, "BERTH_HOME") {
			t.Errorf("the error %v has no hint", err)
		}
	}
	g.unchanged(before)

	// Root's own, which the guest cannot look into, and one that he can.
	for mode, kind := range map[os.FileMode]string{0o700: "permission", 0o755: "unfit home"} {
		dir := shortDir(t)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		theirs := *g
		theirs.dir = filepath.Join(dir, "home")
		if err := os.Mkdir(theirs.dir, mode); err != nil {
			t.Fatal(err)
		}
		a := theirs.call(request{Verb: "status", Name: "a"})
		if !a.is(kind) {
			t.Errorf("mode %v: %+v", mode, a)
		}
		if left, err := os.ReadDir(theirs.dir); err != nil || len(left) > 0 {
			t.Errorf("mode %v: there is %v, %v", mode, left, err)
		}
	}
}

// A home that cannot be written any more: what runs can be seen and stopped,
// and nothing is started.
func TestReadOnlyHome(t *testing.T) {
	g := newGuest(t)
	a := g.call(request{Verb: "start", Name: "a", Spec: idle()})
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	dirs := []string{"servers", "runtime", "locks", "run", "logs", "audit", "permissions", "."}
	chmod := func(mode os.FileMode) {
		for _, dir := range dirs {
			if err := os.Chmod(g.path(dir), mode); err != nil {
				t.Error(err)
			}
		}
	}
	chmod(0o500)
	defer chmod(0o700)
	if b := g.call(request{Verb: "start", Name: "b", Spec: idle()}); !b.is("permission") || !strings.Contains(b.Error, g.dir) {
		t.Errorf("start: %+v", b)
	}
	if b := g.call(request{Verb: "status", Name: "a"}); b.Status.PID != a.Status.PID || b.Error != "" {
		t.Errorf("status: %+v", b)
	}
	if b := g.call(request{Verb: "stop", Name: "a"}); b.Error != "" || b.Outcome != "stopped" || b.Status.Status != berth.Stopped {
		t.Errorf("stop: %+v", b)
	}
	if len(g.membersOf("a")) > 0 {
		t.Errorf("processes are left: %v", g.membersOf("a"))
	}
	// Its supervisor has something to write down, and does so once it can.
	chmod(0o700)
	g.awaitShimEnd("a")
	if st := g.readRef("a"); st.Status != "stopped" || st.PID != 0 {
		t.Errorf("state: %+v", st)
	}
}

// Where locks do not work a home is refused, with a hint. The system refuses
// them here to the process that asks, as some file systems do.
func TestHomeWithoutLocks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.EINVAL} {
		w := newWorld(t)
		a := w.callWithout(forbidden{Call: unix.SYS_FLOCK, Errno: errno}, request{Verb: "start", Name: "a", Spec: idle()})
		if !a.is("unfit home") || !strings.Contains(a.Error, "locks do not work in "+w.dir) || !strings.Contains(a.Hint, "BERTH_HOME") {
			t.Errorf("%v: %+v", errno, a)
		}
		if got := w.servers(); len(got) > 0 {
			t.Errorf("%v: there is %q", errno, got)
		}
	}
}

// Where a home cannot hold sockets they are elsewhere: in a directory that only
// this user can enter, and everybody finds them.
func TestHomeWithoutSockets(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("x", 40), "home")
	w := newWorldWith(t, supervisor.Options{Home: dir})
	// What is refused is known by its length: bind(2) is told that, and a filter
	// cannot see more.
	most := uint32(len(w.path("run")))
	spec := restarting(deaf(), 3)
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EOPNOTSUPP} {
		a := w.callWithout(forbidden{Call: unix.SYS_BIND, Errno: errno, Above: most}, request{Verb: "start", Name: "a", Spec: spec})
		if a.Error != "" {
			t.Fatalf("%v: %+v", errno, a)
		}
		st := w.status("a")
		equal(t, "pid", st.PID, a.Status.PID)
		socket := strings.TrimSuffix(w.read("run", "a.addr"), "\n")
		info, err := os.Stat(filepath.Dir(socket))
		if err != nil || strings.HasPrefix(socket, w.dir) || info.Mode().Perm() != 0o700 {
			t.Errorf("%v: the socket is %s, in a directory of mode %v, %v", errno, socket, info.Mode(), err)
		}
		w.kill(st.PID)
		w.awaitNext("a", st.Generation)
		w.stop("a")
		w.awaitShimEnd("a")
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the socket is left: %v", errno, err)
		}
	}
	// One that is started in a world with sockets is found at the usual place.
	w.start("a", spec)
	if got := w.read("run", "a.addr"); got != "" {
		t.Errorf("the address of an earlier socket is left: %q", got)
	}
}

// Where there are no sockets at all a start says so, and leaves nothing.
func TestNoSocketsAtAll(t *testing.T) {
	w := newWorld(t)
	a := w.callWithout(forbidden{Call: unix.SYS_BIND, Errno: syscall.EPERM}, request{Verb: "start", Name: "a", Spec: idle()})
	if !a.is("permission") || !strings.Contains(a.Error, "socket") {
		t.Errorf("start: %+v", a)
	}
	w.awaitShimEnd("a")
	w.hasNoProcess("a", "after a start that failed")
}

// forbidden is a system call that fails, from the length of an address on if
// Above is not 0.
type forbidden struct {
	Call  uint32
	Errno syscall.Errno
	Above uint32
}

// callWithout runs a caller for which, and for all that comes of it, a system
// call fails.
func (w *world) callWithout(f forbidden, r request) answer {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	r.Options.Home = w.dir
	cmd := caller(w.T, self, r)
	what, err := json.Marshal(f)
	if err != nil {
		w.Fatal(err)
	}
	cmd.Args = append([]string{self, rolePrefix + "without", string(what)}, cmd.Args[2:]...)
	return ask(w.T, cmd)
}

// systemRoles are those that only this system has.
func systemRoles() map[string]func([]string) error {
	return map[string]func([]string) error{"without": withoutRole, "guest": guestRole, "docker": dockerRole}
}

// withoutRole is callerRole without a system call.
func withoutRole(args []string) error {
	var f forbidden
	if err := json.Unmarshal([]byte(args[0]), &f); err != nil {
		return err
	}
	if err := f.apply(); err != nil {
		return fmt.Errorf("forbid system call %d: %w", f.Call, err)
	}
	return callerRole(args[1:])
}

// apply makes the call fail in all threads of this process, and in what they
// start (seccomp(2)).
func (f forbidden) apply() error {
	const number, third = 0, 16 + 2*8 // of struct seccomp_data, on a little-endian system
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: f.Call, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: third},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: f.Above, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(f.Errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}
