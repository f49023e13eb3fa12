package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/unotify"
	"golang.org/x/sys/unix"
)

// notify is design B: the kernel puts each connect(2) of the server before the shim,
// which makes the connection itself, to a port of its own on this host's loopback.
// What the server's memory says was read once, so that changing it later is in vain.
type notify struct {
	calls *unotify.Listener
	tcp   netip.AddrPort // where the shim listens
	udp   netip.AddrPort

	mu sync.Mutex // guards the fields below
	// from knows by its source port what each connection is to: a port that one of
	// the server's sockets has cannot be another user's.
	from map[uint16]netip.AddrPort
	// order are those ports, those of the past among them, oldest first.
	order []uint16
	// asks are the source ports that may ask by UDP, oldest first.
	asks []uint16
	lost string // why sockets cannot be had, "" while they can
}

// startNotify listens on loopback, and to what the filter notifies of.
func (s *Server) startNotify(f *os.File) error {
	n := &notify{from: map[uint16]netip.AddrPort{}}
	loopback := net.IPv4(127, 0, 0, 1)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback})
	if err != nil {
		f.Close()
		return fmt.Errorf("listen for what is redirected: %w", err)
	}
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
	if err != nil {
		l.Close()
		f.Close()
		return fmt.Errorf("listen for what is redirected: %w", err)
	}
	n.tcp, n.udp = l.Addr().(*net.TCPAddr).AddrPort(), u.LocalAddr().(*net.UDPAddr).AddrPort()
	if n.calls, err = unotify.Open(f); err != nil {
		l.Close()
		u.Close()
		return err
	}
	s.notify = n
	if !s.add(private{l}) || !s.add(private{u}) || !s.add(notifyFile{n.calls}) {
		return net.ErrClosed
	}
	s.running.Go(func() { s.accept(l, s.serveRedirected) })
	s.running.Go(func() { s.serveUDP(u, n.mayAsk) })
	s.running.Go(s.hear)
	return nil
}

// notifyFile is a socket in name, for Close and Handover.
type notifyFile struct{ *unotify.Listener }

// serveRedirected serves a connection that the shim made for the server, and no
// other: who else connects is of this host, and has a network of its own.
func (s *Server) serveRedirected(c net.Conn) {
	at, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		reset(c)
		return
	}
	port := at.AddrPort().Port()
	s.notify.mu.Lock()
	to, ok := s.notify.from[port]
	delete(s.notify.from, port)
	s.notify.mu.Unlock()
	if !ok {
		reset(c)
		return
	}
	s.serve(c, to)
}

// maxHeard bounds the notifications that are looked into at a time. A thread of the
// server's waits for each, so more can only be more threads.
const maxHeard = 64

// hear takes notifications until the last process under the filter has ended.
func (s *Server) hear() {
	slots := make(chan struct{}, maxHeard)
	for {
		call, err := s.notify.calls.Next()
		if err != nil || s.stopped() {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			switch {
			case call.Number == unix.SYS_CONNECT:
				// It is done for the thread that asked, which is told how it went.
				s.notify.calls.Answer(call, s.connectFor(call))
			case s.config.Other != nil:
				s.config.Other(s.notify.calls, call)
			default:
				s.notify.calls.Answer(call, unix.EPERM)
			}
		}()
	}
}

// connectFor is connect(2) of another process: 0 or what is wrong.
func (s *Server) connectFor(call unotify.Call) unix.Errno {
	sockaddr, errno := s.readSockaddr(call)
	if errno != 0 {
		return errno
	}
	fd, errno := s.socketOf(call)
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return unix.ENOTSOCK
	}
	kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return unix.EACCES
	}
	to, errno := target(sockaddr)
	switch {
	case errno == unix.EDESTADDRREQ: // AF_UNSPEC: to be unconnected again harms nobody
		var unspecified unix.RawSockaddr
		return errnoOf(connectRaw(uintptr(fd), &unspecified))
	case errno != 0:
		return errno
	case kind == unix.SOCK_STREAM && protocol == unix.IPPROTO_TCP:
		return s.redirect(fd, family, to)
	case kind == unix.SOCK_DGRAM && protocol == unix.IPPROTO_UDP && to.Port() == dnsPort:
		return s.redirectAsk(fd, family)
	}
	if kind == unix.SOCK_DGRAM {
		// getaddrinfo(3) does this to learn by which address it would go, and sends
		// nothing. Nor can anything be sent then.
		return unix.ENETUNREACH
	}
	return unix.EACCES
}

// maxSockaddr is more than any of the families in question have.
const maxSockaddr = 128

func (s *Server) readSockaddr(call unotify.Call) ([]byte, unix.Errno) {
	size := call.Args[2]
	if int32(size) < 2 || size > maxSockaddr {
		return nil, unix.EINVAL
	}
	b := make([]byte, size)
	n, err := s.notify.calls.Memory(call, call.Args[1], b)
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.lose("its memory cannot be read", err)
		return nil, unix.EACCES
	case errors.Is(err, unotify.ErrGone):
		return nil, unix.EACCES
	case n != len(b):
		return nil, unix.EFAULT
	}
	return b, 0
}

