//go:build linux

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
)

const (
	legacyHello = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"puppet","version":"1"},"instructions":"dance"}`
	modernHello = `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"instructions":"dance","ttlMs":9,"cacheScope":"public","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"puppet","version":"1"}}}`
	toolsCaps   = `{"tools":{"listChanged":true},"logging":{}}`
)

// newDemandWorld is a world whose puppet has manifests.
func newDemandWorld(t testing.TB, set Settings, o Options) (*world, *puppets) {
	t.Helper()
	w, p := newPuppetWorld(t, set)
	set.Spec = home.SpecDigest(p.spec)
	set.Manifest = "key of " + set.Spec
	w.servers["dancer"] = installed{set, p.spec}
	w.close()
	w.open(o)
	return w, p
}

// keep writes a manifest of the puppet's.
func (w *world) keep(instance string, m *mcp.Manifest) {
	w.t.Helper()
	if m.Key == "" {
		m.Key = w.servers["dancer"].settings.Manifest
	}
	data, err := m.Encode()
	if err == nil {
		err = w.home.WriteManifest(instance, data)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func legacyManifest(tools ...string) *mcp.Manifest {
	m := &mcp.Manifest{Era: mcp.Legacy, Hello: json.RawMessage(legacyHello), Lists: map[string][]json.RawMessage{}}
	for _, page := range tools {
		m.Lists["tools/list"] = append(m.Lists["tools/list"], json.RawMessage(page))
	}
	return m
}

// quiet fails the test if the server was ever started.
func (w *world) quiet() {
	w.t.Helper()
	if names, err := w.m.Names(); err != nil || len(names) > 0 {
		w.t.Fatalf("processes were started: %v, %v", names, err)
	}
}

// initialize greets a server and says what it answers.
func (s *script) initialize(id string) {
	s.say(`{"jsonrpc":"2.0","id":"` + id + `","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
}

// survey answers the questions of the gateway's own after a start, in any order
// with what else is asked then.
func (p *puppet) survey(tools string, others ...string) {
	p.t.Helper()
	p.wantAll(append(others, `{"jsonrpc":"2.0","id":"$survey","method":"tools/list","params":{}}`)...)
	p.say(`{"jsonrpc":"2.0","id":"$survey","result":` + tools + `}`)
	delete(p.names, `"$survey"`)
}

// What a server is and what it lists is answered by the manifest, byte for byte
// to who speaks its era, and no process of it is there.
func TestManifestAnswersWithoutAProcess(t *testing.T) {
	page1, page2 := `{ "tools":[ {"name":"a","x":12345678901234567890} ], "nextCursor":"p2" }`, `{"tools":[{"name":"b"}]}`
	w, _ := newDemandWorld(t, Settings{}, Options{})
	m := legacyManifest(page1, page2)
	m.Refused = map[string]json.RawMessage{"resources/templates/list": json.RawMessage(`{"code":-32601,"message":"no templates"}`)}
	w.keep("dancer", m)

	old := w.dial("old", "dancer")
	old.initialize("1")
	old.want(`{"jsonrpc":"2.0","id":"1","result":` + legacyHello + `}`)
	old.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":` + page1 + `}`)
	old.say(`{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"p2"}}`)
	old.want(`{"jsonrpc":"2.0","id":3,"result":` + page2 + `}`)
	old.say(`{"jsonrpc":"2.0","id":4,"method":"resources/templates/list","params":{}}`)
	old.want(`{"jsonrpc":"2.0","id":4,"error":{"code":-32601,"message":"no templates"}}`)
	old.say(`{"jsonrpc":"2.0","id":5,"method":"logging/setLevel","params":{"level":"info"}}`)
	old.want(`{"jsonrpc":"2.0","id":5,"result":{}}`)

	young := w.dial("young", "dancer")
	young.say(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"d","result":{"capabilities":` + toolsCaps + `,"instructions":"dance",$_"ttlMs":0,"cacheScope":"private"$_}`)
	young.say(`{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"l","result":{ "tools":[ {"name":"a","x":12345678901234567890} ], "nextCursor":"p2" ,"resultType":"complete","ttlMs":0,"cacheScope":"private",$_}`)
	w.quiet()
}

// A modern server's lists may not be kept by clients: nobody knows how long they
// are true.
func TestManifestOfAModernServer(t *testing.T) {
	w, _ := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", &mcp.Manifest{Era: mcp.Modern, Hello: json.RawMessage(modernHello), Lists: map[string][]json.RawMessage{
		"tools/list": {json.RawMessage(`{"ttlMs": 60000,"cacheScope":"public", "tools":[ {"name":"a"}],"resultType":"complete"}`)},
	}})
	young := w.dial("young", "dancer")
	young.say(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"d","result":{"supportedVersions":$_,"capabilities":{"tools":{"listChanged":true}},"instructions":"dance","ttlMs":0,"cacheScope":"private",$_}`)
	young.say(`{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"l","result":{"ttlMs": 0,"cacheScope":"private", "tools":[ {"name":"a"}],"resultType":"complete"}}`)
	old := w.dial("old", "dancer")
	old.initialize("1")
	old.want(`{"jsonrpc":"2.0","id":"1","result":{"capabilities":{"tools":{"listChanged":true}},"instructions":"dance",$_}`)
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{ "tools":[ {"name":"a"}]}}`)
	w.quiet()
}

// A manifest that is of another command line, or is none, is not used: the server
// is asked, and what it says is kept.
func TestManifestIsNotBelievedBlindly(t *testing.T) {
	for _, c := range []struct {
		name, log string
		spoil     func(w *world)
	}{
		{"none", "", func(*world) {}},
		{"of another command line", "", func(w *world) {
			m := legacyManifest(`{"tools":[{"name":"wrong"}]}`)
			m.Key = "another"
			w.keep("dancer", m)
		}},
		{"damaged", "manifest is not used", func(w *world) {
			w.keep("dancer", legacyManifest(`{"tools":[{"name":"wrong"}]}`))
			path := filepath.Join(w.m.Dir(), "manifests", "dancer.json")
			data, err := os.ReadFile(path)
			if err == nil {
				data[len(data)/2] ^= 1
				err = os.WriteFile(path, data, 0o600)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log syncBuffer
			w, p := newDemandWorld(t, Settings{}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			c.spoil(w)
			old := w.dial("old", "dancer")
			old.initialize("1")
			server := p.next()
			server.legacy(toolsCaps)
			old.want(`{"jsonrpc":"2.0","id":"1","result":` + legacyHello + `}`)
			old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}`)
			server.survey(`{"tools":[ {"name":"right"}]}`, `{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
			server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
			old.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
			w.close() // waits for what is being written
			got := w.manifest("dancer")
			if page, _ := got.Page("tools/list", ""); string(page) != `{"tools":[ {"name":"right"}]}` || got.Key != w.servers["dancer"].settings.Manifest {
				t.Errorf("kept: %+v", got)
			}
			if c.log != "" && !strings.Contains(log.String(), c.log) {
				t.Errorf("the log does not say %q: %s", c.log, log.String())
			}
		})
	}
}

func (w *world) manifest(instance string) *mcp.Manifest {
	w.t.Helper()
	data, err := w.home.ReadManifest(instance, mcp.MaxManifest)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := mcp.ParseManifest(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A process that was started as its file said before is not what a manifest of
// the file is of: it is not asked for one, and clients are told that what they
// were shown may not be so.
func TestManifestIsOfWhatRuns(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{})
	changed := w.servers["dancer"]
	changed.settings.Spec, changed.settings.Manifest = "another", "another's"
	w.servers["dancer"] = changed // what runs is started as it was
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	kept, err := w.home.ReadManifest("dancer", mcp.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	old := w.legacyClient("old", "2025-11-25", `{}`)
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}`)
	server := p.next()
	server.legacy(toolsCaps)
	server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
	old.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	w.close()
	if data, err := w.home.ReadManifest("dancer", mcp.MaxManifest); err != nil || !bytes.Equal(data, kept) {
		t.Errorf("another manifest is kept: %s, %v", data, err)
	}
}

// Where the process that comes lists something else than its manifest, clients
// are told; where it lists the same, they are not.
func TestListsThatChangedAreTold(t *testing.T) {
	for _, changed := range []bool{true, false} {
		t.Run(fmt.Sprint(changed), func(t *testing.T) {
			w, p := newDemandWorld(t, Settings{}, Options{})
			w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
			old := w.legacyClient("old", "2025-11-25", `{}`)
			young := w.dial("young", "dancer")
			young.say(`{"jsonrpc":"2.0","id":"listen","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + modernMeta + `}}`)
			young.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged",$_}`)
			w.quiet()
			old.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
			server := p.next()
			server.legacy(toolsCaps)
			asked := `{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`
			if changed {
				server.survey(`{"tools":[{"name":"other"}]}`, asked)
				old.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
				young.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed",$_}`)
			} else {
				server.survey(`{"tools":[{"name":"a"}]}`, asked)
			}
			server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
			old.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
			w.close() // what would have been told has been
			for line := range old.lines {
				t.Errorf("old also hears %s", line)
			}
		})
	}
}

