package egress

import (
	"context"
	"net"
)

// publication is a listener outside of a port within.
type publication struct {
	*net.TCPListener
	port uint16
}

// Publish relays what l, a listener outside, accepts to the server's port within. The
// listener is the Server's from then on, Handover included.
func (s *Server) Publish(l net.Listener, port uint16) error {
	t, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return errFile(l.Addr())
	}
	if !s.add(&publication{t, port}) {
		return net.ErrClosed
	}
	s.running.Go(func() {
		s.accept(t, func(c net.Conn) {
			ctx, cancel := context.WithTimeout(s.ctx, s.config.Connect)
			in, err := s.DialInward(ctx, port)
			cancel()
			if err != nil {
				reset(c)
				return
			}
			s.relay(in, c)
		})
	})
	return nil
}
