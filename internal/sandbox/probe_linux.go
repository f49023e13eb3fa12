package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// probePatience bounds each child of a probe.
const probePatience = 10 * time.Second

// errand is what a child of a probe is told: confine yourself by this plan, then try.
type errand struct {
	Plan Plan `json:"plan"`
	Bait bait `json:"bait"`
}

// bait is what a child must not reach.
type bait struct {
	File     string `json:"file"`
	Unix     string `json:"unix"`
	Abstract string `json:"abstract"`
	TCP      int    `json:"tcp"` // a port of 127.0.0.1
	PID      int    `json:"pid"`
}

// finding is what a child reports: the guarantees, and what got through, or what kept it
// from being confined at all.
type finding struct {
	Error string              `json:"error,omitzero"`
	Open  map[string][]string `json:"open"`
}

// probeVariable is set for who has the role ProbeName.
const probeVariable = "BERTH_PROBE"

// Probe finds out what works, by doing it in children of this process: exe as
// ProbeName, "" for this very program. Callers keep the result for as long as the
// machine runs.
func Probe(exe string) Report {
	if exe == "" {
		exe = "/proc/self/exe"
	}
	r := Report{Landlock: landlockVersion(), User: !maySetUp()}
	// A program that was started for this role and does not know it would do whatever
	// else it does, which may be this.
	if os.Getenv(probeVariable) != "" {
		r.Missing = append(r.Missing, "nothing was tried: "+exe+" does not know its role "+ProbeName)
		return r
	}
	at, err := layBait()
	if err != nil {
		r.Missing = append(r.Missing, "nothing could be tried: "+err.Error())
		return r
	}
	defer at.remove()

	all := Namespaces{Mount: true, PID: true, Net: true, IPC: true}
	base := Plan{Net: NetNone, Read: []string{"/usr"}, Hide: []string{at.dir}}
	try := func(ns Namespaces) finding {
		plan := base
		plan.Namespaces, plan.UnixSockets = ns, ns.Mount
		return send(exe, errand{plan, at.bait})
	}
	found := try(all)
	if found.Error == "" {
		r.Namespaces = all
	} else {
		r.Missing = append(r.Missing, "namespaces: "+found.Error+namespaceHint())
		found = try(Namespaces{})
	}
	if found.Error != "" {
		// This one first: without it nothing is confined.
		r.Missing = append([]string{"confinement: " + found.Error}, r.Missing...)
		return r
	}
	r.Seccomp = true
	ask := base
	ask.Net, ask.Notify = NetNames, true
	if asked := send(exe, errand{ask, bait{}}); asked.Error == "" {
		r.Notify = true
	} else {
		r.Missing = append(r.Missing, "asking for each connect: "+asked.Error)
	}
	plan := base
	plan.Namespaces, plan.UnixSockets = r.Namespaces, r.Namespaces.Mount
	r.Guarantees = plan.Guarantees(r)
	for name, open := range found.Open {
		if len(open) > 0 && r.Guarantees[name].State == berth.Enforced {
			r.Guarantees[name] = berth.Guarantee{State: berth.Partial, How: r.Guarantees[name].How, Gap: "tried here, and possible: " + strings.Join(open, ", ")}
		}
	}
	return r
}

// namespaceHint says how to mend it where a setting of the system keeps users from
// namespaces.
func namespaceHint() string {
	for _, setting := range []struct{ file, closed, hint string }{
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"AppArmor gives user namespaces no rights here; allow them for berth by a profile with \"userns,\", or for all by sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows them"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000 allows them"},
	} {
		b, err := os.ReadFile(setting.file)
		if err == nil && strings.TrimSpace(string(b)) == setting.closed {
			return " (" + setting.hint + ")"
		}
	}
	return ""
}

// laid is the bait, with what listens.
type laid struct {
	bait
	dir     string
	sockets []int
}

func layBait() (*laid, error) {
	dir, err := os.MkdirTemp("", "berth-probe-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	l := &laid{dir: dir}
	l.PID, l.File = os.Getpid(), filepath.Join(dir, "secret")
	l.Unix, l.Abstract = filepath.Join(dir, "socket"), "@"+filepath.Base(dir)
	err = os.WriteFile(l.File, []byte("secret"), 0o600)
	listen := func(family int, at unix.Sockaddr) int {
		if err != nil {
			return -1
		}
		var fd int
		if fd, err = listening(family, at); err == nil {
			l.sockets = append(l.sockets, fd)
		}
		return fd
	}
	tcp := listen(unix.AF_INET, ownPort(0))
	listen(unix.AF_UNIX, &unix.SockaddrUnix{Name: l.Unix})
	listen(unix.AF_UNIX, &unix.SockaddrUnix{Name: l.Abstract})
	if err == nil {
		l.TCP, err = portOf(tcp)
	}
	if err != nil {
		l.remove()
		return nil, err
	}
	return l, nil
}

func (l *laid) remove() {
	for _, fd := range l.sockets {
		unix.Close(fd)
	}
	os.RemoveAll(l.dir)
}

// listening is a socket that listens. Nobody accepts: who connects has reached it.
func listening(family int, at unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = os.NewSyscallError("bind", unix.Bind(fd, at)); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 16))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ownPort is a port of this host.
func ownPort(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// portOf is the port of a socket of IPv4.
func portOf(fd int) (int, error) {
	at, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	to, ok := at.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("a socket of another kind: %T", at)
	}
	return to.Port, nil
}