// A session that was told what is not so ends, as it does when a process is
// replaced by another kind.
func TestServerThatIsNotItsManifest(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	old := w.legacyClient("old", "2025-11-25", `{}`)
	old.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	p.next().legacy(`{"tools":{},"prompts":{}}`)
	for {
		line, ok := old.hear()
		if !ok {
			break // its connection has ended
		}
		if strings.Contains(line, `"result"`) {
			t.Fatalf("the call was answered: %s", line)
		}
	}
}

// A server of which nothing is known is waited for so long, and no longer: then
// what is true of any server is said, and the truth once it is there.
func TestProvisionalAnswers(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{HelloWait: time.Millisecond, ListWait: time.Millisecond})
	old := w.dial("old", "dancer")
	old.initialize("1")
	old.want(`{"jsonrpc":"2.0","id":"1","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}},"serverInfo":{"name":"dancer","version":"unknown"}}}`)
	old.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}`)
	young := w.dial("young", "dancer")
	young.say(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"d","result":{"capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}},$_"ttlMs":0,"cacheScope":"private",$_}`)
	young.say(`{"jsonrpc":"2.0","id":"l","method":"resources/templates/list","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"l","result":{"resourceTemplates":[],"resultType":"complete","ttlMs":0,"cacheScope":"private",$_}}`)
	server := p.next()
	server.legacy(toolsCaps)
	server.survey(`{"tools":[{"name":"a"}]}`)
	old.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	// The session goes on.
	old.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"a"}}`)
	server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	old.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
}

// Who is patient waits for the server.
func TestPatientClientsWait(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{HelloWait: time.Millisecond, ListWait: time.Millisecond})
	s, err := w.g.server("dancer")
	if err != nil {
		t.Fatal(err)
	}
	type got struct {
		a   answerer
		err error
	}
	greeted := make(chan got, 1)
	go func() {
		a, err := s.greet(t.Context(), &caller{modern: true, patient: true})
		greeted <- got{a, err}
	}()
	p.next().legacy(`{}`)
	if g := <-greeted; g.err != nil || g.a.provisional || g.a.child == nil {
		t.Errorf("greeted by %+v, %v", g.a, g.err)
	}
}

// Fifty first calls start one process.
func TestFirstCallsStartOneProcess(t *testing.T) {
	const calls = 50
	w, p := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	clients := make([]*script, calls)
	for i := range clients {
		clients[i] = w.legacyClient(fmt.Sprint("client ", i), "2025-11-25", `{}`)
	}
	w.quiet()
	for _, c := range clients {
		c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	}
	server := p.next()
	server.legacy(toolsCaps)
	for range calls + 1 {
		line, ok := server.hear()
		if !ok {
			t.Fatal("the server has ended")
		}
		var m struct{ ID, Method string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Method == "tools/list" {
			server.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"tools":[{"name":"a"}]}}`, m.ID))
			continue
		}
		server.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{}}`, m.ID))
	}
	for _, c := range clients {
		c.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
	if st, err := w.m.Status(t.Context(), "dancer"); err != nil || st.Generation != 1 {
		t.Errorf("its process is number %d, %v", st.Generation, err)
	}
}

// A server that its user stopped is started for a client that comes after that,
// though it was greeted by the manifest, and for no other.
func TestStoppedServerAndAManifest(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	var asked []bool
	up := w.g.o.Up
	w.g.o.Up = func(ctx context.Context, name string, fresh bool) error {
		asked = append(asked, fresh)
		if !fresh {
			return berth.ErrNotRunning
		}
		return up(ctx, name, fresh)
	}
	young := w.dial("young", "dancer")
	young.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a",` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":1,"error":$_}`)
	young.say(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","id":"d","result":$_}`)
	young.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a",` + modernMeta + `}}`)
	server := p.next()
	server.legacy(toolsCaps)
	server.survey(`{"tools":[{"name":"a"}]}`, `{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	young.want(`{"jsonrpc":"2.0","id":2,"result":$_}`)
	w.close()
	if len(asked) < 2 || asked[0] || !asked[1] {
		t.Errorf("starts for those that just came: %v", asked)
	}
}

func TestSoManyStartsAtOnce(t *testing.T) {
	h, err := home.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStarts()
		in := make(chan func(), 100)
		enter := func(n int) {
			for i := range n {
				go func() { in <- s.enter(t.Context(), h, fmt.Sprint("s", i)) }()
			}
			synctest.Wait()
		}
		enter(startsMost + 3)
		if len(in) != startsMost {
			t.Fatalf("%d start at once", len(in))
		}
		(<-in)() // one has answered
		synctest.Wait()
		if len(in) != startsMost {
			t.Errorf("%d after one has answered", len(in))
		}
		time.Sleep(startTurn) // under synctest
		synctest.Wait()
		if len(in) != startsMost+2 {
			t.Errorf("%d after the first were late", len(in))
		}
		for range startsMost + 2 {
			(<-in)() // leaving late gives nothing back twice
		}
		enter(startsMost + 3)
		if len(in) != startsMost {
			t.Errorf("%d start at once in the end", len(in))
		}
		for len(in) > 0 {
			(<-in)()
			synctest.Wait()
		}
	})
}

// The servers of a gateway come up so many at a time.
func TestServersTakeTurnsToStart(t *testing.T) {
	const servers = startsMost + 2
	w, p := newPuppetWorld(t, Settings{})
	w.close()
	for i := range servers {
		w.servers[fmt.Sprint("d", i)] = installed{Settings{}, p.spec}
	}
	w.open(Options{})
	w.g.starts.turn = time.Hour
	var clients []*script
	for i := range servers {
		c := w.dial(fmt.Sprint("client of ", i), fmt.Sprint("d", i))
		c.initialize("1")
		clients = append(clients, c)
	}
	var coming []*puppet
	for range startsMost {
		coming = append(coming, p.next())
	}
	if names, err := w.m.Names(); err != nil || len(names) != startsMost {
		t.Errorf("started: %v, %v", names, err)
	}
	for len(coming) > 0 {
		coming[0].legacy(`{}`)
		coming = coming[1:]
		if len(clients)-len(coming) > 0 && p.came < servers {
			coming = append(coming, p.next())
		}
	}
	for _, c := range clients {
		c.want(`{"jsonrpc":"2.0","id":"1","result":$_}`)
	}
}

// A list that changes while the server runs is kept as it becomes.
func TestManifestFollowsTheServer(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{})
	old := w.dial("old", "dancer")
	old.initialize("1")
	server := p.next()
	server.legacy(toolsCaps)
	old.want(initialized)
	server.survey(`{"tools":[]}`)
	for range 3 {
		server.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		old.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	}
	server.survey(`{"tools":[{"name":"new"}]}`)
	// It is asked once for the three, and told nothing but what it said itself.
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"new"}}`)
	server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"new"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	w.close()
	if page, _ := w.manifest("dancer").Page("tools/list", ""); string(page) != `{"tools":[{"name":"new"}]}` {
		t.Errorf("kept: %s", page)
	}
}

