package supervisor_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// guestRole is a confined server: it does what its arguments say, tells of each on
// stderr, and stays until its stdin ends.
//
//	read PATH, write PATH   the file
//	dial HOST:PORT          hears a line
//	echo HOST:PORT          answers each line with itself, in the background
//	kill shim               the process that a line of stdin names
//	fill DIR                with more than a server is to have
func guestRole(args []string) error {
	for i := 0; i+1 < len(args); i += 2 {
		did, err := guestDoes(args[i], args[i+1])
		if err != nil {
			did = "refused"
		}
		fmt.Fprintf(os.Stderr, "%s %s: %s (%v)\n", args[i], args[i+1], did, err)
	}
	fmt.Fprintln(os.Stderr, "all done")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func guestDoes(verb, what string) (string, error) {
	switch verb {
	case "read":
		data, err := os.ReadFile(what)
		return strings.TrimSpace(string(data)), err
	case "write":
		return "written", os.WriteFile(what, []byte("x"), 0o600)
	case "kill":
		return killWhom()
	case "fill":
		return fill(what)
	}
	conn, err := net.DialTimeout("tcp", what, patience/4)
	if err != nil {
		return "", err
	}
	if verb == "dial" {
		defer conn.Close()
		line, err := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(line), err
	}
	go io.Copy(conn, conn)
	return "connected", nil
}

// outside is a listener of the host's, which says a word to each that connects and
// then passes them on.
type outside struct {
	t     *testing.T
	port  string
	conns chan net.Conn
}

func newOutside(t *testing.T, word string) *outside {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	o := &outside{t, port, make(chan net.Conn, 16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if word != "" {
				fmt.Fprintln(c, word)
			}
			o.conns <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		close(o.conns)
		for c := range o.conns {
			c.Close()
		}
	})
	return o
}

// confinedGuest may reach one port of localhost and read one file.
func confinedGuest(t *testing.T, allow []string, does ...string) berth.ProcessSpec {
	t.Helper()
	s := asRole(t, "guest", does...)
	s.Grace = berth.Duration(patience)
	s.Confine = &berth.Confinement{Profile: berth.ProfileStandard, Allow: allow}
	return s
}

// vector is a server's guarantees: all of them.
func (w *world) vector(st berth.Status) map[string]berth.Guarantee {
	w.Helper()
	for _, name := range []string{
		berth.GuaranteeFSRead, berth.GuaranteeFSWrite, berth.GuaranteeEgress, berth.GuaranteeUnixSockets, berth.GuaranteeSignals,
		berth.GuaranteeProc, berth.GuaranteeDevices, berth.GuaranteePrivileges, berth.GuaranteeMemory, berth.GuaranteeTreeKill,
	} {
		g, ok := st.Guarantees[name]
		if !ok || g.State == "" || g.State != berth.None && g.How == "" || g.State != berth.Enforced && g.Gap == "" {
			w.Errorf("guarantee %s: %+v (%v)", name, g, ok)
		}
	}
	return st.Guarantees
}

// TestConfinedLife: a confined server does what it may and nothing else, from its
// start by a restart, an automatic one and the death of its shim to its end.
func TestConfinedLife(t *testing.T) {
	w := newWorld(t)
	allowed, forbidden := newOutside(t, "welcome"), newOutside(t, "never")
	files := shortDir(t)
	for _, name := range []string{"mine", "other"} {
		if err := os.WriteFile(filepath.Join(files, name), []byte("content of "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mine, other := filepath.Join(files, "mine"), filepath.Join(files, "other")
	spec := confinedGuest(t, []string{"network:localhost:" + allowed.port, "filesystem:read:" + mine},
		"read", mine, "read", other, "write", mine, "read", w.path("audit", "audit.jsonl"),
		"dial", "localhost:"+allowed.port, "dial", "localhost:"+forbidden.port, "dial", "127.0.0.1:"+forbidden.port,
		"dial", "203.0.113.7:443", "dial", "secrets.example.com:443")
	spec = restarting(spec, 5)
	begin := time.Now()
	st := w.start("a", spec)
	t.Logf("started in %v", time.Since(begin))
	check := func(when string) {
		t.Helper()
		w.awaitLog("a", "all done")
		log := w.read("logs", "a.log")
		for _, line := range []string{
			"read " + mine + ": content of mine", "dial localhost:" + allowed.port + ": welcome",
			"read " + other + ": refused", "write " + mine + ": refused", "audit.jsonl: refused",
			"dial localhost:" + forbidden.port + ": refused", "dial 127.0.0.1:" + forbidden.port + ": refused",
			"dial 203.0.113.7:443: refused", "dial secrets.example.com:443: refused",
		} {
			if !strings.Contains(log, line) {
				t.Errorf("%s the log has no %q:\n%s", when, line, log)
			}
		}
		if strings.Contains(log, "never") || strings.Contains(log, "content of other") {
			t.Errorf("%s something got through:\n%s", when, log)
		}
	}
	check("after the start")
	first := w.vector(st)
	t.Logf("%+v", first)
	select {
	case <-forbidden.conns:
		t.Error("it reached the port that it may not")
	default:
	}
	w.awaitLog("a", "NETWORK_DENIED 203.0.113.7:443")
	w.awaitLog("a", "NETWORK_DENIED secrets.example.com:443")
	for _, to := range []string{"203.0.113.7:443", "secrets.example.com:443"} {
		if denied := w.status("a").Denied; !slices.ContainsFunc(denied, func(d berth.Denial) bool {
			return d.What == to && d.Grant == "network:"+to && d.Times > 0 && !d.At.Before(begin.Add(-time.Second))
		}) {
			t.Errorf("the status does not say that %s was refused: %+v", to, denied)
		}
	}
	if r := w.last("a", berth.ActionGuarantees); !strings.Contains(r.Detail, ", not none: ") || !strings.Contains(r.Detail, berth.GuaranteeFSRead) {
		t.Errorf("record of the guarantees: %q", r.Detail)
	}

	w.write("", "logs", "a.log")
	w.kill(st.PID)
	next := w.awaitNext("a", st.Generation)
	check("after a restart")
	for name, g := range w.vector(next) {
		equal(t, name, g, first[name])
	}

	w.write("", "logs", "a.log")
	w.kill(next.ShimPID)
	w.awaitShimEnd("a")
	end(t, next.PID) // it is ending, with its init
	healed := w.reconcile("a", &spec)
	if healed.Status != berth.Running || healed.ShimPID == next.ShimPID {
		t.Fatalf("after the death of the shim: %+v", healed)
	}
	check("after the death of the shim")
	w.vector(healed)
	recorded := 0
	for _, r := range w.records("a") {
		if r.Action == berth.ActionNetworkDenied && strings.Contains(r.Detail, "203.0.113.7:443") && r.PID != 0 {
			recorded++
		}
	}
	if recorded == 0 {
		t.Errorf("no record of what was refused: %q", w.actions("a"))
	}
	w.stop("a")
}

// TestConfinedUpgrade: a connection of a confined server goes on while its shim is
// replaced, and so does what it may.
func TestConfinedUpgrade(t *testing.T) {
	w := newWorld(t)
	o := newOutside(t, "")
	spec := confinedGuest(t, []string{"network:localhost:" + o.port}, "echo", "localhost:"+o.port)
	st := w.start("a", spec)
	w.awaitLog("a", "all done")
	conn := <-o.conns
	defer conn.Close()
	talk := bufio.NewReader(conn)
	say := func(when string) {
		t.Helper()
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(conn, when); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if line, err := talk.ReadString('\n'); err != nil || line != when+"\n" {
			t.Fatalf("%s: heard %q, %v", when, line, err)
		}
	}
	say("before")
	for i := range 3 {
		// It is refused while the record of the one before is being written.
		err := w.m.Upgrade(w.ctx, "a", "")
		for end := time.Now().Add(patience); err != nil && strings.Contains(err.Error(), "try again") && time.Now().Before(end); {
			err = w.m.Upgrade(w.ctx, "a", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		now := w.status("a")
		if now.PID != st.PID || now.ShimPID != st.ShimPID || now.Status != berth.Running {
			t.Fatalf("after upgrade %d: %+v", i, now)
		}
		for name, g := range w.vector(now) {
			equal(t, name, g, st.Guarantees[name])
		}
		say(fmt.Sprint("after ", i))
	}
	w.stop("a")
}

// TestConfinedRefused: where what is required cannot be given, nothing is started and
// the error says what is missing; where it is only preferred, the status does.
func TestConfinedRefused(t *testing.T) {
	w := newWorld(t)
	ran := filepath.Join(shortDir(t), "ran")
	spec := confinedGuest(t, []string{"filesystem:write:" + filepath.Dir(ran)}, "write", ran)
	spec.Confine.Profile = berth.ProfileStrict
	spec.TreeKill = berth.TreeProcessGroup // without namespaces and the end of all for certain
	_, err := w.m.Start(w.ctx, "a", spec)
	is(t, err, berth.ErrUnenforced, "fs-read is partial", "proc is partial", `"a"`)
	var hint *berth.Hinted
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint, "berth.require=prefer") {
		t.Errorf("the error %v has no hint", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("it ran")
	}
	w.awaitShimEnd("a")

	spec.Confine.Require = berth.RequirePrefer
	st := w.start("a", spec)
	w.awaitLog("a", "write "+ran+": written")
	equal(t, "tree-kill", w.vector(st)[berth.GuaranteeTreeKill].State, berth.Partial)
	w.stop("a")
}

// TestLearnWithoutNamespaces: where each connect is put before the supervisor, what the
// server tries with files is seen by the same listener, and still not allowed.
func TestLearnWithoutNamespaces(t *testing.T) {
	w := newWorld(t)
	o := newOutside(t, "hello")
	dir := shortDir(t)
	letter, note := filepath.Join(dir, "letter"), filepath.Join(dir, "note")
	if err := os.WriteFile(letter, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := confinedGuest(t, []string{"network:localhost:" + o.port},
		"read", letter, "write", note, "dial", "localhost:"+o.port, "dial", "127.0.0.1:9")
	spec.Confine.Learn = true
	spec.TreeKill = berth.TreeProcessGroup
	w.start("a", spec)
	for _, line := range []string{"read " + letter + ": refused", "write " + note + ": refused", "dial localhost:" + o.port + ": hello", "dial 127.0.0.1:9: refused", "all done"} {
		w.awaitLog("a", line)
	}
	st, err := w.m.Status(w.ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, grant := range []string{"filesystem:read:" + letter, "filesystem:write:" + dir, "network:127.0.0.1:9"} {
		if !slices.ContainsFunc(st.Denied, func(d berth.Denial) bool { return d.Grant == grant }) {
			t.Errorf("%s was not learned: %+v", grant, st.Denied)
		}
	}
	w.stop("a")
}

// TestConfinedNonsense: permissions that cannot be read are an error of the spec.
func TestConfinedNonsense(t *testing.T) {
	w := newWorld(t)
	_, err := w.m.Start(w.ctx, "a", confinedGuest(t, []string{"network:nowhere"}))
	is(t, err, berth.ErrInvalidSpec, "network:nowhere")
}

// elsewhereVariable tells the test binary that it is a run of TestConfinedElsewhere.
const elsewhereVariable = "BERTH_TEST_ELSEWHERE"

// TestConfinedElsewhere runs the tests of confined servers where less is to be had: as
// a user without rights, and where clone makes no namespaces either, as in Docker.
func TestConfinedElsewhere(t *testing.T) {
	needs(t, os.Getenv(elsewhereVariable) == "", "to be the first run")
	needs(t, os.Geteuid() == 0, "root, to be somebody else")
	for name, role := range map[string]string{"nobody": "", "docker": "docker"} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			// Where nobody may read it: the temporary directory of `go test` is root's.
			exe := filepath.Join(dir, "test")
			copySelf(t, exe)
			args := []string{"-test.v", "-test.timeout=3m", "-test.run=^TestConfined(Life|Upgrade|Refused|Nonsense)$"}
			if role != "" {
				args = append([]string{rolePrefix + role}, args...)
			}
			cmd := exec.Command(exe, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), elsewhereVariable+"="+name, "TMPDIR="+dir, "HOME="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Count(string(out), "--- PASS: TestConfined") < 4 {
				t.Errorf("%v\n%s", err, out)
			} else {
				t.Logf("%s", out)
			}
		})
	}
}

// dockerRole goes on as this test binary under a filter that makes no namespaces.
func dockerRole(args []string) error {
	const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(how uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	answer := func(verdict uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
	}
	filter := []unix.SockFilter{
		load(0), // the number of the call
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 5, 0),
		jump(unix.BPF_JEQ, unix.SYS_UNSHARE, 1, 0),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(16),                              // its first argument, the lower half
		jump(unix.BPF_JSET, namespaces, 0, 2), // else: allowed
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, append([]string{self}, args...), os.Environ())
}
