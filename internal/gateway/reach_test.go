//go:build linux

package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/policy"
)

const threeTools = `{"tools":[{"name":"look","annotations":{"readOnlyHint":true}},{"name":"drop"},{"name":"add","annotations":{"destructiveHint":false}}]}`

// What a client may not call it is not shown, and if it calls it all the same, that is
// refused and on record; at the server's own address, in both eras.
func TestReachAtServer(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{Tools: policy.Tools{Deny: []string{"add"}}})
	w.close()
	var strict atomic.Bool
	w.open(Options{Reach: func(who Caller, profile string) (Reach, error) {
		if !strict.Load() {
			return Reach{}, nil
		}
		return Reach{Rules: policy.Rules{{Of: `client "c"`, Tools: policy.Tools{Allow: []string{berth.ToolsReadOnly, "s*"}}}}}, nil
	}})
	var c *script
	p := meet(ps, `{"tools":{"listChanged":true}}`, func() { c = w.legacyClient("c", "2025-11-25", `{}`) })
	list := func(id, want string) {
		t.Helper()
		c.say(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list"}`)
		p.want(`{"jsonrpc":"2.0","id":"$list` + id + `","method":"tools/list"}`)
		p.say(`{"jsonrpc":"2.0","id":"$list` + id + `","result":` + threeTools + `}`)
		c.want(`{"jsonrpc":"2.0","id":` + id + `,"result":{"tools":` + want + `}}`)
	}
	list("1", `[{"name":"look","annotations":{"readOnlyHint":true}},{"name":"drop"}]`)
	strict.Store(true)
	list("2", `[{"name":"look","annotations":{"readOnlyHint":true}}]`)

	call := func(id, tool string) {
		c.say(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `"}}`)
	}
	call("3", "add") // by its name alone
	c.want(`{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"the tool \"add\" is not allowed: server \"dancer\": deny-tools has \"add\""}}`)
	call("4", "drop") // by what the server says of it
	p.want(`{"jsonrpc":"2.0","id":"$facts","method":"tools/list","params":{}}`)
	p.say(`{"jsonrpc":"2.0","id":"$facts","result":` + threeTools + `}`)
	c.want(`{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"the tool \"drop\" is not allowed: client \"c\": allow-tools does not have it"}}`)
	for id, tool := range map[string]string{"5": "look", "6": "sing"} {
		call(id, tool)
		p.want(`{"jsonrpc":"2.0","id":"$call` + id + `","method":"tools/call","params":{"name":"` + tool + `"}}`)
		p.say(`{"jsonrpc":"2.0","id":"$call` + id + `","result":{}}`)
		c.want(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
	}
	modern := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	c.say(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"drop",` + modern + `}}`)
	c.want(`{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"the tool \"drop\" is not allowed: client \"c\": allow-tools does not have it"}}`)

	// Clients hear that what they may call is something else.
	w.g.MembersChanged()
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)

	denied := map[string]int{}
	for r, err := range w.home.Audit(home.AuditFilter{Action: berth.ActionToolCallDenied}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Server != "dancer" || r.Call == nil || r.Call.Outcome != berth.CallRefused || r.Call.Principal != "me" || r.Detail == "" {
			t.Errorf("on record: %+v", r)
			continue
		}
		denied[r.Call.Tool]++
	}
	if denied["add"] != 1 || denied["drop"] != 2 || len(denied) != 2 {
		t.Errorf("on record: %v", denied)
	}
}

// TestPermit: a server that the policies forbid is not used, from the next request on,
// though its process runs; a call that is refused so is on record.
func TestPermit(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	w.close()
	var forbidden atomic.Bool
	w.open(Options{Permit: func(server string) error {
		if forbidden.Load() {
			return fmt.Errorf("server %q: %w: it is listed", server, berth.ErrDenied)
		}
		return nil
	}})
	var c *script
	p := meet(ps, `{"tools":{}}`, func() { c = w.legacyClient("c", "2025-11-25", `{}`) })
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"}}`)
	p.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"look"}}`)
	p.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)
	c.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	forbidden.Store(true)
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"look"}}`)
	c.want(`{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"the tool \"look\" is not allowed: server \"dancer\": denied by policy: it is listed"}}`)
	c.say(`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":3,"error":{"code":-32600,"message":"server \"dancer\": denied by policy: it is listed"}}`)
	forbidden.Store(false)
	c.say(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"look"}}`)
	p.want(`{"jsonrpc":"2.0","id":"$again","method":"tools/call","params":{"name":"look"}}`)
	p.say(`{"jsonrpc":"2.0","id":"$again","result":{"content":[]}}`)
	c.want(`{"jsonrpc":"2.0","id":4,"result":{"content":[]}}`)
	denied := 0
	for r, err := range w.home.Audit(home.AuditFilter{Action: berth.ActionToolCallDenied}) {
		if err != nil || r.Call.Tool != "look" || !strings.Contains(r.Detail, "denied by policy") {
			t.Errorf("on record: %+v, %v", r, err)
		}
		denied++
	}
	if denied != 1 {
		t.Errorf("%d calls that were denied are on record", denied)
	}
}

// Who may not use a server does not get in, nor goes on there; and where it cannot be
// found out what a client may use, it may use nothing.
func TestReachOfServers(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	w.close()
	var reach atomic.Pointer[error]
	var elsewhere atomic.Bool
	w.open(Options{Reach: func(Caller, string) (Reach, error) {
		if err := reach.Load(); err != nil {
			return Reach{}, *err
		}
		if elsewhere.Load() {
			return Reach{Rules: policy.Rules{{Of: `profile "p"`, Tools: policy.Tools{Servers: []string{"other"}}}}}, nil
		}
		return Reach{}, nil
	}})
	var v *visitor
	p := meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-11-25") })
	_ = p
	elsewhere.Store(true)
	for _, way := range []func() string{
		func() string {
			return w.read(w.must(403, http.MethodPost, "/servers/dancer/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1)))
		},
		func() string { return w.read(v.post(403, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)) },
	} {
		if body := way(); !strings.Contains(body, `server \"dancer\" is none that this client may use`) {
			t.Error(body)
		}
	}
	unknown := errors.New("the file is broken")
	reach.Store(&unknown)
	if body := w.read(v.post(403, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)); !strings.Contains(body, "what this client may use is not known: the file is broken") {
		t.Error(body)
	}
	if body := w.read(w.must(200, http.MethodPost, "/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1))); !strings.Contains(body, "what this client may use is not known") {
		t.Error(body)
	}
}

