package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/berth-run/berth/internal/netns"
	"golang.org/x/sys/unix"
)

// The test binary is also what runs within: first as the init or the stage, which
// sends descriptors out, then, for what no client at hand does, as a probe.
const (
	roleInside = "egress-test-inside"
	roleNotify = "egress-test-notify"
	roleProbe  = "egress-test-probe"
)

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case roleInside, roleNotify:
		runtime.LockOSThread()
		if err := enter(os.Args[0], os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(125)
		}
	case roleProbe:
		if err := probes[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// enter is what the init and the stage do, on descriptor 3, before the server runs.
func enter(role, ports string, argv []string) error {
	var files []*os.File
	if role == roleInside {
		var list []uint16
		for p := range strings.SplitSeq(ports, ",") {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return err
			}
			list = append(list, uint16(n))
		}
		var err error
		if files, err = netns.Prepare(list); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if role == roleNotify {
		fd, err := notifyConnect()
		if err != nil {
			return err
		}
		files = append(files, os.NewFile(uintptr(fd), "notify"))
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := unix.Sendmsg(3, []byte{'F'}, unix.UnixRights(fds...), nil, 0); err != nil {
		return err
	}
	if _, err := unix.Read(3, make([]byte, 1)); err != nil {
		return err
	}
	unix.CloseOnExec(3)
	return syscall.Exec(argv[0], append([]string{filepath.Base(argv[0])}, argv[1:]...), os.Environ())
}

// notifyConnect has connect(2) put before who gets the descriptor.
func notifyConnect() (int, error) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CONNECT, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// world is a server's, and what is outside of it.
type world struct {
	t       testing.TB
	rules   *Rules
	config  Config
	server  *Server
	channel int // to the init
	cmd     *exec.Cmd
	out     bytes.Buffer
	// stdin and stdout are the program's, if set.
	stdin, stdout *os.File

	mu         sync.Mutex // guards the fields below
	hosts      map[string][]netip.Addr
	asked      map[string]int
	at         map[netip.AddrPort]string // where what is at an address really is
	dialled    []netip.AddrPort
	violations []Violation
}

func newWorld(t testing.TB, permissions ...string) *world {
	t.Helper()
	rules, err := ParseRules(permissions)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, rules: rules, channel: -1, hosts: map[string][]netip.Addr{}, asked: map[string]int{}, at: map[netip.AddrPort]string{}}
	w.config = Config{
		Rules:  rules,
		Search: []string{"corp.test"},
		Lookup: 10 * time.Millisecond,
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked[name]++
			if found, ok := w.hosts[name]; ok {
				return found, nil
			}
			return nil, errors.New("no such name")
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			w.mu.Lock()
			w.dialled = append(w.dialled, to)
			real, ok := w.at[to]
			w.mu.Unlock()
			if !ok {
				return nil, fmt.Errorf("nobody is at %v", to)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", real)
		},
		Violation: func(v Violation) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.violations = append(w.violations, v)
		},
	}
	t.Cleanup(func() {
		if w.server != nil {
			w.server.Close()
		}
	})
	return w
}

// host has a name of the world outside lead to an address, at which what listens at
// real is at a port.
func (w *world) host(name, addr string, port uint16, real string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := netip.MustParseAddr(addr)
	if name != "" {
		w.hosts[name] = append(w.hosts[name], a)
	}
	w.at[netip.AddrPortFrom(a, port)] = real
}

// start begins a program within, which waits until the Server serves it.
func (w *world) start(role string, argv ...string) {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "channel")
	var ports []string
	for _, p := range w.rules.Ports() {
		ports = append(ports, strconv.Itoa(int(p)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	w.t.Cleanup(cancel)
	w.cmd = exec.CommandContext(ctx, "/proc/self/exe", append([]string{strings.Join(ports, ",")}, argv...)...)
	w.cmd.Args[0] = role
	w.cmd.Env = append(os.Environ(), "HOME="+w.t.TempDir())
	w.cmd.ExtraFiles = []*os.File{theirs}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if w.stdout != nil {
		w.cmd.Stdout = w.stdout
	}
	if w.stdin != nil {
		w.cmd.Stdin = w.stdin
	}
	w.cmd.WaitDelay = 5 * time.Second
	if role == roleInside {
		id := func(own int) []syscall.SysProcIDMap {
			return []syscall.SysProcIDMap{{ContainerID: own, HostID: own, Size: 1}}
		}
		w.cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: id(os.Getuid()), GidMappings: id(os.Getgid()),
			AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE},
		}
	}
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	theirs.Close()
	w.channel = pair[0]
	w.t.Cleanup(func() {
		if w.channel >= 0 {
			unix.Close(w.channel)
		}
		w.cmd.Process.Kill()
		w.cmd.Wait()
	})
	b, oob := make([]byte, 1), make([]byte, 4096)
	n, oobn, _, _, err := unix.Recvmsg(w.channel, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		w.cmd.Wait()
		w.t.Fatalf("%v, %d bytes: %s", err, n, w.out.String())
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "from within")
			if role == roleNotify {
				w.config.Notify = f
			} else {
				w.config.Files = append(w.config.Files, f)
			}
		}
	}
	if w.server, err = Start(w.config); err != nil {
		w.t.Fatal(err)
	}
	if _, err := unix.Write(w.channel, []byte{'G'}); err != nil {
		w.t.Fatal(err)
	}
}

// run runs a program within to its end, and returns what it said and whether it was
// content.
func (w *world) run(role string, argv ...string) (string, bool) {
	w.t.Helper()
	w.start(role, argv...)
	err := w.cmd.Wait()
	return w.out.String(), err == nil
}

// probe runs one of probes within.
func (w *world) probe(role, name string, args ...string) (string, bool) {
	w.t.Helper()
	return w.run(role, append([]string{probeLink(w.t), name}, args...)...)
}

// probeLink is a path by which the test binary becomes a probe: argv[0] is made of it.
func probeLink(t testing.TB) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), roleProbe)
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// violated waits for a violation of a host and port, which may come after the program
// has ended.
func (w *world) violated(host string, port uint16) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		w.mu.Lock()
		ok := slices.ContainsFunc(w.violations, func(v Violation) bool { return v.Host == host && v.Port == port })
		for _, v := range w.violations {
			if v.Why == notGranted && v.Port != 0 && v.Grant != "network:"+net.JoinHostPort(v.Host, strconv.Itoa(int(v.Port))) {
				w.t.Errorf("%+v", v)
			}
		}
		all := slices.Clone(w.violations)
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.t.Errorf("no violation of %s at port %d among %v", host, port, all)
			return
		}
		runtime.Gosched()
	}
}

// dials are the addresses that were dialled.
func (w *world) dials() []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialled)
}

// echo is a server of the world outside that sends back what it gets.
func echo(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// site is an HTTPS server and an HTTP server of the world outside, and a file with
// the authority that the first is certified by.
func site(t testing.TB) (secure, plain, authority string) {
	t.Helper()
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "hello from %s%s %s", r.Host, r.URL.Path, body)
	})
	s, p := httptest.NewTLSServer(h), httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(p.Close)
	authority = filepath.Join(t.TempDir(), "ca.pem")
	writeCertificate(t, authority, s.Certificate().Raw)
	return s.Listener.Addr().String(), p.Listener.Addr().String(), authority
}
