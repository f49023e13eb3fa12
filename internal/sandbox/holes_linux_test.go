package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// quarry is what the probe program inside is told of the world.
type quarry struct {
	Secret, Berth, Data, Other, Token, Dir    string
	TCP4, TCP6, UDP4, Socket, Datagram, Agent string
	Abstract                                  string
	PID                                       int
	Int80                                     string
}

// attempt is one way out. It returns nil if it succeeded, as far as the inside can tell.
type attempt struct {
	guarantee string
	name      string
	try       func(q quarry) error
	// alone: unconfined it fails too, on this kernel or for this user, so that it proves
	// nothing there.
	alone bool
}

var errDenied = errors.New("no")

func content(path, want string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), want) {
		return fmt.Errorf("it says %q", b)
	}
	return nil
}

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// call makes a system call by number; the errors by which a filter or a missing right
// answer are denials, all others say that the call was let through.
func call6(nr uintptr, a ...uintptr) error {
	var args [6]uintptr
	copy(args[:], a)
	_, _, errno := unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	if errno == unix.EPERM || errno == unix.ENOSYS || errno == unix.EACCES {
		return errno
	}
	return nil
}

func attempts() []attempt {
	const (
		read, write, egress, sockets = berth.GuaranteeFSRead, berth.GuaranteeFSWrite, berth.GuaranteeEgress, berth.GuaranteeUnixSockets
		signals, proc, devices, priv = berth.GuaranteeSignals, berth.GuaranteeProc, berth.GuaranteeDevices, berth.GuaranteePrivileges
	)
	var list []attempt
	add := func(guarantee, name string, try func(q quarry) error) {
		list = append(list, attempt{guarantee: guarantee, name: name, try: try})
	}
	alone := func(guarantee, name string, try func(q quarry) error) {
		list = append(list, attempt{guarantee: guarantee, name: name, try: try, alone: true})
	}

	add(read, "open", func(q quarry) error { return content(q.Secret, q.Token) })
	add(read, "Berth's audit file", func(q quarry) error { return content(q.Berth+"/audit/audit.jsonl", "") })
	add(read, "another server's data", func(q quarry) error { return content(q.Other, "other") })
	add(read, "dot-dot from the own directory", func(q quarry) error { return content(q.Data+"/../../../.ssh/id", q.Token) })
	add(read, "symbolic link", func(q quarry) error {
		link := q.Data + "/link"
		os.Remove(link)
		if err := os.Symlink(q.Secret, link); err != nil {
			return err
		}
		return content(link, q.Token)
	})
	add(read, "symbolic link to a directory", func(q quarry) error {
		link := q.Data + "/dirlink"
		os.Remove(link)
		if err := os.Symlink(filepath.Dir(q.Secret), link); err != nil {
			return err
		}
		return content(link+"/id", q.Token)
	})
	add(read, "hard link", func(q quarry) error {
		link := q.Data + "/hard"
		os.Remove(link)
		if err := os.Link(q.Secret, link); err != nil {
			return err
		}
		return content(link, q.Token)
	})
	add(read, "/proc/self/root", func(q quarry) error { return content("/proc/self/root"+q.Secret, q.Token) })
	alone(read, "/proc/PID/root of the parent", func(q quarry) error {
		return content("/proc/"+strconv.Itoa(os.Getppid())+"/root"+q.Secret, q.Token)
	})
	alone(read, "/proc/PID/cwd of the supervisor", func(q quarry) error {
		return content("/proc/"+strconv.Itoa(q.PID)+"/root"+q.Secret, q.Token)
	})
	add(read, "O_PATH, then /proc/self/fd", func(q quarry) error {
		fd, err := unix.Open(q.Secret, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return content("/proc/self/fd/"+strconv.Itoa(fd), q.Token)
	})
	add(read, "openat from a directory descriptor", func(q quarry) error {
		dir, err := unix.Open(filepath.Dir(q.Secret), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return closing(unix.Openat(dir, "id", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	})
	add(read, "directory list", func(q quarry) error { _, err := os.ReadDir(filepath.Dir(q.Secret)); return err })
	add(read, "chdir, then relative", func(q quarry) error {
		if err := os.Chdir(filepath.Dir(q.Secret)); err != nil {
			return err
		}
		defer os.Chdir("/")
		return content("id", q.Token)
	})
	alone(read, "inherited descriptor", func(quarry) error {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		for _, e := range entries {
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if n, _ := strconv.Atoi(e.Name()); err == nil && n > 2 && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/proc/") {
				return nil
			}
		}
		return errDenied
	})
	alone(read, "the server's image outside, by /proc/1/exe", func(q quarry) error {
		return closing(unix.Open("/proc/1/root"+q.Secret, unix.O_RDONLY, 0))
	})

	outside := func(q quarry, name string) string { return q.Dir + "/home/" + name }
	add(write, "new file", func(q quarry) error { return os.WriteFile(outside(q, "new"), []byte(q.Token), 0o600) })
	add(write, "append", func(q quarry) error {
		return closing(unix.Open(q.Secret, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0))
	})
	add(write, "Berth's log", func(q quarry) error { return closing(unix.Open(q.Berth+"/logs/s.log", unix.O_WRONLY, 0)) })
	add(write, "Berth's audit file", func(q quarry) error {
		return closing(unix.Open(q.Berth+"/audit/audit.jsonl", unix.O_WRONLY|unix.O_APPEND, 0))
	})
	add(write, "a new policy", func(q quarry) error { return os.WriteFile(q.Berth+"/policy.toml", nil, 0o600) })
	add(write, "truncate", func(q quarry) error { return unix.Truncate(q.Dir+"/home/victim", 0) })
	add(write, "O_TRUNC without writing", func(q quarry) error {
		return closing(unix.Open(q.Dir+"/home/victim", unix.O_RDONLY|unix.O_TRUNC, 0))
	})
	add(write, "directory", func(q quarry) error { return os.Mkdir(outside(q, "newdir"), 0o700) })
	add(write, "symbolic link outside", func(q quarry) error { return os.Symlink("/", outside(q, "newlink")) })
	add(write, "move out", func(q quarry) error {
		from := q.Data + "/moving"
		if err := os.WriteFile(from, []byte(q.Token), 0o600); err != nil {
			return err
		}
		return os.Rename(from, outside(q, "moved"))
	})
	add(write, "hard link out", func(q quarry) error {
		from := q.Data + "/linking"
		if err := os.WriteFile(from, []byte(q.Token), 0o600); err != nil {
			return err
		}
		return os.Link(from, outside(q, "linked"))
	})
	add(write, "named pipe", func(q quarry) error { return unix.Mkfifo(outside(q, "fifo"), 0o600) })
	add(write, "socket file", func(q quarry) error {
		l, err := net.Listen("unix", outside(q, "bound"))
		if err == nil {
			l.Close()
		}
		return err
	})
	add(write, "permissions", func(q quarry) error { return os.Chmod(q.Secret, 0o644) })
	add(write, "permissions of what may be read", func(q quarry) error {
		return os.Chmod(filepath.Join(filepath.Dir(q.Agent), "readable"), 0o640)
	})
	add(write, "times", func(q quarry) error {
		return unix.UtimesNano(q.Secret, []unix.Timespec{{Sec: 1}, {Sec: 1}})
	})
	add(write, "remove", func(q quarry) error { return os.Remove(q.Dir + "/home/doomed") })

	add(egress, "TCP", func(q quarry) error { return say("tcp4", q.TCP4, q.Token) })
	add(egress, "TCP, IPv6", func(q quarry) error { return say("tcp6", q.TCP6, q.Token) })
	add(egress, "TCP after setsid and a double fork", func(q quarry) error { return again(q, "tcp-forked") })
	add(egress, "MPTCP", func(q quarry) error {
		return raw(q.TCP4, q.Token, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, 0)
	})
	add(egress, "TCP Fast Open", func(q quarry) error {
		return raw(q.TCP4, q.Token, unix.SOCK_STREAM, 0, unix.MSG_FASTOPEN)
	})
	add(egress, "UDP", func(q quarry) error { return raw(q.UDP4, q.Token, unix.SOCK_DGRAM, 0, unix.MSG_CONFIRM) })
	alone(egress, "ping", func(quarry) error {
		return closing(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP))
	})
	alone(egress, "SCTP", func(quarry) error {
		return closing(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP))
	})
	alone(egress, "vsock", func(quarry) error { return closing(unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)) })
	alone(egress, "packets", func(quarry) error { return closing(unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)) })
	add(egress, "io_uring", func(quarry) error { return call6(unix.SYS_IO_URING_SETUP, 1, 0) })
	add(egress, "the kernel's cryptography", func(quarry) error {
		return closing(unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0))
	})
	add(egress, "32-bit calls", func(q quarry) error {
		if q.Int80 == "" {
			return errDenied
		}
		out, err := exec.Command(q.Int80).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	alone(egress, "x32 calls", func(quarry) error {
		if runtime.GOARCH != "amd64" {
			return errDenied
		}
		return call6(0x40000000|unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	})

	add(sockets, "a socket by its path", func(q quarry) error { return say("unix", q.Socket, q.Token) })
	add(sockets, "an abstract socket", func(q quarry) error { return say("unix", q.Abstract, q.Token) })
	add(sockets, "by /proc/self/root", func(q quarry) error { return say("unix", "/proc/self/root"+q.Socket, q.Token) })
	add(sockets, "one in a directory that may be read", func(q quarry) error { return say("unix", q.Agent, q.Token) })
	add(sockets, "datagram", func(q quarry) error { return say("unixgram", q.Datagram, q.Token) })
	add(sockets, "datagram from an end of a pair", func(q quarry) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(pair[0], []byte(q.Token), 0, &unix.SockaddrUnix{Name: q.Datagram})
	})

	add(signals, "kill", func(q quarry) error { return unix.Kill(q.PID, 0) })
	add(signals, "pidfd", func(q quarry) error {
		fd, err := unix.PidfdOpen(q.PID, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.PidfdSendSignal(fd, 0, nil, 0)
	})
	add(signals, "a limit on another's time", func(q quarry) error {
		var old unix.Rlimit
		return unix.Prlimit(q.PID, unix.RLIMIT_CORE, nil, &old)
	})

	add(proc, "environment", func(q quarry) error { return content("/proc/"+strconv.Itoa(q.PID)+"/environ", "") })
	add(proc, "command line", func(q quarry) error { return content("/proc/"+strconv.Itoa(q.PID)+"/cmdline", "") })
	add(proc, "maps", func(q quarry) error { return content("/proc/"+strconv.Itoa(q.PID)+"/maps", "") })
	add(proc, "that it exists", func(q quarry) error { _, err := os.Stat("/proc/" + strconv.Itoa(q.PID)); return err })
	alone(proc, "environment of the parent", func(quarry) error {
		return content("/proc/"+strconv.Itoa(os.Getppid())+"/environ", "")
	})

	add(devices, "a terminal", func(quarry) error {
		return closing(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
	})
	add(devices, "opened for ioctl alone", func(quarry) error {
		fd, err := unix.Open("/dev/ptmx", 3|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	alone(devices, "the kernel's log", func(quarry) error { return closing(unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)) })
	alone(devices, "a new device", func(q quarry) error {
		path := q.Data + "/null"
		os.Remove(path)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
			return err
		}
		return closing(unix.Open(path, unix.O_RDONLY, 0))
	})

	add(priv, "TIOCSTI", func(quarry) error {
		c := byte('x')
		return call6(unix.SYS_IOCTL, 1<<30, uintptr(unix.TIOCSTI), uintptr(unsafe.Pointer(&c)))
	})
	add(priv, "TIOCSTI with a high half", func(quarry) error {
		return call6(unix.SYS_IOCTL, 1<<30, 1<<32|uintptr(unix.TIOCSTI), 0)
	})
	alone(priv, "a user namespace", func(quarry) error { return call6(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_FS) })
	add(priv, "ptrace", func(quarry) error { return call6(unix.SYS_PTRACE, unix.PTRACE_PEEKUSR, uintptr(1<<22)) })
	alone(priv, "another's memory", func(q quarry) error {
		b := make([]byte, 8)
		local := unix.Iovec{Base: &b[0]}
		local.SetLen(8)
		return call6(unix.SYS_PROCESS_VM_READV, uintptr(q.PID), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&local)), 1, 0)
	})
	alone(priv, "another's descriptors", func(q quarry) error {
		fd, err := unix.PidfdOpen(q.PID, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return closing(unix.PidfdGetfd(fd, 1, 0))
	})
	alone(priv, "bpf", func(quarry) error { return call6(unix.SYS_BPF, 99, 0, 0) })
	alone(priv, "userfaultfd", func(quarry) error { return call6(unix.SYS_USERFAULTFD, 1) })
	add(priv, "keyrings", func(quarry) error { return call6(unix.SYS_KEYCTL, 0, ^uintptr(2), 0) })
	alone(priv, "perf", func(quarry) error { return call6(unix.SYS_PERF_EVENT_OPEN, 0, 0, ^uintptr(0), ^uintptr(0), 0) })
	alone(priv, "mount", func(quarry) error { return call6(unix.SYS_MOUNT, 0, 0, 0, 0, 0) })
	alone(priv, "chroot", func(q quarry) error { return unix.Chroot(q.Data) })
	add(priv, "clone3", func(quarry) error { return call6(unix.SYS_CLONE3, 0, 0) })
	alone(priv, "capabilities", func(quarry) error { return hasPrivileges() })
	alone(priv, "capabilities in the bounding set", func(quarry) error {
		n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0)
		if sealed, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); sealed == 1 && os.Geteuid() != 0 {
			return errDenied // no exec can bring them
		}
		if err != nil || n == 0 {
			return errDenied
		}
		return nil
	})
	return list
}

// say connects and says the token.
func say(network, address, token string) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(token))
	return err
}

