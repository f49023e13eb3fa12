//go:build linux

package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// duo is a world of two puppets, at one address.
type duo struct {
	*world
	ps             map[string]*puppets
	dancer, singer *puppet
	absent         atomic.Bool // the singer is no member
}

const allCaps = `{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"prompts":{},"completions":{},"logging":{}}`

func newDuo(t *testing.T, set Settings) *duo {
	t.Helper()
	st := &duo{ps: map[string]*puppets{}}
	servers := map[string]installed{}
	for _, name := range []string{"dancer", "singer"} {
		dir, err := os.MkdirTemp("", "gw")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		p := newPuppets(t, filepath.Clean(dir))
		st.ps[name] = p
		servers[name] = installed{set, p.spec}
	}
	st.world = newWorld(t, servers)
	st.close()
	st.reopen()
	return st
}

// reopen opens a gateway in the place of the last.
func (st *duo) reopen() {
	st.t.Helper()
	st.world.open(Options{Members: func(profile string) (Members, error) {
		all, err := st.members(profile)
		if st.absent.Load() && err == nil {
			all.Members = all.Members[:1]
		}
		return all, err
	}})
}

// raise does what brings both puppets up, and makes their handshakes.
func (st *duo) raise(capabilities string, need func()) {
	st.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		need()
	}()
	st.dancer, st.singer = st.ps["dancer"].next(), st.ps["singer"].next()
	st.dancer.legacy(capabilities)
	st.singer.legacy(capabilities)
	<-done
}

// client connects a client to all servers as one.
func (st *duo) client(capabilities string) *script { return st.clientAt("", capabilities) }

