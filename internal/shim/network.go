package shim

import (
	"os"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/unotify"
)

// A Network is by what confined servers reach the network that they were granted. A
// shim without one runs servers that are not confined, and no others: what implements
// it imports package net, which a small process does without.
type Network interface {
	// Rules returns what the permissions allow.
	Rules(permissions []string) (Rules, error)
}

// Rules are what a server may reach.
type Rules interface {
	// Open: it may reach everything, and has no network of its own.
	Open() bool
	// Ports are those for netns.Prepare.
	Ports() []uint16
	// Environ are the variables by which programs find their way out.
	Environ(notify bool) []string
	// Allows says whether an address and port of IPv4 may be reached.
	Allows(address string) bool
	// Serve serves the way out, on files of netns.Prepare or what a WayOut handed over with
	// the state, or by the notifications of connects. It takes all of them over. denied
	// is told what was refused; it does not block. What comes to the ports on this host's
	// loopback is passed to those within, where the server has a network of its own; a
	// WayOut that was handed over has them already. other answers what else is notified
	// of than connects, if there is anything; it is called by many goroutines.
	Serve(files []*os.File, notify *os.File, state []byte, ports []uint16, denied func(Violation), other Heard) (WayOut, error)
}

// Heard takes a call of the system's that a process waits to be answered, and answers it.
type Heard = func(*unotify.Listener, unotify.Call)

// WayOut is what is served for one process of a server.
type WayOut interface {
	Guarantee() berth.Guarantee
	// Handover stops without ending what is under way.
	Handover() (state []byte, files []*os.File, err error)
	Close() error
}

// A Violation is something that a server tried and may not.
type Violation struct {
	Host string
	Port uint16 // 0 for a name that was looked up and not connected to
	Why  string
	// Grant is the permission that would allow it, "" if none would.
	Grant string
}