// target is the address in a sockaddr. EDESTADDRREQ stands for AF_UNSPEC.
func target(b []byte) (netip.AddrPort, unix.Errno) {
	if len(b) < 2 {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_UNSPEC:
		return netip.AddrPort{}, unix.EDESTADDRREQ
	case unix.AF_INET:
		if len(b) < unix.SizeofSockaddrInet4 {
			return netip.AddrPort{}, unix.EINVAL
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[2:])), 0
	case unix.AF_INET6:
		if len(b) < unix.SizeofSockaddrInet6-4 { // RFC 2133's had no scope
			return netip.AddrPort{}, unix.EINVAL
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])).Unmap(), binary.BigEndian.Uint16(b[2:])), 0
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// socketOf duplicates the socket that the process would connect.
func (s *Server) socketOf(call unotify.Call) (int, unix.Errno) {
	pidfd, err := unix.PidfdOpen(call.PID, 0)
	if err == unix.EINVAL || err == unix.ENOENT {
		// A thread that is not the first has its process's descriptors.
		pidfd, err = unix.PidfdOpen(processOf(call.PID), 0)
	}
	if err != nil {
		s.lose("it cannot be opened", err)
		return -1, unix.EACCES
	}
	defer unix.Close(pidfd)
	if !s.notify.calls.Valid(call) {
		return -1, unix.EACCES
	}
	fd, err := unix.PidfdGetfd(pidfd, int(int32(call.Args[0])), 0)
	if err == unix.EBADF {
		return -1, unix.EBADF
	}
	if err != nil {
		s.lose("its sockets cannot be had", err)
		return -1, unix.EACCES
	}
	return fd, 0
}

// processOf is the process that a thread belongs to, -1 if it is gone.
func processOf(thread int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(thread) + "/status")
	if err != nil {
		return -1
	}
	_, after, _ := strings.Cut(string(b), "\nTgid:")
	line, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return -1
	}
	return pid
}

// redirect connects a TCP socket to the shim's port, which learns where it was to go.
func (s *Server) redirect(fd, family int, to netip.AddrPort) unix.Errno {
	n := s.notify
	local, errno := ownPort(fd, family)
	if errno != 0 {
		return errno
	}
	n.mu.Lock()
	if len(n.order) >= 4*s.config.Conns {
		// Most likely of a connection that was given up before it was accepted.
		delete(n.from, n.order[0])
		n.order = append(n.order[:0], n.order[1:]...)
	}
	n.from[local], n.order = to, append(n.order, local)
	n.mu.Unlock()
	err := unix.Connect(fd, sockaddrOf(family, n.tcp))
	if err != nil && err != unix.EINPROGRESS {
		n.mu.Lock()
		delete(n.from, local)
		n.mu.Unlock()
	}
	return errnoOf(err)
}

// maxAsks bounds the source ports that may ask the DNS by UDP. The oldest is
// forgotten: it has had its answer.
const maxAsks = 256

// redirectAsk connects a UDP socket that is for the DNS to the shim's port.
func (s *Server) redirectAsk(fd, family int) unix.Errno {
	n := s.notify
	if err := unix.Connect(fd, sockaddrOf(family, n.udp)); err != nil {
		return errnoOf(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return errnoOf(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.asks) >= maxAsks {
		n.asks = append(n.asks[:0], n.asks[1:]...)
	}
	n.asks = append(n.asks, portOf(at))
	return 0
}

// mayAsk says whether a datagram is of a socket of the server's.
func (n *notify) mayAsk(from netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.asks, from.Port())
}

// ownPort binds a socket to loopback, unless it is bound, and returns its port. No
// other socket may have the same: that would be another way to what this one is
// allowed.
func ownPort(fd, family int) (uint16, unix.Errno) {
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 0); err != nil {
			return 0, errnoOf(err)
		}
	}
	if family == unix.AF_INET6 {
		// It fails on one that is bound; then connecting says what is wrong.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	err := unix.Bind(fd, sockaddrOf(family, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)))
	if err != nil && err != unix.EINVAL { // EINVAL: it is bound
		return 0, errnoOf(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return 0, errnoOf(err)
	}
	return portOf(at), 0
}

func portOf(at unix.Sockaddr) uint16 {
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return uint16(at.Port)
	case *unix.SockaddrInet6:
		return uint16(at.Port)
	}
	return 0
}

// sockaddrOf is an address of IPv4 as a socket of the family takes it.
func sockaddrOf(family int, to netip.AddrPort) unix.Sockaddr {
	if family == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return unix.EACCES
}

// lose remembers why nothing can be connected to: who asks for the guarantee is told.
func (s *Server) lose(what string, err error) {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return // it ended meanwhile
	}
	s.notify.mu.Lock()
	defer s.notify.mu.Unlock()
	if s.notify.lost == "" {
		s.notify.lost = fmt.Sprintf("%s: %v", what, err)
	}
}

// guarantee says how far the server is kept to its rules: it is in any case; where
// its sockets cannot be had it reaches nothing at all.
func (n *notify) guarantee() berth.Guarantee {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := berth.Guarantee{State: berth.Enforced, How: "each connect is made by the shim (seccomp notification)"}
	if n.lost != "" {
		g.State, g.Gap = berth.Partial, "it reaches nothing, what was granted included: "+n.lost
	}
	return g
}
