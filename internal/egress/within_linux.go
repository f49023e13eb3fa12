package egress

import (
	"net"
	"net/netip"
)

// serveWithin serves a connection to the address that its client named.
func (s *Server) serveWithin(c net.Conn) {
	to, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		reset(c)
		return
	}
	s.serve(c, to.AddrPort())
}

// serve is one connection that was made to an address within.
func (s *Server) serve(c net.Conn, to netip.AddrPort) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	switch {
	case to.Port() == dnsPort:
		s.serveDNS(c)
	case to == proxyAddr():
		s.serveProxy(c)
	default:
		out, err := s.connect(s.destinationOf(to))
		if err != nil {
			reset(c) // the client's connection was made; this is how it is refused
			return
		}
		s.relay(c, out)
	}
}
