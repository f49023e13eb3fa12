// Package confined makes a process the shim of a confined server: package shim with the
// network of package egress.
//
//	argv ──▶ init of package shim ──▶ plain servers, without package net
//	           └─ needs a network ──▶ init of this package ──▶ confined ones
//
// It is for programs to import that start servers; there is nothing to call.
package confined

import (
	"fmt"
	"net"
	"os"

	"github.com/berth-run/berth/internal/egress"
	"github.com/berth-run/berth/internal/shim"
)

// init plays the role that the init of package shim leaves. Package net and what sorts
// before it are initialised by now, half a megabyte that only a confined server's shim
// has.
func init() { shim.Main(os.Args, network{}) }

type network struct{}

var _ shim.Network = network{}

func (network) Rules(permissions []string) (shim.Rules, error) {
	r, err := egress.ParseRules(permissions)
	if err != nil {
		return nil, err
	}
	return rules{r}, nil
}

type rules struct{ *egress.Rules }

func (r rules) Open() bool { return r.Rules.Open }

func (r rules) Environ(notify bool) []string { return egress.Environ(r.Rules, notify) }

func (r rules) Serve(files []*os.File, notify *os.File, state []byte, ports []uint16, denied func(shim.Violation), other shim.Heard) (shim.WayOut, error) {
	s, err := egress.Start(egress.Config{
		Rules: r.Rules, Files: files, State: state, Notify: notify,
		Violation: func(v egress.Violation) { denied(shim.Violation(v)) }, Other: other,
	})
	if err != nil {
		return nil, err
	}
	if len(state) > 0 || notify != nil {
		return s, nil // they are handed over, or the server's own
	}
	for _, port := range ports {
		if err := publish(s, port); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// publish has a port of this host's loopback lead to the server's own.
func publish(s *egress.Server, port uint16) error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		return fmt.Errorf("listen on port %d, which the server is to be reached at: %w", port, err)
	}
	return s.Publish(l, port)
}