// raw sends the token by one sendto, or, without flags, after a connect.
func raw(address, token string, kind, protocol, flags int) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, _ := strconv.Atoi(port)
	to := &unix.SockaddrInet4{Port: number, Addr: [4]byte(net.ParseIP(host).To4())}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if flags != 0 {
		err := unix.Sendto(fd, []byte(token), flags, to)
		if err != nil || kind != unix.SOCK_DGRAM {
			return err
		}
		// A datagram that nobody gets is sent as well: one that was got is answered.
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}); err != nil {
			return err
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 100), 0)
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(token))
	return err
}

// again has a grandchild in another session do it.
func again(q quarry, what string) error {
	text, _ := json.Marshal(q)
	cmd := exec.Command("/proc/self/exe", string(text), what)
	cmd.Args[0] = holesRole
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// holesMain is the probe program: it tries everything and prints what came of it.
func holesMain(args []string) {
	var q quarry
	check("quarry", json.Unmarshal([]byte(args[1]), &q))
	if len(args) > 2 {
		switch args[2] {
		case "tcp-forked":
			check("grandchild", again(q, "tcp"))
		case "tcp":
			check("tcp", say("tcp4", q.TCP4, q.Token))
		}
		return
	}
	for _, a := range attempts() {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // what it changes of its thread, ends with it
			done <- a.try(q)
		}()
		if err := <-done; err != nil {
			fmt.Printf("no\t%s\t%s\t%s\n", a.guarantee, a.name, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Printf("OPEN\t%s\t%s\n", a.guarantee, a.name)
		}
	}
	fmt.Println("done")
}

// int80 builds a program that asks for a socket by the calls of 32-bit programs. It has
// no C library, of which there may be none for it.
func int80(t testing.TB, dir string) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return ""
	}
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Log("no gcc: 32-bit calls are not tried")
		return ""
	}
	const program = `
static long call32(long n, long a, long b) {
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b) : "memory", "r8", "r9", "r10", "r11");
	return r;
}
void _start(void) {
	/* socket(AF_INET, SOCK_DGRAM, 0) is 359 there */
	long fd = (int)call32(359, 2, 2);
	__asm__ volatile("syscall" :: "a"(231L), "D"(fd >= 0 ? 0L : 1L));
	__builtin_unreachable();
}`
	source := filepath.Join(dir, "int80.c")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "int80")
	if out, err := exec.Command(gcc, "-static", "-nostdlib", "-O1", "-o", binary, source).CombinedOutput(); err != nil {
		t.Logf("32-bit calls are not tried: %v: %s", err, out)
		return ""
	}
	return binary
}

