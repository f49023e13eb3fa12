package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// testHooks are those of the test binary. What they are to do is the message that
// each gets: "ok" says what it sees, "fail TEXT" fails with it, "pass" sends a
// descriptor, "die" ends the process.
var testHooks = Hooks{
	Init:  func(channel int) error { return testHook("init", channel) },
	Stage: func(channel int) error { return testHook("stage", channel) },
}

func testHook(role string, channel int) error {
	var buf [256]byte
	n, err := unix.Read(channel, buf[:])
	if err != nil {
		return err
	}
	order, text, _ := strings.Cut(string(buf[:n]), " ")
	switch order {
	case "fail":
		return fmt.Errorf("%s: %w", text, fs.ErrPermission)
	case "errno":
		return fmt.Errorf("%s: %w", text, syscall.EACCES)
	case "die":
		os.Exit(3)
	case "pass":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendmsg(channel, []byte(role), unix.UnixRights(fd), nil, 0)
	}
	var capabilities [2]unix.CapUserData
	_ = unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &capabilities[0])
	dir, _ := os.Getwd()
	said := fmt.Sprintf("%s pid=%d main=%v cap=%x dir=%s", role, os.Getpid(), unix.Gettid() == os.Getpid(), capabilities[0].Effective, dir)
	return unix.Sendmsg(channel, []byte(said), nil, nil, 0)
}

// ordersFor are those for each role that a mechanism has, the last one for the
// stage. What nobody reads would be an error at the end of the channel.
func ordersFor(m berth.TreeMechanism, last string) []string {
	if m == berth.TreePIDNamespace {
		return []string{"ok", last}
	}
	return []string{last}
}

// channel is the test's end of the socket of the hooks.
type channel struct {
	t  testing.TB
	fd int
}

// confined gives each role an order.
func confined(t testing.TB, orders ...string) (*channel, options) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := &channel{t, pair[0]}
	_ = unix.SetsockoptTimeval(ours.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(deadline / time.Second)})
	t.Cleanup(func() { unix.Close(ours.fd) })
	for _, order := range orders {
		if err := unix.Sendmsg(ours.fd, []byte(order), nil, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	theirs := os.NewFile(uintptr(pair[1]), "channel")
	return ours, func(s *Spec) {
		s.Confine = &Confine{Channel: theirs}
		// Start has returned before the cleanup of what the caller gave it.
		t.Cleanup(func() { theirs.Close() })
	}
}

// hear returns the next message and what came with it.
func (c *channel) hear() (string, []int) {
	c.t.Helper()
	var buf, oob [256]byte
	n, oobn, _, _, err := unix.Recvmsg(c.fd, buf[:], oob[:], unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		c.t.Fatalf("the channel: %v", err)
	}
	var fds []int
	if scms, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(scms) == 1 {
		fds, _ = unix.ParseUnixRights(&scms[0])
	}
	return string(buf[:n]), fds
}

// mustEnd: nobody else has the other end any more.
func (c *channel) mustEnd(s *Spec) {
	c.t.Helper()
	s.Confine.Channel.Close()
	if said, _ := c.hear(); said != "" {
		c.t.Errorf("the channel said %q, want its end", said)
	}
}

// keepSpec remembers the spec of a rig.
func keepSpec(to *Spec) options { return func(s *Spec) { *to = *s } }

// listFiles is a server that says which descriptors it has.
var listFiles = shell(`for f in /proc/self/fd/*; do echo -n "${f##*/}=$(readlink $f) "; done 2>/dev/null; echo; read x`)

// TestHooksAreCalledInOrder: the init's first, with its rights, as process 1 and on its
// main thread, then the stage's on a thread that the server comes from, both before
// the server runs; and the channel is at its end when it does.
func TestHooksAreCalledInOrder(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		ch, confine := confined(t, ordersFor(m, "ok")...)
		var s Spec
		r := startRig(t, withMechanism(m), shell("echo up $$; read x"), confine, keepSpec(&s))
		if m == berth.TreePIDNamespace {
			said, _ := ch.hear()
			var pid int
			var main bool
			var caps uint32
			if _, err := fmt.Sscanf(said, "init pid=%d main=%t cap=%x dir=/", &pid, &main, &caps); err != nil {
				t.Fatalf("the init said %q: %v", said, err)
			}
			mustBe(t, "pid of the init", pid, 1)
			mustBe(t, "on the main thread", main, true)
			for _, c := range append([]uintptr{unix.CAP_SYS_ADMIN}, hookCapabilities...) {
				if caps&(1<<c) == 0 {
					t.Errorf("the init has not capability %d: %x", c, caps)
				}
			}
		}
		said, _ := ch.hear()
		// In a namespace it is a thread of the init, and never the one that stays.
		namespace := m == berth.TreePIDNamespace
		if !strings.HasPrefix(said, "stage ") || !strings.Contains(said, fmt.Sprintf("main=%t", !namespace)) {
			t.Errorf("the stage said %q", said)
		}
		if os.Geteuid() != 0 && !strings.Contains(said, "cap=0 ") {
			t.Errorf("the stage has capabilities: %q", said)
		}
		_, after, _ := strings.Cut(said, "pid=")
		pid, _, _ := strings.Cut(after, " ")
		switch line := r.line(); {
		case namespace && (pid != "1" || line == "up 1"):
			t.Errorf("the stage is process %s, and the server is %q", pid, line)
		case !namespace:
			mustBe(t, "the server", line, "up "+pid) // executed by the stage itself
		}
		ch.mustEnd(&s)
		r.mustKill()
	})
}

