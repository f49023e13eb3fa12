package proc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	berth "github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"golang.org/x/sys/unix"
)

// pidnsHolder keeps a tree in a PID namespace, whose init is a child of this
// process. The kernel ends the namespace with its init, and reports the init as
// exited only when all its members are gone.
type pidnsHolder struct {
	init    *child
	initID  ID
	control *os.File // the socket to the init
	outcome *outcome // of the server
	memory  memory
	how     string
	cancel  context.CancelFunc
	ended   chan struct{} // closed when run has returned
	gone    chan struct{} // closed when the init was reaped
}

// patience is how long the init may take to start the server: an executable
// that does not know its role would never answer.
const patience = 20 * time.Second

func startPIDNamespace(s *Spec, at places) (*Tree, error) {
	p := s.program()
	mem, err := limitMemory(s, at, &p.limits)
	if err != nil {
		return nil, err
	}
	rest, err := limitRest(s, at, "", mem, countsApart(), &p.limits)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %q: %w", s.Path, err), closeMemory(mem))
	}
	t, err := startInit(s, p, mem)
	if err != nil {
		return nil, errors.Join(err, closeMemory(mem), closeQuotas(rest))
	}
	t.rest = rest
	return t, nil
}

func startInit(s *Spec, p program, mem memory) (*Tree, error) {
	h := &pidnsHolder{outcome: newOutcome(), memory: mem}
	var pair [2]int
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", s.Path, os.NewSyscallError("socketpair", err))
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	h.control = os.NewFile(uintptr(pair[0]), "control")
	h.init, h.how, err = forkInit(s, p, pair[1])
	unix.Close(pair[1])
	if err != nil {
		h.control.Close()
		if se := (*startError)(nil); errors.As(err, &se) && se.op == opJoin {
			return nil, s.explainStart(err)
		}
		if s.Confine != nil {
			err = fmt.Errorf("%w: %w", err, ErrUnconfined)
		}
		return nil, fmt.Errorf("start %q: make a PID namespace: %w", s.Path, err)
	}
	fail.Point("proc.start.pidns-cloned")
	id, err := h.greet(s)
	if err == nil {
		h.initID, _, err = identify(h.init.pid)
	}
	if err == nil {
		fail.Point("proc.start.pidns-executed")
		err = h.tell(msgGo)
	}
	if err != nil {
		h.init.end()
		h.control.Close()
		return nil, err
	}
	h.watch()
	return &Tree{id: id, incarnation: s.Incarnation, mechanism: s.Mechanism, leader: h.outcome, holder: h, memory: mem}, nil
}

// forkInit clones the init into new namespaces: with a user namespace too where
// this process lacks the right to make the others. That maps this user to
// itself and nobody else, so programs that change the user fail in it.
func forkInit(s *Spec, p program, control int) (*child, string, error) {
	closeJoins, err := p.openJoins()
	if err != nil {
		return nil, "", err
	}
	defer closeJoins()
	files := append([]uintptr{}, p.files[:3]...)
	files = append(files, uintptr(control))
	files = append(files, p.files[3:]...)
	if p.channel != absent {
		files = append(files, p.channel)
	}
	files = append(files, p.joins...)
	env, own := p.initEnviron()
	attr := &syscall.ProcAttr{
		Dir: rootDir, Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS},
	}
	attr.Sys.Cloneflags |= s.Confine.cloneFlags()
	how := "PID namespace"
	if !mayMakeNamespaces() {
		how = "PID namespace in a user namespace"
		attr.Sys.Cloneflags |= unix.CLONE_NEWUSER
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		// A user that is not root loses its new rights by exec, unless they
		// are ambient; the init needs this one to mount /proc, then drops it.
		attr.Sys.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
		if s.Confine != nil {
			attr.Sys.AmbientCaps = append(attr.Sys.AmbientCaps, hookCapabilities...)
		}
	}
	c, err := fork(p.exe, p.initArgs(own), attr)
	return c, how, err
}

// hookCapabilities are those that the init's hook has in its user namespace beside
// CAP_SYS_ADMIN: to configure the network, listen on its low ports and watch it, to change
// root, and to give up capabilities for good.
var hookCapabilities = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP}

func (c *Confine) cloneFlags() uintptr {
	var flags uintptr
	if c == nil {
		return flags
	}
	for _, ns := range []struct {
		wanted bool
		flag   uintptr
	}{
		{c.Network, unix.CLONE_NEWNET},
		{c.IPC, unix.CLONE_NEWIPC},
		{c.Hostname, unix.CLONE_NEWUTS},
	} {
		if ns.wanted {
			flags |= ns.flag
		}
	}
	return flags
}

func mayMakeNamespaces() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// greet waits until the server was executed and returns its identity, which the
// init keeps from being reaped meanwhile.
func (h *pidnsHolder) greet(s *Spec) (ID, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	message, fd, err := h.hear(ctx, make([]byte, maxReport))
	if err != nil {
		return ID{}, fmt.Errorf("start %q: %s as %s did not answer: %w", s.Path, executable(s.Executable), InitName, err)
	}
	if fd >= 0 {
		defer unix.Close(fd)
	}
	switch message[0] {
	case msgStarted:
	case msgStartedOldProc:
		h.how += ", /proc of the host"
	case msgFailed:
		return ID{}, s.explainStart(decodeStartError(message[1:]))
	default:
		return ID{}, fmt.Errorf("start %q: unknown message %q from %s", s.Path, clip(message), InitName)
	}
	pid, err := pidOf(fd)
	if err != nil {
		return ID{}, fmt.Errorf("start %q: find the pid of the server: %w", s.Path, err)
	}
	id, _, err := identify(pid)
	if err != nil {
		return ID{}, fmt.Errorf("start %q: %w", s.Path, err)
	}
	return id, nil
}