// maySetUp says whether this process may make namespaces as it is.
func maySetUp() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// attributes are those of a child in namespaces: with a user namespace where this
// process has no right to make the others.
func attributes(ns Namespaces) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	for _, one := range []struct {
		has  bool
		flag uintptr
	}{{ns.Mount, unix.CLONE_NEWNS}, {ns.PID, unix.CLONE_NEWPID}, {ns.Net, unix.CLONE_NEWNET}, {ns.IPC, unix.CLONE_NEWIPC}} {
		if one.has {
			attr.Cloneflags |= one.flag
		}
	}
	if attr.Cloneflags != 0 && !maySetUp() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN}
	}
	return attr
}

// send runs a child and returns what it found.
func send(exe string, e errand) finding {
	// The thread that starts a child with Pdeathsig must not end before it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), probePatience)
	defer cancel()
	text, err := json.Marshal(e)
	if err != nil {
		return finding{Error: err.Error()}
	}
	cmd := exec.CommandContext(ctx, exe, string(text))
	cmd.Args[0] = ProbeName
	cmd.Env = []string{"GOMAXPROCS=1", probeVariable + "=1"}
	cmd.Dir = "/"
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	cmd.SysProcAttr = attributes(e.Plan.Namespaces)
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var f finding
	if jsonErr := json.Unmarshal(out.Bytes(), &f); jsonErr == nil {
		return f
	}
	if err == nil {
		err = fmt.Errorf("it said %q", out.String())
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(talk.String()), "\n"); line != "" {
		err = fmt.Errorf("%w: %s", err, line)
	}
	return finding{Error: err.Error()}
}

// ProbeMain is the main function of the role ProbeName. It does not return.
func ProbeMain(args []string) {
	runtime.LockOSThread()
	var e errand
	if len(args) != 2 || json.Unmarshal([]byte(args[1]), &e) != nil {
		fmt.Fprintf(os.Stderr, "berth: %s is a role that berth gives to itself\n", ProbeName)
		os.Exit(2)
	}
	f := e.run()
	text, err := json.Marshal(f)
	if err != nil {
		os.Exit(1)
	}
	_, _ = unix.Write(1, text)
	os.Exit(0)
}

func (e errand) run() finding {
	ns := e.Plan.Namespaces
	fail := func(doing string, err error) finding { return finding{Error: doing + ": " + err.Error()} }
	if ns.Net {
		if err := loopbackUp(); err != nil {
			return fail("bring up loopback in a network namespace", err)
		}
	}
	if ns.PID {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fail("make mounts private", err)
		}
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fail("mount /proc", err)
		}
	}
	if err := e.Plan.Mounts(); err != nil {
		return fail("mounts", err)
	}
	notify, err := e.Plan.Enter()
	if err != nil {
		return fail("confine", err)
	}
	if notify >= 0 || e.Plan.Notify {
		return finding{}
	}
	return finding{Open: e.Bait.try()}
}

// try returns what got through, by guarantee.
func (b bait) try() map[string][]string {
	open := map[string][]string{}
	got := func(guarantee, what string, err error) {
		if err == nil {
			open[guarantee] = append(open[guarantee], what)
		}
	}
	openFile := func(path string, flags int) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	got(berth.GuaranteeFSRead, "reading a file", openFile(b.File, unix.O_RDONLY))
	got(berth.GuaranteeFSWrite, "writing a file", openFile(b.File, unix.O_WRONLY))
	got(berth.GuaranteeFSWrite, "making a file", openFile(b.File+".new", unix.O_WRONLY|unix.O_CREAT))
	got(berth.GuaranteeFSWrite, "removing a file", unix.Unlink(b.File))
	got(berth.GuaranteeEgress, "TCP", connectTCP(ownPort(b.TCP)))
	got(berth.GuaranteeUnixSockets, "a socket", connectUnix(b.Unix))
	got(berth.GuaranteeUnixSockets, "an abstract socket", connectUnix(b.Abstract))
	got(berth.GuaranteeSignals, "signal to the supervisor", unix.Kill(b.PID, 0))
	got(berth.GuaranteeProc, "the supervisor's environment", openFile("/proc/"+strconv.Itoa(b.PID)+"/environ", unix.O_RDONLY))
	got(berth.GuaranteeDevices, "/dev/ptmx", openFile("/dev/ptmx", unix.O_RDWR))
	got(berth.GuaranteePrivileges, "a user namespace", unix.Unshare(unix.CLONE_NEWUSER|unix.CLONE_FS))
	got(berth.GuaranteePrivileges, "capabilities", hasPrivileges())
	return open
}

// hasPrivileges returns nil if this thread has capabilities or could get some.
func hasPrivileges() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	sealed, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	some := slices.ContainsFunc(data[:], func(d unix.CapUserData) bool { return d.Effective|d.Permitted|d.Inheritable != 0 })
	if some || sealed != 1 {
		return nil
	}
	return errors.New("none")
}

// loopbackUp shows that the network namespace is worth something: where AppArmor takes
// the rights of user namespaces away, it can be made and not used.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: unix.IFF_UP | unix.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