// TestHookFails: the caller of Start hears the hook's own words, and nothing was
// executed.
func TestHookFails(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		stage := func(order string) []string { return ordersFor(m, order) }
		long := strings.Repeat("x", 200)
		cases := []struct {
			name   string
			orders []string
			says   string
			kind   error
		}{
			{"stage", stage("fail it reads /etc/shadow"), "it could not be confined: it reads /etc/shadow: permission denied", ErrUnconfined},
			{"errno", stage("errno landlock"), "landlock: permission denied", fs.ErrPermission},
			{"long", stage("fail " + long), long, ErrUnconfined},
			{"dies", stage("die"), "ended before it executed the program", nil},
		}
		if m == berth.TreePIDNamespace {
			cases[len(cases)-1].says = "did not answer" // it is the init
		}
		if m == berth.TreePIDNamespace {
			cases = append(cases, []struct {
				name   string
				orders []string
				says   string
				kind   error
			}{
				{"init", []string{"fail no route"}, "it could not be confined: no route: permission denied", ErrUnconfined},
				{"init dies", []string{"die"}, "did not answer", nil},
			}...)
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				checkLeaks(t)
				ran := filepath.Join(t.TempDir(), "ran")
				ch, confine := confined(t, c.orders...)
				var s Spec
				_, err := tryRig(t, withMechanism(m), shell("echo > "+ran), confine, keepSpec(&s))
				if err == nil {
					t.Fatal("it started")
				}
				if !strings.Contains(err.Error(), c.says) || c.kind != nil && !errors.Is(err, c.kind) {
					t.Errorf("error %q is not %v or does not say %q", err, c.kind, c.says)
				}
				for range len(c.orders) - 1 {
					ch.hear()
				}
				ch.mustEnd(&s)
				if _, err := os.Stat(ran); err == nil {
					t.Error("it was executed all the same")
				}
			})
		}
	})
}

// TestConfinedHasNoMore: the server has its streams and the tree lock, whatever the
// roles had: no channel, no report, no cgroup.
func TestConfinedHasNoMore(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		_, confine := confined(t, "ok", "ok")
		r := startRig(t, withMechanism(m), listFiles, confine, func(s *Spec) { s.MaxMemoryBytes = 256 << 20 })
		for _, f := range strings.Fields(r.line()) {
			number, target, _ := strings.Cut(f, "=")
			fd, _ := strconv.Atoi(number)
			if fd > 3 && !strings.HasPrefix(target, "/proc/") && target != "" || fd == 3 && target != r.lock {
				t.Errorf("the server has %s", f)
			}
		}
		r.mustKill()
	})
}

// TestHookPassesDescriptors: what a hook sends arrives, and its network is the one
// that was asked for.
func TestHookPassesDescriptors(t *testing.T) {
	needMechanism(t, berth.TreePIDNamespace)
	checkLeaks(t)
	ch, confine := confined(t, "pass", "pass")
	r := startRig(t, withMechanism(berth.TreePIDNamespace), confine,
		func(s *Spec) { s.Confine.Network, s.Confine.IPC, s.Confine.Hostname = true, true, true },
		shell("for n in net ipc uts; do readlink /proc/self/ns/$n; done; cat /proc/net/dev | wc -l; read x"))
	for _, ns := range []string{"net", "ipc", "uts"} {
		mine, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if theirs := r.line(); theirs == mine || !strings.HasPrefix(theirs, ns+":[") {
			t.Errorf("namespace of the server %q, mine %q", theirs, mine)
		}
	}
	if n := strings.TrimSpace(r.line()); n != "3" { // two lines of heading, and lo
		t.Errorf("%s lines of devices", n)
	}
	for _, role := range []string{"init", "stage"} {
		said, fds := ch.hear()
		if said != role || len(fds) != 1 {
			t.Fatalf("%s sent %q and %v", role, said, fds)
		}
		// A socket keeps its network: in that one, nothing can be reached.
		err := unix.Connect(fds[0], &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 1}})
		if err != unix.ENETUNREACH {
			t.Errorf("connect in the network of the %s: %v", role, err)
		}
		unix.Close(fds[0])
	}
	r.mustKill()
}

