//go:build linux

package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

const visitCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":"p"}}}`

// open makes a request whose response the test ends when it likes, as a client
// whose connection breaks.
func (v *visitor) open(method, body string, headers ...string) (*http.Response, context.CancelFunc) {
	v.t.Helper()
	ctx, breaks := context.WithCancel(context.Background())
	v.t.Cleanup(breaks)
	late := time.AfterFunc(patience, breaks)
	v.t.Cleanup(func() { late.Stop() })
	r, err := http.NewRequestWithContext(ctx, method, v.url+"/servers/dancer/mcp", strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", bothKinds)
	r.Header.Set("Content-Type", "application/json")
	all := v.headers(headers)
	for i := 0; i < len(all); i += 2 {
		r.Header.Set(all[i], all[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 {
		v.t.Fatalf("%s %s: %s", method, body, response.Status)
	}
	return response, breaks
}

// A legacy client whose connection breaks in the middle of a call gets the rest by
// the id of the last event that it has, and the call goes on: "disconnection SHOULD
// NOT be interpreted as the client cancelling its request" (MCP 2025-11-25,
// transports).
func TestCallOutlivesItsConnection(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	var v *visitor
	p := meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-11-25") })
	type opened struct {
		r      *http.Response
		breaks context.CancelFunc
	}
	came := make(chan opened, 1)
	go func() {
		r, breaks := v.open(http.MethodPost, visitCall)
		came <- opened{r, breaks}
	}()
	p.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"t","_meta":{"progressToken":"$token"}}}`)
	p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":1}}`)
	c := <-came
	id := w.events(c.r).want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`)
	c.breaks()

	// It hears of no cancellation: the next that it hears is this.
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		v.post(202, `{"jsonrpc":"2.0","method":"notifications/x"}`)
	}()
	p.want(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	<-taken
	p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":2}}`)
	p.say(`{"jsonrpc":"2.0","id":"$call","result":{"content":[]}}`)

	for range 2 { // as often as it likes
		r, _ := v.open(http.MethodGet, "", headerLast, id)
		e := w.events(r)
		e.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":2}}`)
		e.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
		e.wantEnd()
	}
	v.must(404, http.MethodGet, "/servers/dancer/mcp", "", v.headers([]string{headerLast, "nonsense"})...)
}

// What a session is told that belongs to no request waits for it in the same way.
func TestStreamOutlivesItsConnection(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	var v *visitor
	p := meet(ps, `{"tools":{"listChanged":true},"prompts":{"listChanged":true}}`, func() { v = w.visit("2025-06-18") })
	r, breaks := v.open(http.MethodGet, "")
	p.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	id := w.events(r).want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	breaks()
	p.say(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
	r, _ = v.open(http.MethodGet, "", headerLast, id)
	w.events(r).want(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
}

// A client ends its session; then there is none, and what it had open ends.
func TestSessionIsDeleted(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	var v, other *visitor
	p := meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-11-25") })
	other = w.visit("2025-11-25")
	r, _ := v.open(http.MethodGet, "")
	stream := w.events(r)
	answer := make(chan *http.Response, 1)
	go func() {
		r, _ := w.send(http.MethodPost, "/servers/dancer/mcp", visitCall, v.headers(nil)...)
		answer <- r
	}()
	p.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"t","_meta":{"progressToken":"$token"}}}`)

	w.must(204, http.MethodDelete, "/servers/dancer/mcp", "", v.headers(nil)...)
	p.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"$call","reason":$_}}`)
	for {
		if _, err := stream.next(); err != nil {
			break // that it has ended is all that is asked: patience bounds it
		}
	}
	if r := <-answer; r != nil {
		r.Body.Close()
	}
	w.must(404, http.MethodDelete, "/servers/dancer/mcp", "", v.headers(nil)...)
	w.must(404, http.MethodGet, "/servers/dancer/mcp", "", v.headers(nil)...)
	v.post(404, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if got := w.read(other.post(200, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)); got != `{"jsonrpc":"2.0","id":2,"result":{}}` {
		t.Errorf("another session is answered %s", got)
	}
}

