package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter confines the calling thread, which must be locked, for good: what it then
// executes keeps it. The descriptor that it returns is the one on which the supervisor
// hears of connects, of all that Learn is about, or of both, -1 without Notify and Learn;
// the caller sends it there and closes it.
func (p *Plan) Enter() (notify int, err error) { return p.enter(landlockVersion()) }

// enter is Enter with what a version of Landlock can do.
func (p *Plan) enter(version int) (notify int, err error) {
	a, ok := architectureOf(runtime.GOARCH)
	if !ok {
		return -1, fmt.Errorf("a filter of system calls on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	if err := dropCapabilities(); err != nil {
		return -1, err
	}
	// Also what lets a user without rights do the rest.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("no_new_privs: %w", err)
	}
	if version == 0 {
		return -1, fmt.Errorf("landlock: %w (Linux 5.13 or newer, with landlock in its lsm= list)", errors.ErrUnsupported)
	}
	if err := p.landlock(version); err != nil {
		return -1, err
	}
	return p.filter(a)
}

// dropCapabilities leaves the thread none, nor a way to get any by exec.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // the kernel has no more
		}
		if has == 0 {
			continue
		}
		// Without CAP_SETPCAP the bounding set stays: with no_new_privs no exec
		// brings anything of it.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EPERM {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// Root's exec would bring all of the bounding set back, and of what is left there
	// all of it.
	const noRoot, noRootLocked = 1, 2
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, noRoot|noRootLocked, 0, 0, 0) // needs CAP_SETPCAP, which a plain user does not miss
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// filter installs the program of system calls on this thread.
func (p *Plan) filter(a architecture) (notify int, err error) {
	program := p.rules().program(a)
	filters := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filters[i] = unix.SockFilter{Code: in.code, Jt: in.jt, Jf: in.jf, K: in.k}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	var flags uintptr
	if p.rules().asks() {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filters)
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	if flags == 0 {
		return -1, nil
	}
	return int(fd), nil
}

// rules are what the filter of this plan is made of.
func (p *Plan) rules() rules {
	return rules{
		net: p.Net, ownNet: p.Namespaces.Net, listens: len(p.Ports) > 0,
		notify: p.Notify, unixSockets: p.UnixSockets, ownIPC: p.Namespaces.IPC, ownPID: p.Namespaces.PID,
		learn: p.Learn,
	}
}

// asks says whether the program puts anything before the supervisor.
func (r rules) asks() bool { return r.learn || r.notify && r.net != NetOpen && !r.ownNet }

// SelfTest tries what is forbidden, after Enter, and returns an error if any of it
// succeeds. With Notify the supervisor must be listening.
func (p *Plan) SelfTest() error {
	if p.Test.Read != "" {
		if fd, err := unix.Open(p.Test.Read, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
			unix.Close(fd)
			return fmt.Errorf("the sandbox does not hold: %s can be read", p.Test.Read)
		}
	}
	if p.Test.Connect != "" && p.Net != NetOpen {
		to, err := parseIPv4(p.Test.Connect)
		if err != nil {
			return err
		}
		if err := connectTCP(to); err == nil {
			return fmt.Errorf("the sandbox does not hold: %s was reached", p.Test.Connect)
		}
	}
	if p.Test.Unix != "" && p.keepsUnix() {
		if err := connectUnix(p.Test.Unix); err == nil {
			return fmt.Errorf("the sandbox does not hold: %s was reached", p.Test.Unix)
		}
	}
	return nil
}

// keepsUnix says whether the plan has a layer that keeps the server from Unix sockets
// on this kernel: without one that is reported, and tells nothing of the others.
func (p *Plan) keepsUnix() bool {
	return p.Namespaces.Mount || !p.UnixSockets || landlockVersion() >= landlockUnix
}

// connectTCP connects to an address of IPv4, without package net: the processes that
// are to be small do without it, and it would connect on other threads.
func connectTCP(to *unix.SockaddrInet4) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// What does not answer at once is not reached: the tests connect on this machine.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2})
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	// Where each connect is put before the supervisor it is that which was reached.
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return err
	}
	if at, ok := peer.(*unix.SockaddrInet4); !ok || at.Addr != to.Addr || at.Port != to.Port {
		return errors.New("somebody else was reached")
	}
	return nil
}

// Trap listens on this host's loopback, for Test.Connect. Nobody accepts: who connects
// has reached it.
func Trap() (address string, remove func(), err error) {
	fd, err := listening(unix.AF_INET, ownPort(0))
	if err != nil {
		return "", nil, err
	}
	port, err := portOf(fd)
	if err != nil {
		unix.Close(fd)
		return "", nil, err
	}
	return "127.0.0.1:" + strconv.Itoa(port), func() { unix.Close(fd) }, nil
}

// parseIPv4 takes four numbers with dots, a colon and a port.
func parseIPv4(address string) (*unix.SockaddrInet4, error) {
	bad := fmt.Errorf("%q is not an address of IPv4 and a port", address)
	host, port, ok := strings.Cut(address, ":")
	parts := strings.Split(host, ".")
	n, err := strconv.ParseUint(port, 10, 16)
	to := &unix.SockaddrInet4{Port: int(n)}
	if !ok || err != nil || len(parts) != len(to.Addr) {
		return nil, bad
	}
	for i, part := range parts {
		b, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return nil, bad
		}
		to.Addr[i] = byte(b)
	}
	return to, nil
}

func connectUnix(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}
