//go:build !linux

package egress

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/berth-run/berth"
)

// notify is Linux's: no other system has a supervisor make a program's connections.
type notify struct{}

type notifyFile struct{ socket }

func (*notify) guarantee() berth.Guarantee { panic("egress: not on this system") }

func (s *Server) startNotify(f *os.File) error {
	f.Close()
	return errors.ErrUnsupported
}

// takeOne serves a listener for clients of the proxy: there is no world within on
// these systems, and a server is kept from all else by other means, or not at all.
func (s *Server) takeOne(f *os.File) (kept bool, err error) {
	l, err := net.FileListener(f)
	if err != nil {
		return false, err
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return false, errFile(l.Addr())
	}
	if s.add(t) {
		s.running.Go(func() { s.accept(t, s.serveProxy) })
	}
	return false, nil
}

// inward is nothing where nothing is within.
type inward struct{}

func (*inward) close() {}

func (*inward) handover() []*os.File { return nil }

// DialInward connects to a port on which the server listens, on this host.
func (s *Server) DialInward(ctx context.Context, port uint16) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}).String())
}
