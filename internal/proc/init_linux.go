package proc

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The init of a PID namespace and the process that made it talk over a socket
// that keeps message boundaries, descriptor controlFD of the init. A message is
// one of the letters below and what follows it.
const (
	controlFD = 3

	// From the init.
	msgStarted = 'S' // 's' if /proc could not be mounted; with the server's pidfd
	msgFailed  = 'E' // an encoded startError
	msgExited  = 'X' // the wait status of the server, decimal

	msgStartedOldProc = 's'

	// To the init.
	msgGo        = 'A' // the server's identity is known: it may be reaped
	msgTerminate = 'T' // signal all with SIGTERM
)

// oneProcessor keeps the init small, of which there is one for each server: its
// runtime reads it before any code of ours runs.
const oneProcessor = "GOMAXPROCS=1"

// initEnviron is the server's environment and, unless the server itself has a
// use for the name, what the init's own runtime is to know.
func (p program) initEnviron() (env []string, own string) {
	name, _, _ := strings.Cut(oneProcessor, "=")
	if slices.ContainsFunc(p.env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
		return p.env, ""
	}
	return append(slices.Clip(p.env), oneProcessor), oneProcessor
}

// initArgs are the arguments of the init: the variable that is its own, the
// working directory, the number of descriptors of the server, what lies behind
// them, its limits, its path and argv.
func (p program) initArgs(own string) []string {
	return append([]string{
		InitName, own, p.dir, strconv.Itoa(len(p.files)),
		strconv.FormatUint(p.limits.descriptors, 10),
		strconv.FormatUint(p.limits.data, 10),
		strconv.FormatUint(p.limits.processes, 10),
		p.extras(), p.path,
	}, p.argv...)
}

// initMain is the first process of a PID namespace: when it ends, the kernel
// ends all others. It starts the server, so that the server is an ordinary
// process and not one whose default signals are ignored; reaps; and ends when
// the other side of the socket does, however that came about, or when nobody is
// left.
func initMain(args []string, hooks Hooks) {
	// The capabilities below are those of one thread, which must be the one
	// that forks.
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1) // where the server's own variable said otherwise
	if len(args) < 9 || os.Getpid() != 1 {
		os.Exit(2)
	}
	unix.CloseOnExec(controlFD)
	p, err := parseInitArgs(args)
	if err != nil {
		os.Exit(2)
	}
	started := byte(msgStarted)
	if mountProc() != nil {
		started = msgStartedOldProc
	}
	if p.channel != absent {
		// Nothing of the server may look into this process, which has more
		// rights than it: what is not dumpable has its /proc of root's.
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		if failed := callHook(hooks.Init, p.channel); failed != nil {
			giveUp(failed)
		}
	}
	dropCapabilities()
	c, err := p.startServer(hooks)
	if err != nil {
		failed := &startError{op: opExec, err: err}
		if se, ok := err.(*startError); ok {
			failed = se
		}
		giveUp(failed)
	}
	leaveStreams(len(p.files))
	p.leaveExtras()
	_ = c.control(func(fd int) error {
		tell([]byte{started}, fd)
		return nil
	})
	c.pidfd.Close()
	if hear() != msgGo {
		os.Exit(1)
	}
	ignoreSignals()
	p.becomeSmall(c.pid)
	go obey()
	reapUntilEmpty(c.pid)
}

// startServer starts the server of the namespace. One that is confined needs no stage for
// that, the exec of a Go program and most of what confinement cost: what the hook of the
// stage does to itself is done by a thread of this process, which forks the server and then
// ends. Capabilities, no_new_privs, Landlock's domain and filters of system calls are a
// thread's own, and a child has those of the thread that made it. Limits and cgroups are
// those of the process: for them there has to be a stage.
func (p program) startServer(hooks Hooks) (*child, error) {
	attr := syscall.SysProcAttr{Setsid: true}
	if p.channel == absent || !p.limits.none() || len(p.joins) > 0 || !cleanSignals() {
		return p.start(attr)
	}
	type started struct {
		c   *child
		err error
	}
	done := make(chan started)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		dropCapabilities()     // it may have been made when there were some
		if failed := callHook(hooks.Stage, p.channel); failed != nil {
			done <- started{err: failed}
			return
		}
		c, err := p.fork(p.path, p.argv, p.files, attr)
		done <- started{c, err}
	}()
	s := <-done
	return s.c, s.err
}

