//go:build linux

package gateway

import (
	"strings"
	"testing"
)

// A legacy server is told of the roots that its user configured, and of no
// client's: not even where it has a process for each client.
func TestRootsAreTheUsers(t *testing.T) {
	for name, set := range map[string]Settings{
		"shared":  {Roots: []string{"/srv/a b"}},
		"session": {Roots: []string{"/srv/a b"}, PerSession: true},
		"none":    {},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newPuppetWorld(t, set)
			c := w.dial("client", "dancer")
			c.say(`{"jsonrpc":"2.0","id":"1","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"x","version":"1"}}}`)
			server := p.next()
			if !set.PerSession {
				server.want(`{"jsonrpc":"2.0","id":"$discover","method":"server/discover","params":$_}`)
				server.say(`{"jsonrpc":"2.0","id":"$discover","error":{"code":-32601,"message":"Method not found"}}`)
			}
			hello, _ := server.hear()
			if got := strings.Contains(hello, `"roots":{}`); got != (len(set.Roots) > 0) || strings.Contains(hello, `"roots":{"`) {
				t.Errorf("the server is told %s", hello)
			}
			// It may ask before it answers.
			server.say(`{"jsonrpc":"2.0","id":"early","method":"roots/list"}`)
			id := strings.Split(strings.SplitAfter(hello, `"id":"`)[1], `"`)[0]
			server.say(`{"jsonrpc":"2.0","id":"` + id + `","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"puppet","version":"1"}}}`)
			answer := func(id string) string {
				if len(set.Roots) == 0 {
					return `{"jsonrpc":"2.0","id":"` + id + `","error":{"code":-32601,$_}`
				}
				return `{"jsonrpc":"2.0","id":"` + id + `","result":{"roots":[{"uri":"file:///srv/a%20b","name":"a b"}]}}`
			}
			server.wantAll(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, answer("early"))
			c.want(initialized)
			c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}`)
			server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
			server.say(`{"jsonrpc":"2.0","id":"late","method":"roots/list","params":{}}`)
			server.want(answer("late"))
			server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
			c.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
		})
	}
}