// runHoles runs the probe program and returns the attempts that succeeded, as the inside
// sees it.
func (w *world) runHoles(plan Plan, landlock int, bare bool) map[string]bool {
	w.t.Helper()
	for _, name := range []string{"new", "newdir", "newlink", "moved", "linked", "fifo", "bound"} {
		os.RemoveAll(w.home + "/" + name)
	}
	os.Remove(w.berth + "/policy.toml")
	w.write(w.home+"/victim", "here")
	w.write(w.home+"/doomed", "here")
	w.mu.Lock()
	w.arrived = nil
	w.mu.Unlock()
	q := quarry{
		Secret: w.secret, Berth: w.berth, Data: w.data, Other: w.berth + "/data/other/file", Token: w.token, Dir: w.dir,
		TCP4: w.tcp4, TCP6: w.tcp6, UDP4: w.udp4, Socket: w.socket, Datagram: w.datagram, Agent: w.agent, Abstract: w.abstract,
		PID: os.Getpid(), Int80: w.data + "/int80",
	}
	if _, err := os.Stat(q.Int80); err != nil {
		q.Int80 = ""
	}
	text, err := json.Marshal(q)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := order{Plan: plan, Bare: bare, Landlock: landlock, Path: self(w.t), Argv: []string{holesRole, string(text)}, Env: append([]string{"PATH=/usr/bin:/bin"}, plan.Environ()...)}.start(w.t)
	if err != nil || !strings.HasSuffix(out, "done\n") {
		w.t.Fatalf("the probe program: %v\n%s", err, out)
	}
	open := map[string]bool{}
	for _, line := range lines(out) {
		f := strings.Split(line, "\t")
		if f[0] == "OPEN" {
			open[f[1]+": "+f[2]] = true
		}
	}
	if testing.Verbose() && !bare {
		w.t.Log(out)
	}
	return open
}

