//go:build linux

package gateway

import (
	"context"
	"testing"

	"github.com/berth-run/berth/internal/mcp"
)

// newEraWorld is a puppet world whose server's era is remembered.
func newEraWorld(t *testing.T) (*world, *puppets) {
	t.Helper()
	return newPuppetWorld(t, Settings{EraKey: "k"})
}

func (w *world) greet(who string) *script {
	c := w.dial(who, "dancer")
	c.initialize("1")
	return c
}

const initialized = `{"jsonrpc":"2.0","id":"1","result":$_}`

// unasked makes the handshake of a server that is not asked for its era.
func (p *puppet) unasked(version string) {
	p.t.Helper()
	p.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	p.say(`{"jsonrpc":"2.0","id":"$initialize","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"puppet","version":"` + version + `"}}}`)
	p.want(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// A server that was asked once, and speaks the legacy era only, is not asked
// again, until it is another.
func TestEraIsRemembered(t *testing.T) {
	w, p := newEraWorld(t)
	c := w.greet("first")
	p.next().legacy(`{}`)
	c.want(initialized)
	for _, version := range []string{"1", "2"} { // the second is news
		w.close()
		w.stopAll()
		w.open(Options{})
		c = w.greet("next")
		p.next().unasked(version)
		c.want(initialized)
	}
	w.close()
	w.stopAll()
	w.open(Options{})
	c = w.greet("last")
	p.next().legacy(`{}`)
	c.want(initialized)
}

// What is remembered is no more than a hint: a server that has become modern is
// asked after all.
func TestEraThatIsNoLongerSo(t *testing.T) {
	w, p := newEraWorld(t)
	if err := w.home.RememberLegacy("k", "puppet 1"); err != nil {
		t.Fatal(err)
	}
	c := w.greet("client")
	server := p.next()
	server.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	server.say(`{"jsonrpc":"2.0","id":"$initialize","error":{"code":-32601,"message":"Method not found"}}`)
	p.next().modern(`{}`)
	c.want(initialized)
	if said, known := w.home.LegacyServer("k"); known {
		t.Errorf("it is remembered as %q", said)
	}
	s, err := w.g.server("dancer")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.childOf(nil); c == nil || c.era != mcp.Modern {
		t.Errorf("its child is %+v", c)
	}
}

// A server that does not survive to be asked is not asked by the next gateway.
func TestEraOfAServerThatDiesWhenAsked(t *testing.T) {
	w, p := newEraWorld(t)
	c := w.greet("client")
	server := p.next()
	server.want(`{"jsonrpc":"2.0","id":"$discover","method":"server/discover","params":$_}`)
	server.conn.Close()
	p.next().unasked("1")
	c.want(initialized)
	w.close()
	w.stopAll()
	w.open(Options{})
	c = w.greet("next")
	p.next().unasked("1")
	c.want(initialized)
}

// stopAll stops every process of the world.
func (w *world) stopAll() {
	w.t.Helper()
	names, err := w.m.Names()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if _, err := w.m.Stop(context.Background(), name); err != nil {
			w.t.Fatal(err)
		}
	}
}
