//go:build linux

package gateway

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

func TestIdleIn(t *testing.T) {
	const m = time.Minute
	for _, c := range []struct {
		busy      bool
		used, now time.Duration
		want      time.Duration
	}{
		{false, 0, 10 * m, 0},
		{false, 1, 10 * m, 1},
		{false, 4 * m, 10 * m, 4 * m},
		{false, 10 * m, 10 * m, 10 * m},
		{false, 0, 11 * m, 0},
		{true, 0, 11 * m, 10 * m},
	} {
		if got := idleIn(c.busy, c.used, c.now, 10*m); got != c.want {
			t.Errorf("busy %v, used at %v, now %v: in %v, want %v", c.busy, c.used, c.now, got, c.want)
		}
	}
}

// comeUp has the client call the server, which comes up and lists its tool, and
// returns its process.
func comeUp(p *puppets, c *script) *puppet {
	p.t.Helper()
	c.say(`{"jsonrpc":"2.0","id":"up","method":"tools/call","params":{"name":"a"}}`)
	server := p.next()
	server.legacy(toolsCaps)
	server.survey(`{"tools":[{"name":"a"}]}`, `{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	delete(server.names, `"$call"`)
	c.want(`{"jsonrpc":"2.0","id":"up","result":{}}`)
	return server
}

// A server that nobody calls is stopped, though clients listen; the next call has
// another process, and nobody notices. It is no restart and no failure.
func TestIdleServerIsPutToRest(t *testing.T) {
	w, p := newDemandWorld(t, Settings{IdleTimeout: 20 * time.Millisecond}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	old := w.legacyClient("old", "2025-11-25", `{}`)
	young := w.dial("young", "dancer")
	young.say(`{"jsonrpc":"2.0","id":"listen","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + modernMeta + `}}`)
	young.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged",$_}`)
	for range 3 {
		server := comeUp(p, old)
		if line, ok := server.hear(); ok {
			t.Fatalf("the server was to be stopped, and hears %s", line)
		}
	}
	old.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	old.want(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}`)
	s, err := w.g.server("dancer")
	if err != nil {
		t.Fatal(err)
	}
	sl := s.slots[""]
	if err := s.free(t.Context(), sl); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	if sl.coming != nil || sl.child != nil {
		t.Error("it is started again, and nobody calls it")
	}
	s.mu.Unlock()
	w.close()
	st, err := w.m.Status(t.Context(), "dancer")
	if err != nil || st.Status != berth.Stopped || !st.AtRest || st.Restarts != 0 || st.Error != "" || st.Generation != 3 {
		t.Errorf("status: %+v, %v", st, err)
	}
	stops := 0
	for r, err := range w.home.Audit(home.AuditFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Action == berth.ActionStop && strings.Contains(r.Detail, "nobody called it for 20ms") {
			stops++
		}
		if r.Action == berth.ActionAutoRestart || r.Action == berth.ActionExit {
			t.Errorf("on record: %+v", r)
		}
	}
	if stops != 3 {
		t.Errorf("%d stops are on record", stops)
	}
	for line := range young.lines {
		t.Errorf("young hears %s", line)
	}
}

// What needs the process keeps it.
func TestServerInUseIsNotPutToRest(t *testing.T) {
	w, p := newDemandWorld(t, Settings{}, Options{})
	w.keep("dancer", legacyManifest(`{"tools":[{"name":"a"}]}`))
	old := w.legacyClient("old", "2025-11-25", `{}`)
	server := comeUp(p, old)
	s, err := w.g.server("dancer")
	if err != nil {
		t.Fatal(err)
	}
	c := s.childOf(&caller{modern: true})
	rests := func() bool {
		_, release := s.mayRest(c, 1) // a nanosecond
		if release == nil {
			return false
		}
		release()
		s.mu.Lock()
		c.slot.child, c.slot.rested, c.resting = c, false, false
		s.mu.Unlock()
		return true
	}
	compared := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.slot.complete
	}
	for begun := time.Now(); !compared(); runtime.Gosched() {
		if time.Since(begun) > patience {
			t.Fatal("its lists are not known")
		}
	}
	if !rests() {
		t.Error("nobody uses it")
	}
	old.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"a"}}`)
	if rests() {
		t.Error("it is called")
	}
	server.say(`{"jsonrpc":"2.0","id":"$call","result":{}}`)
	old.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	old.say(`{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:b"}}`)
	server.want(`{"jsonrpc":"2.0","id":"$sub","method":"resources/subscribe","params":{"uri":"a:b"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$sub","result":{}}`)
	old.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	if rests() {
		t.Error("a client follows a resource")
	}
	old.say(`{"jsonrpc":"2.0","id":3,"method":"resources/unsubscribe","params":{"uri":"a:b"}}`)
	old.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
	server.want(`{"jsonrpc":"2.0","id":"$unsub","method":"resources/unsubscribe","params":{"uri":"a:b"}}`)
	if !rests() {
		t.Error("nobody follows a resource any more")
	}
	if wait, release := s.mayRest(c, time.Hour); release != nil || wait <= 0 || wait > time.Hour {
		t.Errorf("it was used just now: in %v", wait)
	}
	c.makesTasks.Store(true)
	if rests() {
		t.Error("it may have a task to do")
	}
}

// A call comes to the process that is there or to the next, whenever it comes.
func TestCallsAcrossRests(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	w.close()
	w.servers["echo"] = installed{Settings{IdleTimeout: 1, Manifest: "k", Spec: home.SpecDigest(specOf(roleDemo, nil))}, specOf(roleDemo, nil)}
	w.open(Options{})
	c := w.dial("client", "echo")
	c.initialize("1")
	c.want(`{"jsonrpc":"2.0","id":"1","result":$_}`)
	for begun := time.Now(); ; {
		c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"}}}`)
		line, ok := c.hear()
		for ok && strings.Contains(line, "list_changed") {
			line, ok = c.hear()
		}
		if !ok || !strings.Contains(line, `"result"`) {
			t.Fatalf("heard %s", line)
		}
		st, err := w.m.Status(t.Context(), "echo")
		if err != nil || time.Since(begun) > patience {
			t.Fatalf("it was put to rest %d times, %v", st.Generation, err)
		}
		if st.Generation > 20 {
			return
		}
	}
}