func (st *duo) clientAt(address, capabilities string) *script {
	st.t.Helper()
	c := st.dial("client", address)
	c.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"clientInfo":{"name":"c","version":"1"}}}`)
	st.raise(allCaps, func() {
		c.want(`{"jsonrpc":"2.0","id":"init","result":{"protocolVersion":"2025-11-25","capabilities":{"completions":{},"logging":{},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}},"serverInfo":{"name":"berth","title":"Berth","version":"` + berth.Version + `"},"instructions":"# dancer\n\ndance\n\n# singer\n\ndance"}}`)
	})
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}

// The whole conversation of a legacy client with two servers at one address.
func TestJointLegacy(t *testing.T) {
	st := newDuo(t, Settings{})
	c := st.client(`{"elicitation":{"form":{}}}`)

	// A list is what both list, in their order; while nothing changes, nobody is
	// asked again. All else of an element passes as it is.
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$tools","method":"tools/list"}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$tools","result":{"tools":[{"name":"dance", "inputSchema":{"n":9007199254740993}}],"nextCursor":"more"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$tools","method":"tools/list"}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$tools","result":{"tools":[{"name":"sing"},{"name":"sing.loud"}]}}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$tools2","method":"tools/list","params":{"cursor":"more"}}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$tools2","result":{"tools":[{"title":"x","name":"dance2"}]}}`)
	all := `{"tools":[{"name":"dancer_dance", "inputSchema":{"n":9007199254740993}},{"title":"x","name":"dancer_dance2"},{"name":"singer_sing"},{"name":"singer_sing_loud_kul7jq"}]}`
	c.want(`{"jsonrpc":"2.0","id":1,"result":` + all + `}`)
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":2,"result":` + all + `}`)

	// Who has a resource first keeps its URI.
	c.say(`{"jsonrpc":"2.0","id":3,"method":"resources/list"}`)
	for _, p := range []*puppet{st.dancer, st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$list","method":"resources/list"}`)
		p.say(`{"jsonrpc":"2.0","id":"$list","result":{"resources":[{"uri":"ui://x/y","name":"n"}]}}`)
	}
	c.want(`{"jsonrpc":"2.0","id":3,"result":{"resources":[{"uri":"ui://x/y","name":"n"},{"uri":"ui://berth.singer/x/y","name":"n"}]}}`)

	// A call reaches its server, and no other, under the name that it knows; what is
	// said meanwhile comes back, and the question says whose it is.
	c.say(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"singer_sing.loud","arguments":{"a":1.0},"_meta":{"progressToken":7}}}`)
	c.want(`{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"no server here has the tool \"singer_sing.loud\""}}`)
	c.say(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"singer_sing_loud_kul7jq","arguments":{"a":1.0},"_meta":{"progressToken":7}}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"sing.loud","arguments":{"a":1.0},"_meta":{"progressToken":"$token"}}}`)
	st.singer.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":1}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"how loud?","requestedSchema":{"type":"object","properties":{}}}}`)
	c.want(`{"jsonrpc":"2.0","id":"$q","method":"elicitation/create","params":{"message":"[singer] how loud?","requestedSchema":{"type":"object","properties":{}}}}`)
	c.say(`{"jsonrpc":"2.0","id":"$q","result":{"action":"accept","content":{}}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"q","result":{"action":"accept","content":{}}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[{"type":"resource_link","uri":"ui://x/y","name":"n"},{"type":"resource_link","uri":"ui://x/z","name":"n"}]}}`)
	c.want(`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"resource_link","uri":"ui://berth.singer/x/y","name":"n"},{"type":"resource_link","uri":"ui://x/z","name":"n"}]}}`)

	// A link leads back to who showed it, and an alias to whose it is.
	c.say(`{"jsonrpc":"2.0","id":6,"method":"resources/read","params":{"uri":"ui://x/z"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$read","method":"resources/read","params":{"uri":"ui://x/z"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$read","result":{"contents":[{"uri":"ui://x/z","text":"t"}]}}`)
	c.want(`{"jsonrpc":"2.0","id":6,"result":{"contents":[{"uri":"ui://x/z","text":"t"}]}}`)
	c.say(`{"jsonrpc":"2.0","id":7,"method":"resources/subscribe","params":{"uri":"ui://berth.singer/x/y"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$sub","method":"resources/subscribe","params":{"uri":"ui://x/y"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$sub","result":{}}`)
	c.want(`{"jsonrpc":"2.0","id":7,"result":{}}`)
	st.singer.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"ui://x/y"}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"ui://berth.singer/x/y"}}`)
	c.say(`{"jsonrpc":"2.0","id":8,"method":"resources/read","params":{"uri":"ui://x/y"}}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$read","method":"resources/read","params":{"uri":"ui://x/y"}}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$read","error":{"code":-32002,"message":"gone"}}`)
	c.want(`{"jsonrpc":"2.0","id":8,"error":{"code":-32002,"message":"gone"}}`)

	// A log level is told to those that the client has to do with, and kept for others.
	c.say(`{"jsonrpc":"2.0","id":9,"method":"logging/setLevel","params":{"level":"warning"}}`)
	for _, p := range []*puppet{st.dancer, st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$level","method":"logging/setLevel","params":{"level":"warning"}}`)
		p.say(`{"jsonrpc":"2.0","id":"$level","result":{}}`)
	}
	c.want(`{"jsonrpc":"2.0","id":9,"result":{}}`)

	// A completion goes where its reference leads.
	c.say(`{"jsonrpc":"2.0","id":10,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"dancer_p"},"argument":{"name":"a","value":"b"}}}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$complete","method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$complete","result":{"completion":{"values":[]}}}`)
	c.want(`{"jsonrpc":"2.0","id":10,"result":{"completion":{"values":[]}}}`)

	// News of a list are told once, and only who had them is asked again.
	st.dancer.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	c.say(`{"jsonrpc":"2.0","id":11,"method":"tools/list"}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$tools3","method":"tools/list"}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$tools3","result":{"tools":[]}}`)
	c.want(`{"jsonrpc":"2.0","id":11,"result":{"tools":[{"name":"singer_sing"},{"name":"singer_sing_loud_kul7jq"}]}}`)

	// A server that goes is told, and what it had is no more.
	st.absent.Store(true)
	st.g.MembersChanged()
	for _, kind := range []string{"prompts", "resources", "tools"} {
		c.want(`{"jsonrpc":"2.0","method":"notifications/` + kind + `/list_changed"}`)
	}
	c.say(`{"jsonrpc":"2.0","id":12,"method":"tools/call","params":{"name":"singer_sing"}}`)
	c.want(`{"jsonrpc":"2.0","id":12,"error":{"code":-32602,"message":"no server here has the tool \"singer_sing\""}}`)
	c.say(`{"jsonrpc":"2.0","id":13,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":13,"result":{"tools":[]}}`)

	// What no server is named in is nobody's.
	c.say(`{"jsonrpc":"2.0","id":14,"method":"ping"}`)
	c.want(`{"jsonrpc":"2.0","id":14,"result":{}}`)
	c.say(`{"jsonrpc":"2.0","id":15,"method":"x/y"}`)
	c.want(`{"jsonrpc":"2.0","id":15,"error":{"code":-32601,"message":"Method not found: x/y; at the address of many servers only what names its server can be asked"}}`)
}

