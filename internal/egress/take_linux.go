package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takeOne serves a file of netns.Prepare by what it is. It says whether the file itself is
// kept; of others there is a copy.
func (s *Server) takeOne(f *os.File) (kept bool, err error) {
	option := func(name int) int {
		if err != nil {
			return 0
		}
		var v int
		v, err = getsockopt(f, name)
		return v
	}
	kind, protocol, listens := option(unix.SO_TYPE), option(unix.SO_PROTOCOL), option(unix.SO_ACCEPTCONN)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	switch {
	case kind == unix.SOCK_STREAM && listens != 0:
		l, err := net.FileListener(f)
		if err != nil {
			return false, err
		}
		t, ok := l.(*net.TCPListener)
		if !ok {
			l.Close()
			return false, errFile(l.Addr())
		}
		s.mu.Lock()
		s.listening[uint16(t.Addr().(*net.TCPAddr).Port)] = true
		s.mu.Unlock()
		if s.add(t) {
			s.running.Go(func() { s.accept(t, s.serveWithin) })
		}
		return false, nil
	case kind == unix.SOCK_STREAM:
		s.inward.put(f)
		return true, nil
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return false, err
	}
	switch c := c.(type) {
	case *net.UDPConn:
		if s.add(c) {
			s.running.Go(func() { s.serveUDP(c, anybody) })
		}
	case *net.IPConn:
		family, err := getsockopt(f, unix.SO_DOMAIN)
		if err != nil {
			c.Close()
			return false, os.NewSyscallError("getsockopt", err)
		}
		if s.add(c) {
			s.running.Go(func() { s.watch(c, watch{family, protocol}) })
		}
	default:
		c.Close()
		return false, errFile(f.Name())
	}
	return false, nil
}

// anybody who is within may ask.
func anybody(netip.AddrPort) bool { return true }

func getsockopt(f *os.File, name int) (v int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name) })
	return v, errors.Join(cerr, err)
}

// watch tells of what was tried where nobody of ours listens.
func (s *Server) watch(c *net.IPConn, w watch) {
	packet, control := make([]byte, 64), make([]byte, 128)
	for {
		n, oobn, _, _, err := c.ReadMsgIP(packet, control)
		if s.stopped() || err != nil && !temporary(err) {
			return
		}
		to, ok := w.target(packet[:n], control[:oobn])
		if err != nil || !ok {
			continue
		}
		s.seen(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), w.protocol == unix.IPPROTO_UDP)
	}
}

// seen is that something was sent to an address within, by TCP or UDP.
func (s *Server) seen(to netip.AddrPort, udp bool) {
	if to.Addr().IsLoopback() || to.Addr().IsMulticast() || to.Addr().IsUnspecified() {
		return // between the server's own processes, or to nobody
	}
	if !udp {
		s.mu.Lock()
		ours := s.listening[to.Port()]
		s.mu.Unlock()
		if ours || to == proxyAddr() {
			return // it is accepted, and judged then
		}
	}
	d := s.destinationOf(to)
	why, grant := notGranted, d.permission()
	switch {
	case udp:
		why, grant = "it is UDP, of which only DNS is answered", ""
	case d.may != denied:
		why = "any port of it is granted, yet this one is only reached by the proxy; grant it by its number"
	}
	s.violation(Violation{Host: d.host(), Port: d.port, Why: why, Grant: grant})
}

func isSix(f *os.File) bool {
	family, err := getsockopt(f, unix.SO_DOMAIN)
	return err == nil && family == unix.AF_INET6
}

// inwardTime bounds a connection within, which takes microseconds unless the server
// does not accept.
const inwardTime = time.Second

// DialInward connects to a port within, on which the server listens. In design A it
// takes one of the sockets that netns.Prepare made for it, of which there are 16 of a kind;
// in design B the server listens on this host, and so it connects as anybody.
func (s *Server) DialInward(ctx context.Context, port uint16) (net.Conn, error) {
	if !s.inward.any() && s.notify != nil {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String())
	}
	var first error
	for _, to := range []unix.Sockaddr{
		&unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet6{Port: int(port), Addr: netip.IPv6Loopback().As16()},
	} {
		_, six := to.(*unix.SockaddrInet6)
		f := s.inward.get(six)
		err := error(syscall.EAGAIN) // more connections than sockets
		if f != nil {
			var c net.Conn
			if c, err = s.dialWith(f, to); err == nil {
				return c, nil
			}
			s.giveBack(f)
		}
		if first == nil {
			first = err
		}
	}
	return nil, os.NewSyscallError("connect", first)
}

func (s *Server) dialWith(f *os.File, to unix.Sockaddr) (net.Conn, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		// Who sends a file may have made it one that blocks (os.File.Fd does).
		if err = unix.SetNonblock(int(fd), true); err != nil {
			return
		}
		if err = unix.Connect(int(fd), to); err != unix.EINPROGRESS {
			return
		}
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n := 0
		for n, err = unix.Poll(ready, int(inwardTime.Milliseconds())); err == unix.EINTR; {
			n, err = unix.Poll(ready, int(inwardTime.Milliseconds()))
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		if err != nil {
			return
		}
		var code int
		if code, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
			err = unix.Errno(code)
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, errFile(f.Name())
	}
	return &inwardConn{TCPConn: t, back: func() { s.giveBack(f) }}, nil
}

// giveBack makes a socket unconnected. connect(2): "Connectionless sockets and some
// others may dissolve the association by connecting to an address with sa_family of
// AF_UNSPEC"; TCP's is one of those.
func (s *Server) giveBack(f *os.File) {
	if s.inward.over() {
		f.Close() // who has a copy goes on with it
		return
	}
	raw, err := f.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			var unspecified unix.RawSockaddr
			err = connectRaw(fd, &unspecified)
		})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		f.Close()
		return
	}
	s.inward.put(f)
}