// TestInitIsClosedToTheServer: a server of the same user finds nothing in the /proc
// of its init that it could use.
func TestInitIsClosedToTheServer(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may look into everyone: see TestAsNobody")
	}
	needMechanism(t, berth.TreePIDNamespace)
	checkLeaks(t)
	_, confine := confined(t, "ok", "ok")
	r := startRig(t, withMechanism(berth.TreePIDNamespace), confine,
		shell("cat /proc/1/environ >/dev/null 2>&1 && echo read; ls /proc/1/fd >/dev/null 2>&1 && echo listed; (echo > /proc/1/mem) 2>/dev/null && echo written; echo end; read x"))
	mustBe(t, "the server", r.line(), "end")
	r.mustKill()
}

// TestConfinedLimits: limits hold for a confined server as for any other, also
// where the hook leaves no right to raise them.
func TestConfinedLimits(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		_, confine := confined(t, "ok", "ok")
		r := startRig(t, withMechanism(m), confine, shell("ulimit -n; ulimit -Hn; read x"), func(s *Spec) {
			s.MaxFileDescriptors, s.MaxMemoryBytes = 77, 256<<20
		})
		mustBe(t, "soft", r.line(), "77")
		mustBe(t, "hard", r.line(), "77")
		if os.Geteuid() == 0 {
			if _, mem := r.Guarantee(); mem.State != berth.Enforced {
				t.Errorf("memory: %+v", mem)
			}
			if n, err := r.Memory(); n == 0 || err != nil {
				t.Errorf("memory of the tree: %d, %v", n, err)
			}
		}
		r.mustKill()
	})
}

// TestWithoutHooks: a binary that has none refuses, rather than to start what was
// to be confined.
func TestWithoutHooks(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		_, confine := confined(t, "ok", "ok")
		_, err := tryRig(t, withMechanism(m), confine, shell("echo up"), func(s *Spec) {
			s.Env = append(s.Env, withoutHooksVariable+"=1")
		})
		if !errors.Is(err, ErrUnconfined) || !strings.Contains(err.Error(), errNoHook.Error()) {
			t.Errorf("error %v", err)
		}
	})
	if _, err := tryRig(t, shell("echo up"), func(s *Spec) { s.Confine = &Confine{} }); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no channel: %v", err)
	}
}

// withoutHooksVariable tells the roles of the test binary that it has no hooks.
const withoutHooksVariable = "PROC_TEST_WITHOUT_HOOKS"

// noNamespacesVariable tells the test binary that it is the run of
// TestHooksWithoutNamespaces.
const noNamespacesVariable = "PROC_TEST_NO_NAMESPACES"

// TestHooksWithoutNamespaces: where clone makes none, as in Docker, a start in one
// fails with words, and the stage's hook is called in a tree of another kind.
func TestHooksWithoutNamespaces(t *testing.T) {
	if os.Getenv(noNamespacesVariable) == "" {
		inDocker(t, "^(TestHooksWithoutNamespaces|TestHooksAreCalledInOrder|TestHookFails|TestConfinedHasNoMore|TestConfinedLimits)$")
		return
	}
	// No checkLeaks yet: where clone(2) fails, package syscall loses the pipe by
	// which it maps users. A Prober tries that once.
	_, confine := confined(t, "ok", "ok")
	_, err := tryRig(t, withMechanism(berth.TreePIDNamespace), confine, shell("echo up"))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "make a PID namespace") {
		t.Errorf("a PID namespace: %v", err)
	}
	checkLeaks(t)
	ch, confine := confined(t, "ok")
	r := startRig(t, withMechanism(berth.TreeSubreaper), confine, shell("echo up; read x"))
	if said, _ := ch.hear(); !strings.HasPrefix(said, "stage ") {
		t.Errorf("the stage said %q", said)
	}
	mustBe(t, "the server", r.line(), "up")
	r.mustKill()
}

// inDocker runs tests of this package as a user without rights for whom clone and
// unshare make no namespaces.
func inDocker(t *testing.T, tests string) {
	t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "proc-docker-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	cmd := exec.Command("/proc/self/exe", tests)
	cmd.Args = []string{rolePrefix + "docker", tests}
	cmd.Env = append(os.Environ(), noNamespacesVariable+"=1", "TMPDIR="+tmp, "HOME="+tmp)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		if err := os.Chown(tmp, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || strings.Count(out.String(), "--- PASS") < 10 {
		t.Errorf("%v\n%s", err, &out)
	}
}

// dockerRole puts Docker's rule on itself and becomes the test binary again.
func dockerRole(args []string) {
	const unshared = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(verdict uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
	}
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	filter := []unix.SockFilter{
		load(0), // the number of the call
		equal(unix.SYS_CLONE3, 4, 0),
		equal(unix.SYS_CLONE, 0, 4),
		load(16), // its first argument, the lower half
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unshared, Jt: 0, Jf: 2},
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		die("%v", err)
	}
	if err := seccomp(filter); err != nil {
		die("%v", err)
	}
	die("exec: %v", syscall.Exec("/proc/self/exe", []string{"proc.test", "-test.v", "-test.timeout=4m", "-test.run=" + args[0]}, os.Environ()))
}

// seccomp puts a filter on every thread of this process.
func seccomp(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