// The same for a modern client, whose requests stand alone.
func TestJointModern(t *testing.T) {
	st := newDuo(t, Settings{})
	c := st.dial("client", "")
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}`
	identity := `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"berth","title":"Berth","version":"` + berth.Version + `"}}`
	c.say(`{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{` + meta + `}}`)
	st.raise(allCaps, func() {
		c.want(`{"jsonrpc":"2.0","id":0,"result":{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"capabilities":{"completions":{},"logging":{},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}},"ttlMs":0,"cacheScope":"private","instructions":"# dancer\n\ndance\n\n# singer\n\ndance",` + identity + `}}`)
	})
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`)
	for i, p := range []*puppet{st.dancer, st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list","params":{}}`)
		p.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"t` + fmt.Sprint(i) + `"}]}}`)
	}
	c.want(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"dancer_t0"},{"name":"singer_t1"}],"ttlMs":0,"cacheScope":"private","resultType":"complete",` + identity + `}}`)

	// A question of a server's is an answer that names it, and the retry goes to it.
	call := func(id int, more string) {
		c.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"singer_t1","arguments":{},%s%s}}`, id, more, meta))
	}
	call(2, "")
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"t1","arguments":{}}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"how?","requestedSchema":{"type":"object","properties":{}}}}`)
	c.want(`{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","inputRequests":{"$key":{"method":"elicitation/create","params":{"message":"[singer] how?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"$state"}}`)
	call(3, `"inputResponses":{"$key":{"action":"accept","content":{}}},"requestState":"$state",`)
	st.singer.want(`{"jsonrpc":"2.0","id":"q","result":{"action":"accept","content":{}}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)
	c.want(`{"jsonrpc":"2.0","id":3,"result":{"content":[],"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"puppet","version":"1"}}}}`)

	// One subscription for all.
	c.say(`{"jsonrpc":"2.0","id":4,"method":"resources/list","params":{` + meta + `}}`)
	for _, p := range []*puppet{st.dancer, st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$list2","method":"resources/list","params":{}}`)
		p.say(`{"jsonrpc":"2.0","id":"$list2","result":{"resources":[{"uri":"a:1"}]}}`)
	}
	c.want(`{"jsonrpc":"2.0","id":4,"result":{"resources":[{"uri":"a:1"},{"uri":"a:berth.singer/1"}],"ttlMs":0,"cacheScope":"private","resultType":"complete",` + identity + `}}`)
	c.say(`{"jsonrpc":"2.0","id":5,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:berth.singer/1"]},` + meta + `}}`)
	subscription := `"_meta":{"io.modelcontextprotocol/subscriptionId":5}`
	st.singer.want(`{"jsonrpc":"2.0","id":"$sub","method":"resources/subscribe","params":{"uri":"a:1"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$sub","result":{}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:berth.singer/1"]},` + subscription + `}}`)
	st.singer.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:berth.singer/1",` + subscription + `}}`)
	st.dancer.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + subscription + `}}`)
}

// A session at the joint outlives the gateway, and what it follows does, too.
func TestJointOutlivesTheGateway(t *testing.T) {
	st := newDuo(t, Settings{})
	var session string
	st.raise(allCaps, func() {
		r := st.must(200, http.MethodPost, "/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1))
		session = r.Header.Get(headerSession)
	})
	post := func(body string, answer func()) string {
		t.Helper()
		got := make(chan string, 1)
		go func() { got <- st.read(st.must(200, http.MethodPost, "/mcp", body, headerSession, session)) }()
		answer()
		return <-got
	}
	post(`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"s:1"}}`, func() {
		for _, p := range []*puppet{st.dancer, st.singer} { // whose it is
			p.want(`{"jsonrpc":"2.0","id":"$list","method":"resources/list"}`)
		}
		st.dancer.say(`{"jsonrpc":"2.0","id":"$list","result":{"resources":[]}}`)
		st.singer.say(`{"jsonrpc":"2.0","id":"$list","result":{"resources":[{"uri":"s:1"}]}}`)
		for _, p := range []*puppet{st.dancer, st.singer} {
			p.want(`{"jsonrpc":"2.0","id":"$list2","method":"resources/templates/list"}`)
			p.say(`{"jsonrpc":"2.0","id":"$list2","result":{"resourceTemplates":[]}}`)
		}
		st.singer.want(`{"jsonrpc":"2.0","id":"$sub","method":"resources/subscribe","params":{"uri":"s:1"}}`)
		st.singer.say(`{"jsonrpc":"2.0","id":"$sub","result":{}}`)
	})
	// Nobody has asked the singer anything for long: its part is used as the whole is.
	singer, err := st.g.server("singer")
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * sessionIdle)
	for _, part := range singer.everySession() {
		part.mu.Lock()
		part.used, part.noted = long, long
		part.mu.Unlock()
		st.g.ledger.mu.Lock()
		st.g.ledger.book.sessions[part.key].Used = long
		st.g.ledger.rewrite()
		st.g.ledger.mu.Unlock()
	}
	st.g.sweep(time.Now())
	st.close()
	st.reopen()
	st.singer.want(`{"jsonrpc":"2.0","id":"$again","method":"resources/subscribe","params":{"uri":"s:1"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$again","result":{}}`)
	r := st.must(200, http.MethodGet, "/mcp", "", headerSession, session)
	e := st.events(r)
	st.singer.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"s:1"}}`)
	heard := map[string]bool{}
	for !heard[`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"s:1"}}`] {
		ev, err := e.next()
		if err != nil {
			t.Fatal(err)
		}
		heard[ev.data] = true
	}
	answer := post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"singer_x"}}`, func() {
		st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"x"}}`)
		st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)
	})
	if !strings.Contains(answer, `"content":[]`) {
		t.Error(answer)
	}
	if st.ps["singer"].came != 1 {
		t.Errorf("%d processes of the singer came", st.ps["singer"].came)
	}
}

// Another gateway takes the joint over with its members: no process is another one,
// and the session goes on.
func TestJointHandOver(t *testing.T) {
	st := newDuo(t, Settings{})
	var session string
	st.raise(allCaps, func() {
		r := st.must(200, http.MethodPost, "/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1))
		session = r.Header.Get(headerSession)
	})
	call := func(id int) <-chan string {
		got := make(chan string, 1)
		go func() {
			got <- st.read(st.must(200, http.MethodPost, "/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"singer_x"}}`, id), headerSession, session))
		}()
		return got
	}
	first := call(1)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call1","method":"tools/call","params":{"name":"x"}}`)
	heir, to, _ := st.heirOfWorld()
	var order []string
	adopt := to.Adopt
	to.Adopt = func(ctx context.Context, name string) error {
		if name == jointMark {
			order = append(order, name)
		}
		return adopt(ctx, name)
	}
	handed := make(chan error, 1)
	go func() { handed <- st.g.HandOver(t.Context(), to) }()
	st.closes(jointMark)
	second := call(2)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call1","result":{"n":1}}`)
	if body := <-first; !strings.Contains(body, `"n":1`) {
		t.Errorf("the first call is answered %s", body)
	}
	st.singer.want(`{"jsonrpc":"2.0","id":"$call2","method":"tools/call","params":{"name":"x"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call2","result":{"n":2}}`)
	if body := <-second; !strings.Contains(body, `"n":2`) {
		t.Errorf("the second call is answered %s", body)
	}
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
	heir.mu.Lock()
	there := heir.servers["singer"]
	heir.mu.Unlock()
	if there == nil || len(order) != 1 || st.ps["singer"].came != 1 || st.ps["dancer"].came != 1 {
		t.Errorf("the singer is there: %v; adopted: %v; %d and %d processes", there != nil, order, st.ps["singer"].came, st.ps["dancer"].came)
	}
}