// Where each era has a process, each has a manifest, and what the first says
// decides whether there is a second.
func TestManifestsOfBothEras(t *testing.T) {
	modern := func() *mcp.Manifest {
		return &mcp.Manifest{Era: mcp.Modern, Hello: json.RawMessage(modernHello), Lists: map[string][]json.RawMessage{
			"tools/list": {json.RawMessage(`{"tools":[{"name":"modern"}],"resultType":"complete"}`)},
		}}
	}
	lists := func(w *world) (old, young string) {
		t.Helper()
		c := w.legacyClient("old", "2025-11-25", `{}`)
		c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		old, _ = c.hear()
		c = w.dial("young", "dancer")
		c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`)
		young, _ = c.hear()
		w.quiet()
		return old, young
	}
	w, _ := newDemandWorld(t, Settings{Both: true}, Options{})
	w.keep("dancer", modern())
	w.keep("dancer~legacy", legacyManifest(`{"tools":[{"name":"legacy"}]}`))
	if old, young := lists(w); !strings.Contains(old, `"legacy"`) || !strings.Contains(young, `"modern"`) {
		t.Errorf("old sees %s, young sees %s", old, young)
	}
	w, _ = newDemandWorld(t, Settings{Both: true}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"only"}]}`))
	if old, young := lists(w); !strings.Contains(old, `"only"`) || !strings.Contains(young, `"only"`) {
		t.Errorf("old sees %s, young sees %s", old, young)
	}
}

