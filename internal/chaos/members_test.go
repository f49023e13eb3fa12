//go:build linux

package chaos

import (
	"os"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// TestMembersComeAndGo: a client that is connected hears of servers that are added and
// removed, and of what it may call now, and goes on; nothing of it needs a restart.
func TestMembersComeAndGo(t *testing.T) {
	p := newPier(t, released.Build(t), "legacy")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	x := p.proxy("--as", "ide")
	x.shake()
	lists := func(id, has, hasNot string) {
		t.Helper()
		x.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list"}`)
		list := x.want(`"id":` + id + `,`)
		if has != "" && !strings.Contains(list, `"name":"`+has+`"`) || hasNot != "" && strings.Contains(list, `"name":"`+hasNot+`"`) {
			t.Errorf("%s, without %q and with %q", list, has, hasNot)
		}
	}
	lists("1", "one_echo", "two_echo")
	p.Berth("add", "two", "--no-run", "--profile", "off", "--env", roleVar+"="+roleMCP, "--env", dirVar+"="+p.dir, "--", self)
	x.want("notifications/tools/list_changed")
	lists("2", "two_echo", "")
	p.Berth("client", "set", "ide", "--deny-tool", "two/mark", "--deny-tool", "two/echo")
	x.want("notifications/tools/list_changed")
	lists("3", "two_pid", "two_echo")
	x.send(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"two_mark","arguments":{"message":"no"}}}`)
	x.want(`"id":4,"error"`)
	p.Berth("config", "one", "--set", "berth.deny-tools=pid")
	x.want("notifications/tools/list_changed")
	lists("5", "one_echo", "one_pid")
	p.Berth("remove", "two")
	x.want("notifications/tools/list_changed")
	lists("6", "one_echo", "two_pid")
	if strings.Contains(p.said("marks"), "no") {
		t.Error("the call that was refused was carried out")
	}
}
