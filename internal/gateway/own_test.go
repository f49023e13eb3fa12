//go:build linux

package gateway

import "testing"

// ownClient is a legacy client with a process of its own.
func ownClient(w *world, ps *puppets, who string) (*script, *puppet) {
	w.t.Helper()
	c := w.dial(who, "dancer")
	c.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"` + who + `","version":"1"}}}`)
	p := ps.next()
	p.who = "the process of " + who
	p.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	p.say(`{"jsonrpc":"2.0","id":"$initialize","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"puppet","version":"1"}}}`)
	p.want(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	c.want(`{"jsonrpc":"2.0","id":"init","result":$_}`)
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c, p
}

// What a session follows, its own process is told; what that process says, its
// session hears and no other.
func TestOwnProcessesTellTheirOwnSession(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{PerSession: true})
	a, pa := ownClient(w, ps, "a")
	b, pb := ownClient(w, ps, "b")
	for _, x := range []struct {
		c *script
		p *puppet
	}{{a, pa}, {b, pb}} {
		x.c.say(`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:b"}}`)
		x.p.want(`{"jsonrpc":"2.0","id":"$subscribe","method":"resources/subscribe","params":{"uri":"a:b"}}`)
		x.p.say(`{"jsonrpc":"2.0","id":"$subscribe","result":{}}`)
		x.c.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
	pb.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}`)
	pb.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	b.want(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}`)
	b.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	a.say(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	a.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)

	// One that unsubscribes does so with its own process.
	a.say(`{"jsonrpc":"2.0","id":3,"method":"resources/unsubscribe","params":{"uri":"a:b"}}`)
	a.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
	pa.want(`{"jsonrpc":"2.0","id":"$unsubscribe","method":"resources/unsubscribe","params":{"uri":"a:b"}}`)
	pa.say(`{"jsonrpc":"2.0","id":"$unsubscribe","result":{}}`)

	// A successor of the process that b follows a resource of is brought up, and
	// told.
	pb.conn.Close()
	next := ps.next()
	next.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	next.say(`{"jsonrpc":"2.0","id":"$initialize","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"puppet","version":"1"}}}`)
	next.want(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	next.want(`{"jsonrpc":"2.0","id":"$subscribe","method":"resources/subscribe","params":{"uri":"a:b"}}`)
	next.say(`{"jsonrpc":"2.0","id":"$subscribe","result":{}}`)
	b.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	a.say(`{"jsonrpc":"2.0","id":4,"method":"ping"}`)
	a.want(`{"jsonrpc":"2.0","id":4,"result":{}}`)
}