// pidOf returns the pid, as this process counts, behind a pidfd that came from
// another namespace.
func pidOf(pidfd int) (int, error) {
	var buf [1024]byte
	n, err := readInto("/proc/self/fdinfo/"+strconv.Itoa(pidfd), buf[:])
	if err != nil {
		return 0, err
	}
	return parsePidfdInfo(buf[:n])
}

func parsePidfdInfo(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, err := strconv.Atoi(string(bytes.TrimSpace(rest)))
			if err == nil && pid <= 0 {
				err = ErrGone // -1: reaped; 0: not in this namespace
			}
			return pid, err
		}
	}
	return 0, errors.New("no pid in fdinfo")
}

// watch follows the server by the messages of the init, and the init by its own
// end.
func (h *pidnsHolder) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended, h.gone = cancel, make(chan struct{}), make(chan struct{})
	go h.run(ctx)
}

func (h *pidnsHolder) run(ctx context.Context) {
	defer close(h.ended)
	var buf [64]byte
	for {
		message, fd, err := h.hear(ctx, buf[:])
		if fd >= 0 {
			unix.Close(fd)
		}
		if ctx.Err() != nil {
			return // handed over
		}
		if err != nil {
			break // the init has ended, or is just doing so
		}
		if status, ok := exitStatus(message); ok {
			h.outcome.resolve(judge(exitOf(status), h.memory))
		}
	}
	if h.init.waitExit(ctx) != nil {
		return
	}
	h.init.reap()
	// An init that ended first took the server with it: pid_namespaces(7),
	// "the kernel terminates all of the processes in the namespace via a
	// SIGKILL signal".
	h.outcome.resolve(judge(berth.Exit{Signal: killedSignal, At: time.Now()}, h.memory))
	close(h.gone)
}

// exitStatus is what a message says of the server's end.
func exitStatus(message []byte) (syscall.WaitStatus, bool) {
	switch {
	case message[0] == msgWaited && len(message) == 5:
		return syscall.WaitStatus(binary.LittleEndian.Uint32(message[1:])), true
	case message[0] == msgExited:
		status, err := strconv.Atoi(string(message[1:]))
		return syscall.WaitStatus(status), err == nil
	}
	return 0, false
}

// hear returns the next message and the descriptor in it, or -1.
// The message is in buf.
func (h *pidnsHolder) hear(ctx context.Context, buf []byte) ([]byte, int, error) {
	var oob [64]byte
	var message []byte
	passed := -1
	err := waitReady(ctx, h.control, func(fd int) (bool, error) {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob[:], unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EAGAIN, err == unix.EINTR:
			return false, nil
		case err != nil:
			return false, err
		case n == 0:
			return false, io.EOF
		}
		message = buf[:n]
		if scms, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(scms) == 1 {
			if fds, err := unix.ParseUnixRights(&scms[0]); err == nil && len(fds) == 1 {
				passed = fds[0]
			}
		}
		return true, nil
	})
	return message, passed, err
}

// tell sends one letter. An init that is gone needs no telling.
func (h *pidnsHolder) tell(letter byte) error {
	return control(h.control, func(fd int) error {
		err := unix.Sendmsg(fd, []byte{letter}, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EPIPE || err == unix.ECONNRESET {
			return nil
		}
		return err
	})
}

func (h *pidnsHolder) terminate() error {
	if h.isGone() {
		return nil
	}
	return h.tell(msgTerminate)
}

func (h *pidnsHolder) isGone() bool {
	select {
	case <-h.gone:
		return true
	default:
		return false
	}
}

func (h *pidnsHolder) kill(ctx context.Context) ([]ID, error) {
	if h.isGone() {
		return nil, nil
	}
	fail.Point("proc.kill.pidns-before")
	if err := h.init.signal(syscall.SIGKILL); err != nil && !isClosed(err) {
		return nil, err
	}
	fail.Point("proc.kill.pidns-sent")
	select {
	case <-h.gone:
		fail.Point("proc.kill.pidns-empty")
		return nil, nil
	case <-ctx.Done():
		return h.members()
	}
}

// members are what is below the init: orphans fall to it.
func (h *pidnsHolder) members() ([]ID, error) {
	if h.isGone() {
		return nil, nil
	}
	return Descendants(h.initID)
}

// empty: the init ends with the last of its children.
func (h *pidnsHolder) empty() (bool, error) { return h.isGone(), nil }

func (h *pidnsHolder) guarantee() berth.Guarantee {
	return berth.Guarantee{State: berth.Enforced, How: h.how}
}

func (h *pidnsHolder) cgroups() []string { return nil }

func (h *pidnsHolder) handover(o *Handover) error {
	h.cancel()
	<-h.ended
	o.How = h.how
	o.Init = h.initID
	if h.isGone() {
		return nil
	}
	if err := keep(o, "init", h.init.pidfd); err != nil {
		return err
	}
	return keep(o, "control", h.control)
}

func (h *pidnsHolder) close() error {
	<-h.ended
	h.init.pidfd.Close() // nil, or closed already, is as good
	h.control.Close()
	return nil
}
