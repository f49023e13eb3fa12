// Package egress lets a server reach the hosts and ports that it was granted, by
// name, and no others, without the server knowing.
//
//	server ── DNS: api.example.com? ──▶ listener :53  ┐ in the server's       ┌ shim: may it?
//	       ◀─ 198.18.0.2 ─────────────                ├ network namespace,  ──┤ resolve, check the
//	       ── TCP 198.18.0.2:443 ────▶ listener :443  ┘ held by the shim      └ address, dial, splice
//
// Design A: the server has a network namespace of its own, in which every address of
// the world is this host. Package netns makes it so and returns sockets that listen
// there; they are sent to the shim, which accepts, and dials outside. Nothing stays
// within.
// Design B, where namespaces are not allowed: a seccomp filter notifies the shim of
// each connect(2), which connects the socket to a port of its own instead.
//
//	// PID 1 of the namespaces:
//	files, err := netns.Prepare(rules.Ports()) // sent to the shim by SCM_RIGHTS
//
//	// The shim:
//	server, err := egress.Start(egress.Config{Rules: rules, Files: files, Violation: record})
//	defer server.Close()
//
// What is promised: no byte of the server's reaches a host that no rule names, at a
// port that no rule names, nor, by a name of the public internet, an address that is
// not of it (netaddr.Refuse), whatever the name resolves to the next time. When the
// shim ends, so does every connection, and no new one can be made.
package egress

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/berth-run/berth/internal/netns"
	"github.com/berth-run/berth/internal/unotify"
)

// ProxyAddr is where, within, an HTTP proxy (CONNECT and absolute-form) listens:
// netns.ProxyHost and ProxyPort.
const ProxyAddr = "198.18.0.1:3128"

const dnsPort = netns.DNSPort

// Config is what Start needs. Rules are required, and Files or Notify.
type Config struct {
	// Rules are what is allowed.
	Rules *Rules
	// Files are those of netns.Prepare, in any order, or those of a Handover. Start takes
	// them over, also when it fails.
	Files []*os.File
	// State is that of the Handover that Files are from.
	State []byte
	// Notify is the descriptor of the seccomp filter that notifies of connect(2)
	// (design B). Start takes it over.
	Notify *os.File
	// Other gets the calls that Notify notifies of and that are no connects, and answers
	// them; it is called by many goroutines. Nil refuses them.
	Other func(*unotify.Listener, unotify.Call)
	// Violation is told of what was refused. It is called by many goroutines, may be
	// called very often, and must not block.
	Violation func(Violation)

	// Resolve returns the addresses of a name; nil asks the system.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Search are the domains that resolvers within put behind names; nil asks the system.
	Search []string
	// Dial connects to an address that was checked; nil does so by TCP.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

	// Connect bounds resolving and connecting; default 10 s.
	Connect time.Duration
	// Lookup is how long after a name that is not allowed was looked up a connection is
	// expected, which says the port of the violation; default 2 s.
	Lookup time.Duration
	// Idle ends a connection on which nothing moved for so long; default 1 h.
	Idle time.Duration
	// Conns bounds the connections at a time; default 256. More wait.
	Conns int
}

// A Violation is something that the server tried and may not.
type Violation struct {
	// Host is the name that was asked for, or the address if none was.
	Host string
	// Port is 0 for a name that was looked up and not connected to.
	Port uint16
	// Why says what is wrong with it, in words that follow a colon.
	Why string
	// Grant is the permission that would allow it; "" if none would, or if that is not
	// known.
	Grant string
}
