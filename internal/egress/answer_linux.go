package egress

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// dnsPatience is how long a client may leave a connection to the DNS idle.
const dnsPatience = 30 * time.Second

// lookup is the DNS of the world within: each name has an address of its own there, also
// one that is not allowed at any port, for it is the connection that says which port it
// was that the server wants.
func (s *Server) lookup(name string, six bool) (netip.Addr, bool) {
	if loopbackName(name) {
		// RFC 6761: what is within itself, whatever is granted.
		if six {
			return netip.IPv6Loopback(), true
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	if !s.rules.knowsName(name) {
		if s.rules.searched(name) {
			return netip.Addr{}, false
		}
		s.wanted.add(name)
		if completed(name, s.config.Search) {
			return netip.Addr{}, false
		}
	}
	if six {
		return netip.Addr{}, true
	}
	return s.names.addr(name), true
}

// serveUDP answers datagrams of those who may ask until c is closed.
func (s *Server) serveUDP(c *net.UDPConn, may func(from netip.AddrPort) bool) {
	buf := make([]byte, maxQuery)
	control := make([]byte, 128)
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, control)
		if s.stopped() {
			return
		}
		if err != nil {
			if !temporary(err) {
				return
			}
			continue
		}
		if !may(from) {
			continue
		}
		if out := reply(buf[:n], s.lookup); out != nil {
			// Who does not take it asks again.
			_, _, _ = c.WriteMsgUDPAddrPort(out, fromAsked(control[:oobn]), from)
		}
	}
}

// serveDNS answers the questions of one connection, each after its length.
func (s *Server) serveDNS(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 2+maxQuery)
	for {
		_ = c.SetDeadline(time.Now().Add(dnsPatience))
		if s.stopped() {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n > maxQuery {
			return
		}
		if _, err := io.ReadFull(c, buf[2:2+n]); err != nil {
			return
		}
		out := reply(buf[2:2+n], s.lookup)
		if out == nil {
			return
		}
		out = append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(out)), uint16(len(out))), out...)
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// searched says whether name is an allowed one with a domain behind it, which is what
// resolvers ask for that try their search list first.
func (r *Rules) searched(name string) bool {
	return slices.ContainsFunc(r.list, func(one rule) bool {
		return one.name != "" && strings.HasPrefix(name, one.name+".") ||
			one.suffix != "" && strings.Contains(name, one.suffix+".")
	})
}

// completed says whether name looks like a full one with a domain of the search list
// behind it. It must not exist, lest the name itself is never asked for.
func completed(name string, search []string) bool {
	return slices.ContainsFunc(search, func(domain string) bool {
		rest, ok := strings.CutSuffix(name, "."+domain)
		return ok && strings.Contains(rest, ".")
	})
}