// At the address of many servers, the rules of the profile hold as well; and who
// finds tools is told of no others.
func TestReachAtJoint(t *testing.T) {
	st := newDuo(t, Settings{})
	st.close()
	var search atomic.Bool
	st.open(Options{
		Members: func(string) (Members, error) { return st.members("") },
		Reach: func(_ Caller, profile string) (Reach, error) {
			if profile == "" {
				return Reach{}, nil // of the servers themselves
			}
			return Reach{Search: search.Load(), Rules: policy.Rules{{Of: `profile "p"`, Tools: policy.Tools{Deny: []string{"singer/drop"}}}}}, nil
		},
	})
	c := st.clientAt("/profiles/p", `{}`)
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	for _, p := range []*puppet{st.dancer, st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`)
		p.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"drop","description":"Let something fall"},{"name":"look","description":"Look at a thing"}]}}`)
	}
	c.want(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"dancer_drop","description":"Let something fall"},{"name":"dancer_look","description":"Look at a thing"},{"name":"singer_look","description":"Look at a thing"}]}}`)
	denied := `"error":{"code":-32602,"message":"the tool \"drop\" is not allowed: profile \"p\": deny-tools has \"singer/drop\""}}`
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"singer_drop"}}`)
	c.want(`{"jsonrpc":"2.0","id":2,` + denied)

	search.Store(true)
	c.say(`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"find_tools",$_},{"name":"describe_tool",$_},{"name":"call_tool",$_}]}}`)
	find := func(id, words string) {
		c.say(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"find_tools","arguments":{"query":"` + words + `"}}}`)
	}
	find("4", "let it fall")
	c.want(`{"jsonrpc":"2.0","id":4,"result":{"content":$_,"structuredContent":{"tools":[{"name":"dancer_drop","server":"dancer","description":"Let something fall","arguments":""}]}}}`)
	c.say(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"describe_tool","arguments":{"name":"singer_look"}}}`)
	c.want(`{"jsonrpc":"2.0","id":5,"result":{"content":$_,"structuredContent":{"name":"singer_look","description":"Look at a thing"}}}`)
	c.say(`{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"describe_tool","arguments":{"name":"singer_drop"}}}`)
	c.want(`{"jsonrpc":"2.0","id":6,"result":{"content":$_,"isError":true}}`)

	// What is called that way is called as ever: under its own name, with its token.
	c.say(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"singer_look","arguments":{"at":1.0}},"_meta":{"progressToken":"p"}}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"look","arguments":{"at":1.0},"_meta":{"progressToken":"$token"}}}`)
	st.singer.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":1}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)
	c.want(`{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`)
	c.say(`{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"singer_drop"}}}`)
	c.want(`{"jsonrpc":"2.0","id":8,` + denied)
	c.say(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"nobody_drop"}}}`)
	c.want(`{"jsonrpc":"2.0","id":9,"result":{"content":[{"type":"text","text":$_}],"isError":true}}`)
}
