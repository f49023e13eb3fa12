package proc

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// nobody is a user without rights.
const nobody = 65534

// nobodyVariable tells the test binary that it is the run of TestAsNobody, and
// which mechanisms must work there.
const nobodyVariable = "PROC_TEST_NOBODY"

// TestAsNobody runs the tests of this package as a user without rights: once in
// a cgroup of his own, as systemd delegates one, and once without.
func TestAsNobody(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("it runs most tests twice more")
	}
	if os.Getenv(nobodyVariable) != "" {
		t.Skip("this is the run")
	}
	at, err := ownPlaces()
	if err != nil {
		t.Fatal(err)
	}
	const every = "^(TestKillEndsTheWholeTree|TestTerminateReachesAll|TestForkBomb|TestStartErrors|TestChild|TestExit" +
		"|TestLimitTooHigh|TestMemoryLimit|TestSweepAfterTheSupervisorWasKilled|TestSweepSparesTheSweeper|TestHandover" +
		"|TestUnmarkable|TestNobodyHas|TestHook.*|TestConfined.*|TestInitIsClosedToTheServer|TestProcessesAreLimited|TestLimitsTogether|TestWithoutHooks)$"
	t.Run("delegated", func(t *testing.T) {
		if len(at.unified) == 0 {
			t.Skip("no cgroup of version 2")
		}
		// Not of a server's name, below which no other is made.
		dir := cgroup(filepath.Join(at.unified[0], "proc-test-"+randomHex()))
		if err := os.Mkdir(string(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := dir.remove(); err != nil {
				t.Error(err)
			}
		})
		for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
			if err := os.Chown(dir.file(name), nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Open(string(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		runAsNobody(t, every, "cgroup pidns subreaper pgroup", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())})
	})
	t.Run("plain", func(t *testing.T) {
		runAsNobody(t, every, "pidns subreaper pgroup", &syscall.SysProcAttr{})
	})
}

func runAsNobody(t *testing.T, tests, mechanisms string, attr *syscall.SysProcAttr) {
	t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "proc-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	cmd := exec.Command("/proc/self/exe", "-test.run="+tests, "-test.v", "-test.timeout=8m")
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), nobodyVariable+"="+mechanisms, "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = attr
	r, w := mustPipe(t)
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "--- PASS"):
			passed++
		case strings.HasPrefix(line, "=== "):
		default:
			t.Log(line)
		}
	}
	r.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if passed < 50 {
		t.Errorf("only %d tests passed", passed)
	}
}

// TestNobodyHas: the mechanisms that a user without rights must have.
func TestNobodyHas(t *testing.T) {
	list := os.Getenv(nobodyVariable)
	if list == "" {
		t.Skip("part of TestAsNobody")
	}
	want := strings.Fields(list)
	for _, m := range mechanisms() {
		var p Prober
		r := p.try(m)
		expected := strings.Contains(list, string(m))
		if m == berth.TreePIDNamespace && expected && !r.Works && !userNamespaces() {
			t.Logf("%s: this system gives no user namespaces: %v", m, r.Err)
			continue
		}
		if r.Works != expected {
			t.Errorf("%s: works %v (%v), want %v", m, r.Works, r.Err, expected)
		}
	}
	var p Prober
	if chosen, reports := p.Choose(); chosen != berth.TreeMechanism(want[0]) {
		t.Errorf("chose %q of %+v, want %s", chosen, reports, want[0])
	}
}

// userNamespaces says whether a user may make one at all.
func userNamespaces() bool {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID}
	return cmd.Run() == nil
}

// TestUnmarkable: a process of another user is an error that names it, not a
// success.
func TestUnmarkable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may signal everyone: see TestAsNobody")
	}
	first, err := Describe(1)
	if err != nil || first.UID == os.Geteuid() {
		t.Skipf("process 1 is not root's (%v): see TestAsNobody", err)
	}
	id := first.ID
	p, err := Pin(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.Signal(syscall.SIGWINCH) // harmless, should it arrive
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("signal to root's process: %v", err)
	}
	if alive, err := id.Alive(); !alive || err != nil {
		t.Errorf("Alive: %v, %v", alive, err)
	}
}