// A server whose processes hold state is asked in the name of who lost it only once
// it was told so.
func TestJointBereaved(t *testing.T) {
	st := newDuo(t, Settings{EndOnCrash: true})
	c := st.client(`{}`)
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"singer_x"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"x"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	c.wantAnswer(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	st.singer.conn.Close() // its process ends with that
	s, err := st.g.server("singer")
	if err != nil {
		t.Fatal(err)
	}
	for len(s.everySession()) > 0 {
		runtime.Gosched()
	}
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"singer_x"}}`)
	c.wantAnswer(`{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"server \"singer\": its process has ended, and the state of this session there with it; what is asked from now on begins anew"}}`)
	c.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"singer_x"}}`)
	st.singer = st.ps["singer"].next()
	st.singer.legacy(allCaps)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"x"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	c.wantAnswer(`{"jsonrpc":"2.0","id":3,"result":{}}`)
}

// Clients of 2024-11-05 have the joint by their own transport.
func TestJointOldSSE(t *testing.T) {
	st := newDuo(t, Settings{})
	e := st.events(st.must(200, http.MethodGet, "/sse", ""))
	at, err := e.next()
	if err != nil || at.kind != "endpoint" || !strings.HasPrefix(at.data, "/messages?sessionId=") {
		t.Fatalf("%+v, %v", at, err)
	}
	post := func(body string) {
		t.Helper()
		st.must(202, http.MethodPost, at.data, body)
	}
	post(strings.Replace(initialize, "%s", "2024-11-05", 1))
	st.raise(allCaps, func() {
		if ev, err := e.next(); err != nil || !strings.Contains(ev.data, `"protocolVersion":"2024-11-05"`) || !strings.Contains(ev.data, `"name":"berth"`) {
			t.Errorf("%+v, %v", ev, err)
		}
	})
	post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"singer_x"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"x"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)
	e.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	// Of a profile that there is not, nothing is.
	st.must(404, http.MethodGet, "/profiles/p/sse", "")
}