// evidence is what the outside sees of attempts that succeeded: whatever the probe
// program believes, this is a hole.
func (w *world) evidence() []string {
	var found []string
	for _, name := range []string{"new", "newdir", "newlink", "moved", "linked", "fifo", "bound", ".berth/policy.toml"} {
		if _, err := os.Lstat(w.home + "/" + name); err == nil {
			found = append(found, "fs-write: "+name+" exists")
		}
	}
	for name, want := range map[string]string{"victim": "here", "doomed": "here", ".berth/logs/s.log": "START\n", ".berth/audit/audit.jsonl": "{}\n"} {
		if b, _ := os.ReadFile(w.home + "/" + name); string(b) != want {
			found = append(found, fmt.Sprintf("fs-write: %s says %q", name, b))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.arrived {
		kind := "egress: "
		if strings.HasPrefix(a, "unix") {
			kind = "unix-sockets: "
		}
		found = append(found, kind+a)
	}
	slices.Sort(found)
	return found
}

// TestHoles: each way out is denied, or what is reported says that it is open. First
// without any confinement, where each must succeed: an attempt that always fails proves
// nothing.
func TestHoles(t *testing.T) {
	w := newWorld(t)
	report := Probe("")
	t.Logf("%+v", report)
	_ = int80(t, w.data)

	t.Run("unconfined", func(t *testing.T) {
		w.t = t
		open := w.runHoles(Plan{Dir: w.data}, 0, true)
		for _, a := range attempts() {
			if !a.alone && !open[a.guarantee+": "+a.name] && !impossible(a) {
				t.Errorf("%s, %s: fails without confinement too", a.guarantee, a.name)
			}
		}
		if n := len(w.evidence()); n < 10 {
			t.Errorf("only %d traces outside: %q", n, w.evidence())
		}
		_ = os.Chmod(w.secret, 0o600)
	})
	ways := map[string]Namespaces{"no namespaces": {}}
	if report.Namespaces.Mount {
		ways["namespaces"] = report.Namespaces
		some := report.Namespaces
		some.Net, some.IPC = false, false
		ways["no network namespace"] = some
	}
	for name, ns := range ways {
		for _, allow := range [][]string{nil, {"filesystem:read:" + w.shared}, {"filesystem:write:" + w.shared}} {
			t.Run(name+" "+strings.Join(allow, " "), func(t *testing.T) {
				w.t = t
				plan, err := Compile(berth.Confinement{Profile: berth.ProfileStandard, Allow: allow, Data: w.data, Program: []string{w.data}}, w.facts(ns, self(t), holesRole))
				if err != nil {
					t.Fatal(err)
				}
				w.judge(plan, plan.Guarantees(report), 0, allow)
			})
		}
	}
}

// TestHolesOfOlderKernels: the same with what earlier versions of Landlock can do, of
// which less is reported.
func TestHolesOfOlderKernels(t *testing.T) {
	w := newWorld(t)
	report := Probe("")
	ways := map[string]Namespaces{"no namespaces": {}}
	if report.Namespaces.Mount {
		ways["namespaces"] = report.Namespaces
	}
	for name, ns := range ways {
		for version := 1; version <= report.Landlock; version++ {
			t.Run(fmt.Sprintf("%s, Landlock %d", name, version), func(t *testing.T) {
				w.t = t
				facts := w.facts(ns, self(t), holesRole)
				facts.Landlock = version
				plan, err := Compile(berth.Confinement{Data: w.data, Program: []string{w.data}}, facts)
				if err != nil {
					t.Fatal(err)
				}
				w.judge(plan, plan.Guarantees(Report{Landlock: version, Seccomp: true}), version, nil)
			})
		}
	}
}

// judge compares what got through with what is reported.
func (w *world) judge(plan Plan, kept map[string]berth.Guarantee, landlock int, allow []string) {
	w.t.Helper()
	writable := slices.ContainsFunc(allow, func(a string) bool { return strings.HasPrefix(a, "filesystem:write:") })
	open := w.runHoles(plan, landlock, false)
	for hole := range open {
		guarantee, name, _ := strings.Cut(hole, ": ")
		if writable && slices.Contains([]string{"one in a directory that may be read", "permissions of what may be read"}, name) {
			continue // who may write there may do that there
		}
		if !told(kept[guarantee], name) {
			w.t.Errorf("%s is open, and %s is reported as %+v", hole, guarantee, kept[guarantee])
		}
	}
	for _, trace := range w.evidence() {
		guarantee, what, _ := strings.Cut(trace, ": ")
		if strings.Contains(trace, w.agent) && writable {
			continue
		}
		if !told(kept[guarantee], what) {
			w.t.Errorf("%s, and %s is reported as %+v", trace, guarantee, kept[guarantee])
		}
	}
	var names []string
	for hole := range open {
		names = append(names, hole)
	}
	slices.Sort(names)
	w.t.Logf("open: %q", names)
	if missing := Missing(berth.ProfileStandard, kept); len(missing) > 0 {
		w.t.Errorf("standard is not kept here: %v of %+v", missing, kept)
	}
	if err := os.Chmod(w.secret, 0o600); err != nil {
		w.t.Error(err)
	}
}

// told says whether a guarantee owns up to an attempt: a gap excuses what it names, and
// nothing else.
func told(g berth.Guarantee, attempt string) bool {
	if g.State == berth.None {
		return true
	}
	for _, excuse := range []struct{ gap, attempt string }{
		{"modes, owners, times", "permissions"},
		{"modes, owners, times", "times"},
		{"cut to nothing", "truncate"},
		{"cut to nothing", "O_TRUNC"},
		{"cut to nothing", "victim"},
		{"which processes there are", "that it exists"},
		{"ioctl on devices", "opened for ioctl alone"},
		{"abstract sockets", "abstract"},
		{"every socket", ""},
	} {
		if g.State == berth.Partial && strings.Contains(g.Gap, excuse.gap) && strings.Contains(attempt, excuse.attempt) {
			return true
		}
	}
	return false
}

// impossible says whether an attempt cannot succeed on this machine at all.
func impossible(a attempt) bool {
	switch a.name {
	case "32-bit calls":
		_, err := exec.LookPath("gcc")
		return err != nil || runtime.GOARCH != "amd64"
	case "TCP, IPv6":
		_, err := os.Stat("/proc/sys/net/ipv6")
		return err != nil
	case "io_uring":
		b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
		return err != nil || strings.TrimSpace(string(b)) != "0"
	case "clone3", "keyrings", "MPTCP", "the kernel's cryptography":
		return os.Getenv(dockerVariable) != "" || call6(unix.SYS_KEYCTL, 0, ^uintptr(2), 0) != nil || a.name == "MPTCP" && closing(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)) != nil ||
			a.name == "the kernel's cryptography" && closing(unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)) != nil
	}
	return false
}

// dockerVariable tells the test binary that it is the run under a filter like Docker's.
const dockerVariable = "SANDBOX_TEST_DOCKER"
