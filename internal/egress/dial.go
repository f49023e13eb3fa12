package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/berth-run/berth/internal/netaddr"
)

// What is wrong with a destination.
const notGranted = "it was not granted"

// destination is where a connection is to go, and what the rules say of that.
type destination struct {
	name string     // "" of an address that was not asked for by name
	addr netip.Addr // of one that was not
	port uint16
	may  verdict
}

func (d destination) host() string {
	if d.name != "" {
		return d.name
	}
	return d.addr.String()
}

func (d destination) String() string { return net.JoinHostPort(d.host(), fmt.Sprint(d.port)) }

// refusedError is a connection that the rules do not allow. The server's user has
// been told.
type refusedError struct {
	to  destination
	why string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%v is not connected to: %s", e.to, e.why)
}

// destinationOf is who is meant by an address within.
func (s *Server) destinationOf(to netip.AddrPort) destination {
	if name := s.names.name(to.Addr()); name != "" {
		return s.destinationFor(name, to.Port())
	}
	d := destination{addr: to.Addr().Unmap(), port: to.Port()}
	d.may = s.rules.forAddr(d.addr, d.port)
	return d
}

// destinationFor is that of a name, which hostname returned.
func (s *Server) destinationFor(name string, port uint16) destination {
	return destination{name: name, port: port, may: s.rules.forName(name, port)}
}

// connect makes a connection, if it may be made. What is dialled are the addresses
// that were checked: a name that is resolved once more could lead elsewhere.
func (s *Server) connect(d destination) (net.Conn, error) {
	if d.may == denied {
		return nil, s.refuse(d, notGranted, d.permission())
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Connect)
	defer cancel()
	addrs, err := s.resolve(ctx, d)
	if err != nil {
		return nil, err
	}
	return s.dialAny(ctx, addrs, d.port)
}

// permission is the one that allows it.
func (d destination) permission() string { return "network:" + d.String() }

func (s *Server) refuse(d destination, why, grant string) error {
	s.violation(Violation{Host: d.host(), Port: d.port, Why: why, Grant: grant})
	return &refusedError{to: d, why: why}
}

// resolve returns the addresses of a destination that may be connected to.
func (s *Server) resolve(ctx context.Context, d destination) ([]netip.Addr, error) {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if d.name == "" {
		// Programs that know by themselves what localhost is try one address and then
		// the other. Within, the first is always connected to, so the second is tried
		// here.
		if isLocalhost(d.addr) && s.rules.forName("localhost", d.port) == asNamed {
			if d.addr == v6 {
				return []netip.Addr{v6, v4}, nil
			}
			return []netip.Addr{v4, v6}, nil
		}
		return []netip.Addr{d.addr}, nil
	}
	if loopbackName(d.name) {
		return []netip.Addr{v4, v6}, nil
	}
	found, err := s.config.Resolve(ctx, d.name)
	if err != nil {
		return nil, err
	}
	var may []netip.Addr
	refused := ""
	for _, addr := range found {
		if why := netaddr.Refuse(addr); why != "" && d.may != asNamed {
			refused = fmt.Sprintf("it leads to %v, which is %s; grant that address if it is meant", addr, why)
			continue
		}
		may = append(may, addr.Unmap())
	}
	switch {
	case len(may) > 0:
		return may, nil
	case refused != "":
		return nil, s.refuse(d, refused, "")
	}
	return nil, errors.New("the name has no address")
}

// stagger is how much later than the one before the next address is tried: RFC 8305
// recommends 250 ms.
const stagger = 250 * time.Millisecond

// maxTried bounds the addresses of one name that are tried.
const maxTried = 8

// dialAny returns the first connection that is made to one of addrs.
func (s *Server) dialAny(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, error) {
	addrs = addrs[:min(len(addrs), maxTried)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c   net.Conn
		err error
	}
	results := make(chan result, len(addrs))
	begin := func(addr netip.Addr) {
		go func() {
			c, err := s.config.Dial(ctx, netip.AddrPortFrom(addr, port))
			results <- result{c, err}
		}()
	}
	next := time.NewTimer(stagger)
	defer next.Stop()
	begun, open := 0, 0
	var first error
	for {
		if begun < len(addrs) && open == 0 {
			begin(addrs[begun])
			begun, open = begun+1, open+1
			next.Reset(stagger)
		}
		if open == 0 {
			return nil, first
		}
		select {
		case r := <-results:
			open--
			if r.err == nil {
				go func() { // of those that were slower
					for range open {
						if late := <-results; late.err == nil {
							late.c.Close()
						}
					}
				}()
				return r.c, nil
			}
			if first == nil {
				first = r.err
			}
		case <-next.C:
			if begun < len(addrs) {
				begin(addrs[begun])
				begun, open = begun+1, open+1
				next.Reset(stagger)
			}
		}
	}
}