func parseInitArgs(args []string) (program, error) {
	own, args := args[0], args[1:]
	p := program{exe: executable(""), dir: args[0], path: args[6], argv: args[7:], env: os.Environ()}
	p.env = slices.DeleteFunc(p.env, func(kv string) bool { return kv == own })
	files, err := strconv.Atoi(args[1])
	if err != nil {
		return p, err
	}
	for fd := range files {
		if fd >= controlFD {
			fd++ // the tree lock sits behind the socket
			unix.CloseOnExec(fd)
		}
		p.files = append(p.files, uintptr(fd))
	}
	if p.limits.descriptors, err = strconv.ParseUint(args[2], 10, 64); err != nil {
		return p, err
	}
	if p.limits.data, err = strconv.ParseUint(args[3], 10, 64); err != nil {
		return p, err
	}
	p.limits.processes, err = strconv.ParseUint(args[4], 10, 64)
	p.takeExtras(args[5], files+1) // behind the socket and the server's
	return p, err
}

// leaveExtras closes what only the stage needed: who has the other side of the
// channel sees its end when the server was executed.
func (p program) leaveExtras() {
	for _, fd := range p.joins {
		unix.Close(int(fd))
	}
	if p.channel != absent {
		unix.Close(int(p.channel))
	}
}

// giveUp reports why the server was not started, and ends.
func giveUp(failed *startError) {
	tell(append([]byte{msgFailed}, failed.encode()...), -1)
	os.Exit(1)
}

// mountProc gives the namespace the /proc in which its processes have the pids
// that they know themselves by. Mounts of the host still arrive, none go back.
func mountProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// dropCapabilities gives up what was inherited for mounting: the server must
// not have more rights than without a namespace. Root keeps its own.
func dropCapabilities() {
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if os.Geteuid() == 0 {
		return
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_ = unix.Capset(&header, &none[0])
}

// leaveStreams lets go of the server's streams: its reader must see their end
// when the server and its children are gone. The tree lock stays, for as long
// as this process lives so does the tree.
func leaveStreams(files int) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	for fd := range min(files, 3) {
		if err != nil || unix.Dup3(null, fd, 0) != nil {
			unix.Close(fd)
		}
	}
	if err == nil && null > 2 {
		unix.Close(null)
	}
}

// ignoreSignals makes this process deaf to what the server's processes can send
// to it, but for those that the runtime needs.
func ignoreSignals() {
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPIPE, syscall.SIGABRT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
	} {
		setDisposition(sig, sigIgnore)
	}
}

// obey does what the socket says until its other side is gone.
func obey() {
	for {
		switch hear() {
		case msgTerminate:
			// kill(2): "If pid equals -1, then sig is sent to every process for
			// which the calling process has permission to send signals, except
			// for process 1", and all that is within the namespace.
			_ = syscall.Kill(-1, syscall.SIGTERM)
		case 0:
			os.Exit(0)
		}
	}
}

// reapUntilEmpty reaps every process of the namespace and reports how the
// server ended.
func reapUntilEmpty(server int) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			os.Exit(0) // ECHILD: nobody is left
		case pid == server:
			tell(append([]byte{msgExited}, strconv.Itoa(int(status))...), -1)
		}
	}
}

// tell sends a message, with a descriptor if it is not negative. If it cannot,
// the other side is gone and obey sees that too.
func tell(message []byte, fd int) {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for unix.Sendmsg(controlFD, message, rights, nil, unix.MSG_NOSIGNAL) == unix.EINTR {
	}
}

// hear returns the letter of the next message, 0 at the end.
func hear() byte {
	var buf [16]byte
	for {
		n, _, errno := unix.Syscall(unix.SYS_READ, controlFD, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch {
		case errno == unix.EINTR:
		case errno != 0 || n == 0:
			return 0
		default:
			return buf[0]
		}
	}
}
