package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

const (
	nobody         = 65534
	nobodyVariable = "SANDBOX_TEST_NOBODY"
	dockerRole     = "sandbox-test-docker"
	// againTests are the tests that are run once more by the tests below.
	againTests = "^(TestHoles|TestHolesOfOlderKernels|TestProbe|TestProgramsThatMayBeExecuted|TestRuntimes|TestSelfTest|TestNotify|TestDockerHas)$"
)

// TestAsNobody runs the holes as a user without rights and with no way to get any.
func TestAsNobody(t *testing.T) {
	needRoot(t)
	rerun(t, os.Args[0], nobodyVariable, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// TestUnderDockersFilter runs the holes where no namespace can be made, as in a container:
// as root, and as a user without rights.
func TestUnderDockersFilter(t *testing.T) {
	needRoot(t)
	t.Run("root", func(t *testing.T) { rerun(t, dockerRole, dockerVariable, &syscall.SysProcAttr{}) })
	t.Run("nobody", func(t *testing.T) {
		rerun(t, dockerRole, dockerVariable, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
	})
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(dockerVariable) != "" {
		t.Skip("only root may do this")
	}
	if testing.Short() {
		t.Skip("it runs most tests once more")
	}
}

func rerun(t *testing.T, as, variable string, attr *syscall.SysProcAttr) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-again-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The test binary lies in a directory of root's alone.
	binary := filepath.Join(dir, "sandbox.test")
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(binary, text, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o777|os.ModeSticky)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run="+againTests, "-test.v", "-test.timeout=4m")
	cmd.Args[0] = as
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), variable+"=1", "TMPDIR="+dir, "HOME="+dir)
	if node := os.Getenv("BERTH_TEST_NODE24"); node != "" {
		// It may lie in the home of somebody who lets nobody in.
		own := filepath.Join(dir, "node24", "bin", "node")
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", node, own).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		cmd.Env = append(cmd.Env, "BERTH_TEST_NODE24="+own)
	}
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	passed := strings.Count(string(out), "--- PASS")
	if err != nil || passed < 7 {
		t.Errorf("%v, %d tests passed\n%s", err, passed, out)
	}
	t.Logf("%d tests passed", passed)
	if testing.Verbose() {
		for _, line := range lines(string(out)) {
			if strings.Contains(line, "open: [") {
				t.Log(line)
			}
		}
	}
}

// dockerMain puts a filter like that of a container on itself, in which namespaces cannot
// be made and clone3 is not there, and executes the tests. With root goes what a container
// takes of its capabilities.
func dockerMain(args []string) {
	runtime.LockOSThread()
	a, _ := architectureOf(runtime.GOARCH)
	program := []instruction{
		{opLoad, 0, 0, offsetArch}, {opEqual, 1, 0, a.audit}, ret(retAllow), {opLoad, 0, 0, offsetNumber},
	}
	for _, c := range []call{"unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr", "fsopen", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd"} {
		n, _ := a.number(c)
		program = append(program, instruction{opEqual, 0, 1, n}, ret(deny(errPerm)))
	}
	clone3, _ := a.number("clone3")
	clone, _ := a.number("clone")
	program = append(program,
		instruction{opEqual, 0, 1, clone3}, ret(deny(errNoSys)),
		instruction{opEqual, 0, 4, clone}, argument(0), instruction{opAnyBit, 0, 1, cloneNamespaces}, ret(deny(errPerm)), ret(retAllow),
		ret(retAllow))
	filters := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filters[i] = unix.SockFilter{Code: in.code, Jt: in.jt, Jf: in.jf, K: in.k}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	check("no_new_privs", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	if os.Geteuid() == 0 {
		check("capabilities", unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0))
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		check("capabilities", unix.Capget(&header, &data[0]))
		data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		data[0].Permitted &^= 1 << unix.CAP_SYS_ADMIN
		data[0].Inheritable &^= 1 << unix.CAP_SYS_ADMIN
		check("capabilities", unix.Capset(&header, &data[0]))
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		die("seccomp: %v", errno)
	}
	exe, err := os.Readlink("/proc/self/exe")
	check("exe", err)
	args[0] = exe
	check("exec", syscall.Exec(exe, args, os.Environ()))
}

// TestDockerHas: what must be found, and kept, where namespaces are denied.
func TestDockerHas(t *testing.T) {
	if os.Getenv(dockerVariable) == "" {
		t.Skip("part of TestUnderDockersFilter")
	}
	r := Probe("")
	if r.Namespaces != (Namespaces{}) || !r.Seccomp || !r.Notify || len(r.Missing) == 0 {
		t.Errorf("%+v", r)
	}
	if g := r.Guarantees[berth.GuaranteeEgress]; g.State != berth.Enforced {
		t.Errorf("egress: %+v", g)
	}
	if missing := Missing(berth.ProfileStandard, r.Guarantees); len(missing) > 0 {
		t.Errorf("standard misses %v: %+v", missing, r.Guarantees)
	}
	if missing := Missing(berth.ProfileStrict, r.Guarantees); len(missing) == 0 {
		t.Error("strict is content with partial guarantees")
	}
	fmt.Println(r.Missing)
}