// So it is with a session that nobody has used for long.
func TestSessionIsForgotten(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	var v *visitor
	meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-11-25") })
	w.g.sweep(time.Now().Add(sessionIdle - time.Minute))
	v.post(200, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w.g.sweep(time.Now().Add(sessionIdle + time.Minute))
	v.post(404, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if again := w.visit("2025-11-25"); again.session == v.session {
		t.Error("a session has the id of one before")
	}
}

// 2025-03-26 has batches, which are answered as one array; from 2025-06-18 on there
// are none.
func TestBatchesByHTTP(t *testing.T) {
	const batch = `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"one"}},` +
		`{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"ping"},` +
		`{"jsonrpc":"2.0","id":"three","method":"tools/call","params":{"name":"three"}}]`
	w, ps := newPuppetWorld(t, Settings{})
	var v *visitor
	p := meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-03-26") })
	answer := make(chan string, 1)
	go func() { answer <- w.read(v.post(200, batch)) }()
	p.wantAll(
		`{"jsonrpc":"2.0","method":"notifications/x"}`,
		`{"jsonrpc":"2.0","id":"$one","method":"tools/call","params":{"name":"one"}}`,
		`{"jsonrpc":"2.0","id":"$three","method":"tools/call","params":{"name":"three"}}`)
	p.say(`{"jsonrpc":"2.0","id":"$three","error":{"code":-32000,"message":"no"}}`)
	p.say(`{"jsonrpc":"2.0","id":"$one","result":{"content":[],"n":9007199254740993}}`)
	const want = `[{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":9007199254740993}},` +
		`{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":"three","error":{"code":-32000,"message":"no"}}]`
	if got := <-answer; got != want {
		t.Errorf("the batch is answered\n%s, not\n%s", got, want)
	}
	v.post(202, `[{"jsonrpc":"2.0","method":"notifications/y"}]`)
	p.want(`{"jsonrpc":"2.0","method":"notifications/y"}`)
	for _, bad := range []string{`[]`, `[1]`, `[[]]`, `[{"jsonrpc":"2.0","method":"notifications/z"},{}]`} {
		v.post(400, bad)
	}
	for _, version := range []string{"2025-06-18", "2025-11-25"} {
		w.visit(version).post(400, batch)
	}
	p.say(`{"jsonrpc":"2.0","id":"p","method":"ping"}`)
	p.want(`{"jsonrpc":"2.0","id":"p","result":{}}`) // and heard nothing of all that
}

// A modern client that leaves cancels what it asked for: there is nothing by which
// it could come back.
func TestModernClientLeaves(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t",` + modernMeta + `}}`
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/servers/dancer/mcp", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		for name, value := range map[string]string{"Accept": bothKinds, "Content-Type": "application/json", headerVersion: "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "t"} {
			r.Header.Set(name, value)
		}
		if r, err := http.DefaultClient.Do(r); err == nil {
			r.Body.Close()
		}
	}()
	p := ps.next()
	p.legacy(`{"tools":{}}`)
	for {
		line, ok := p.hear()
		if !ok {
			t.Fatal("the server ended")
		}
		if p.matches(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":$_}`, line) {
			break
		}
		// The gateway asks for the schema of the tool first, for its headers.
		if !p.matches(`{"jsonrpc":"2.0","id":"$list","method":"tools/list"}`, line) && !p.matches(`{"jsonrpc":"2.0","id":"$list","method":"tools/list","params":$_}`, line) {
			t.Fatalf("the server is sent %s", line)
		}
		p.say(`{"jsonrpc":"2.0","id":"$list","result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}}`)
	}
	leave()
	p.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"$call","reason":$_}}`)
	<-gone
}