// A session with a process of its own is greeted in time as well, and goes on with
// what its process says.
func TestProvisionalAnswersOfAnOwnProcess(t *testing.T) {
	w, p := newDemandWorld(t, Settings{PerSession: true}, Options{HelloWait: time.Millisecond, ListWait: time.Millisecond})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"of another"}]}`))
	old := w.dial("old", "dancer")
	old.initialize("1")
	old.want(`{"jsonrpc":"2.0","id":"1","result":` + legacyHello + `}`) // of the shared process
	old.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}`)
	server := p.next()
	server.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	server.say(`{"jsonrpc":"2.0","id":"$initialize","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"puppet","version":"2"}}}`)
	server.want(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	old.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	old.say(`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`)
	server.want(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`)
	server.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"own"}]}}`)
	old.want(`{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"own"}]}}`)
}

// A manifest does not speak for a server that the policy does not let start.
func TestPolicyAndAManifest(t *testing.T) {
	w, _ := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	c := w.greet("allowed")
	c.want(initialized)
	policy := filepath.Join(w.m.Dir(), "policy.toml")
	if err := os.WriteFile(policy, []byte("[servers]\ndeny = [\"dancer\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	c.want(`{"jsonrpc":"2.0","id":2,"error":$_}`)
	c = w.greet("denied")
	c.want(`{"jsonrpc":"2.0","id":"1","error":$_}`)
}