// A list that is longer than a page goes on where it ended, for who began it.
func TestJointPages(t *testing.T) {
	st := newDuo(t, Settings{})
	c := st.client(`{}`)
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	for name, p := range map[string]*puppet{"d": st.dancer, "s": st.singer} {
		p.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`)
		tools := make([]string, 600)
		for i := range tools {
			tools[i] = fmt.Sprintf(`{"name":"%s%d"}`, name, i)
		}
		p.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[` + strings.Join(tools, ",") + `]}}`)
	}
	page := func() (names int, cursor string) {
		t.Helper()
		line, ok := c.hear()
		if !ok {
			t.Fatal("there is no answer")
		}
		raw := jsonrpc.Get([]byte(line), "result")
		for range jsonrpc.Elements(jsonrpc.Get(raw, "tools")) {
			names++
		}
		return names, stringOf(jsonrpc.Get(raw, "nextCursor"))
	}
	n, cursor := page()
	if n != pageItems || cursor == "" {
		t.Fatalf("the first page has %d, and then %q", n, cursor)
	}
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"cursor":"` + cursor + `"}}`)
	if n, more := page(); n != 1200-pageItems || more != "" {
		t.Errorf("the second page has %d, and then %q", n, more)
	}
	for id, wrong := range map[string]string{"3": cursor[1:], "4": "", "5": cursor + "A"} {
		c.say(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list","params":{"cursor":"` + wrong + `"}}`)
		c.want(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32602,"message":"this is no cursor of this list; begin again without one"}}`)
	}
	c.say(`{"jsonrpc":"2.0","id":6,"method":"prompts/list","params":{"cursor":"` + cursor + `"}}`) // of another list
	c.want(`{"jsonrpc":"2.0","id":6,"error":{"code":-32602,"message":"this is no cursor of this list; begin again without one"}}`)
}

// One that does not answer delays a list once, and nobody after that; what it says
// late is told.
func TestJointDoesNotWaitForOne(t *testing.T) {
	st := newDuo(t, Settings{})
	c := st.client(`{}`)
	c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	st.dancer.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`)
	st.dancer.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"d"}]}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"dancer_d"}]}}`)
	// The next is not asked of it again, or this would be what it hears next.
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"dancer_d"}]}}`)
	c.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"singer_s"}}`)
	st.singer.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"s"}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	c.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
	st.singer.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"s"}]}}`)
	c.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	c.say(`{"jsonrpc":"2.0","id":4,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":4,"result":{"tools":[{"name":"dancer_d"},{"name":"singer_s"}]}}`)
}
