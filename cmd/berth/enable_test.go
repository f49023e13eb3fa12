//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// hears reads lines until one is that notification.
func (t *talker) hears(method string) {
	t.Helper()
	for t.out.Scan() {
		if strings.Contains(t.out.Text(), `"method":"`+method+`"`) {
			return
		}
	}
	t.Fatalf("%s does not come: %v", method, t.out.Err())
}

// A server that is disabled is used by no client, those that are connected among them,
// at any address; and by all of them again once it is enabled.
func TestDisabledServer(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("add", "two", "--no-run", "--", "testserver")
	b.berth("enable", "one")
	all, own := b.proxy(), b.proxy("one")
	all.shakeHands()
	own.shakeHands()
	id := 100
	ask := func(c *talker, method, params string) string {
		t.Helper()
		id++
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params))
		return c.want(strconv.Itoa(id), "")
	}
	// lists waits until a list is told to have changed, and has what it is to have.
	lists := func(c *talker, part string, has bool) {
		t.Helper()
		for {
			c.hears("notifications/tools/list_changed")
			if list := ask(c, "tools/list", `{}`); strings.Contains(list, part) == has {
				return
			}
		}
	}
	own.echo(1, "before")
	if list := ask(all, "tools/list", `{}`); !strings.Contains(list, `"one_echo"`) || !strings.Contains(list, `"two_echo"`) {
		t.Fatalf("all servers list %s", list)
	}

	if said := b.berth("disable", "one"); !strings.Contains(said, "one: disabled") {
		t.Errorf("disable prints %q", said)
	}
	if code, said := b.try("call", "one", "echo", `{"message":"no"}`); code != exitNotRunning || !strings.Contains(said, "hint: berth enable one") {
		t.Fatalf("berth call: exit code %d: %s", code, said)
	}
	const why = "server \\\"one\\\" is disabled; `berth enable one` lets clients use it again"
	lists(all, `"one_`, false)
	lists(own, why, true)
	if got := ask(all, "tools/list", `{}`); !strings.Contains(got, `"two_echo"`) {
		t.Errorf("the other server is not listed: %s", got)
	}
	if got := ask(all, "tools/call", `{"name":"one_echo","arguments":{"message":"no"}}`); !strings.Contains(got, `"error"`) {
		t.Errorf("among all, a call of it: %s", got)
	}
	if got := ask(own, "tools/call", `{"name":"echo","arguments":{"message":"no"}}`); !strings.Contains(got, why) {
		t.Errorf("at its own address, a call of it: %s", got)
	}
	late := b.proxy("one")
	late.send(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	late.want("0", why)
	if said := b.berth("audit", "one", "--action", berth.ActionToolCallDenied); !strings.Contains(said, "echo: refused") {
		t.Errorf("the call that was refused is not on record:\n%s", said)
	}
	if said := b.berth("status", "one"); !strings.Contains(said, "one: disabled: ") {
		t.Errorf("status prints\n%s", said)
	}

	b.berth("enable", "one", "--on-demand")
	lists(all, `"one_echo"`, true)
	lists(own, `"echo"`, true)
	own.echo(2, "after")
	if got := ask(all, "tools/call", `{"name":"one_echo","arguments":{"message":"among all"}}`); !strings.Contains(got, "among all") {
		t.Errorf("a call of it: %s", got)
	}
	if st := b.status("one"); st.Generation != 1 || st.Disabled {
		t.Errorf("the server was touched: %+v", st)
	}
}
