package sandbox

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// TestSelfTest: a server is not executed where what is forbidden succeeds.
func TestSelfTest(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, want string
		// spoil takes something from what is put on, not from what is then tested.
		spoil func(p *Plan)
	}{
		{"as planned", "", func(*Plan) {}},
		{"a file", w.berth + "/audit/audit.jsonl can be read", func(p *Plan) { p.Read, p.Hide = append(p.Read, w.berth), nil }},
		{"a connection", w.tcp4 + " was reached", func(p *Plan) { p.Net, p.Namespaces.Net = NetOpen, false }},
		{"a socket", w.socket + " was reached", func(p *Plan) { p.Sockets, p.UnixSockets = append(p.Sockets, w.socket), true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, ns Namespaces) {
				w.t = t
				o := w.confined(ns, berth.Confinement{}, self(t), runRole)
				claim := o.Plan
				o.Claim = &claim
				c.spoil(&o.Plan)
				_, err := o.start(t)
				switch {
				case c.want == "" && err != nil:
					t.Error(err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("%v, want %s", err, c.want)
				}
			})
		})
	}
}

const notifyRole = "sandbox-test-notify"

// notifyMain confines itself so that each connect asks, hands the descriptor out, and
// then tries.
func notifyMain(args []string) {
	runtime.LockOSThread()
	o := orderOf(args[1])
	fd, err := o.Plan.Enter()
	check("enter", err)
	check("hand out", unix.Sendmsg(3, []byte{'N'}, unix.UnixRights(fd), nil, 0))
	unix.Close(fd)
	to, err := parseIPv4(args[2])
	if err == nil {
		err = connectTCP(to)
	}
	fmt.Println("connect:", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	fmt.Println("udp:", err)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	fmt.Println("listen:", unix.Listen(s, 1))
	// A listener of its own would answer in the supervisor's place.
	own := []unix.SockFilter{{Code: opReturn, K: retNotify}}
	prog := unix.SockFprog{Len: 1, Filter: &own[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	fmt.Println("second listener:", errno)
}

// TestNotify: where there is no network namespace, each connect is put before the
// supervisor, and nobody else answers.
func TestNotify(t *testing.T) {
	w := newWorld(t)
	f := w.facts(Namespaces{}, self(t), notifyRole)
	f.Notify = true
	plan, err := Compile(berth.Confinement{Allow: []string{"network:example.com:443"}, Data: w.data}, f)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Notify || plan.Net != NetNames {
		t.Fatalf("%+v", plan)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	far := os.NewFile(uintptr(pair[1]), "far")
	cmd := exec.Command("/proc/self/exe", textOf(t, order{Plan: plan}), w.tcp4)
	cmd.Args[0] = notifyRole
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{far}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		cmd.Wait()
		t.Fatal(n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	// struct seccomp_notif: id, pid, flags, then seccomp_data.
	asked := make([]byte, 80)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&asked[0]))); errno != 0 {
		t.Fatal(errno)
	}
	if nr := binary.NativeEndian.Uint32(asked[16:]); nr != unix.SYS_CONNECT {
		t.Errorf("asked for call %d", nr)
	}
	// struct seccomp_notif_resp: id, value, error, flags.
	answer := make([]byte, 24)
	copy(answer, asked[:8])
	refused := -int32(unix.ECONNREFUSED)
	binary.NativeEndian.PutUint32(answer[16:], uint32(refused))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer[0]))); errno != 0 {
		t.Fatal(errno)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	want := "connect: connection refused\nudp: protocol not supported\nlisten: permission denied\nsecond listener: device or resource busy\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for _, trace := range w.evidence() {
		if strings.HasPrefix(trace, "egress") {
			t.Errorf("outside: %s", trace)
		}
	}
}

// TestSocketThatIsGranted: it can be connected to, and no other.
func TestSocketThatIsGranted(t *testing.T) {
	w := newWorld(t)
	eachWay(t, func(t *testing.T, ns Namespaces) {
		w.t = t
		o := w.confined(ns, berth.Confinement{Allow: []string{"filesystem:write:" + w.socket}}, self(t), dialRole, w.socket, w.agent)
		out, err := o.start(t)
		want := w.socket + ": reached\n" + w.agent + ": no\n"
		if !ns.Mount && landlockVersion() < landlockUnix {
			// That one can be reached is what the plan says is not kept.
			if o.Plan.Gaps[berth.GuaranteeUnixSockets] == "" {
				t.Error("no gap is reported")
			}
			want = w.socket + ": reached\n" + w.agent + ": reached\n"
		}
		if err != nil || out != want {
			t.Errorf("%v: %q, want %q", err, out, want)
		}
	})
}

const dialRole = "sandbox-test-dial"

func dialMain(args []string) {
	for _, path := range args[1:] {
		c, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println(path + ": no")
			continue
		}
		c.Close()
		fmt.Println(path + ": reached")
	}
}

const catRole = "sandbox-test-cat"

func catMain(args []string) {
	for _, path := range args[1:] {
		if _, err := os.ReadFile(path); err != nil {
			fmt.Print("-")
			continue
		}
		fmt.Print("x")
	}
	fmt.Println()
}

// TestWhatCoversBerthsFiles: whatever is granted, the files of Berth are not, where they
// can be hidden; where they cannot, such a grant is refused, or it is filesystem:* and
// reported.
func TestWhatCoversBerthsFiles(t *testing.T) {
	w := newWorld(t)
	w.write(w.data+"/own", "own")
	for _, grant := range []string{"filesystem:read:" + w.home, "filesystem:write:" + w.home, "filesystem:read:/", "filesystem:write:/", "filesystem:*"} {
		t.Run(grant, func(t *testing.T) {
			eachWay(t, func(t *testing.T, ns Namespaces) {
				w.t = t
				if !ns.Mount && grant != "filesystem:*" {
					_, err := Compile(berth.Confinement{Allow: []string{grant}, Data: w.data}, w.facts(ns, self(t)))
					if err == nil || !strings.Contains(err.Error(), "Berth's own") {
						t.Errorf("not refused: %v", err)
					}
					return
				}
				o := w.confined(ns, berth.Confinement{Allow: []string{grant}}, self(t), catRole,
					w.secret, w.data+"/own", w.berth+"/audit/audit.jsonl", w.berth+"/data/other/file", "/proc/1/environ")
				out, err := o.start(t)
				want := "xx---\n"
				if !ns.Mount {
					want = "xxxx-\n"
					if o.Plan.Gaps[berth.GuaranteeFSRead] == "" || o.Plan.Gaps[berth.GuaranteeFSWrite] == "" {
						t.Error("no gap is reported")
					}
				}
				if err != nil || out != want {
					t.Errorf("%v: %q, want %q", err, out, want)
				}
			})
		})
	}
}

func TestParseIPv4(t *testing.T) {
	to, err := parseIPv4("127.0.0.1:8080")
	if err != nil || to.Port != 8080 || to.Addr != [4]byte{127, 0, 0, 1} {
		t.Errorf("%+v, %v", to, err)
	}
	for _, bad := range []string{"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0:1", "127.0.0.256:1", "127.0.0.0.1:1", "[::1]:80", "localhost:80", "127.0.0.1:80:80", ".0.0.1:1"} {
		if to, err := parseIPv4(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, to)
		}
	}
	// What cannot be tried has not been found to fail.
	p := Plan{Test: Test{Connect: "[::1]:80"}}
	if p.SelfTest() == nil {
		t.Error("a test that was not made passed")
	}
}
