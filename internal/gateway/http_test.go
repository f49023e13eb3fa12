//go:build linux

package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// The _meta of modern requests, and their headers.
const (
	modernMeta   = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	bothKinds    = "application/json, text/event-stream"
	initialize   = `{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"%s","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	serverInfo   = `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"puppet","version":"1"}}`
	streamOfThat = "text/event-stream"
)

// send makes one request at a path of the gateway. Headers come in pairs; one
// with the value "-" is left out.
func (w *world) send(method, path, body string, headers ...string) (*http.Response, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Accept", bothKinds)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		switch name, value := headers[i], headers[i+1]; {
		case value == "-":
			r.Header.Del(name)
		case name == "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	return http.DefaultClient.Do(r)
}

// must is send with a response of that status.
func (w *world) must(status int, method, path, body string, headers ...string) *http.Response {
	w.t.Helper()
	r, err := w.send(method, path, body, headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Body.Close() })
	if r.StatusCode != status {
		text, _ := io.ReadAll(r.Body)
		w.t.Fatalf("%s %s %.200s: %s, not %d: %s", method, path, body, r.Status, status, text)
	}
	return r
}

// read returns all of a body.
func (w *world) read(r *http.Response) string {
	w.t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// visitor is a legacy client by HTTP.
type visitor struct {
	*world
	session string
	version string
}

// visit opens a session.
func (w *world) visit(version string) *visitor {
	w.t.Helper()
	r := w.must(200, http.MethodPost, "/servers/dancer/mcp", strings.Replace(initialize, "%s", version, 1))
	v := &visitor{w, r.Header.Get(headerSession), version}
	if body := w.read(r); v.session == "" || !strings.Contains(body, `"protocolVersion":"`+version+`"`) {
		w.t.Fatalf("session %q: %s", v.session, body)
	}
	return v
}

func (v *visitor) headers(more []string) []string {
	return append([]string{headerSession, v.session, headerVersion, v.version}, more...)
}

func (v *visitor) post(status int, body string, headers ...string) *http.Response {
	v.t.Helper()
	return v.must(status, http.MethodPost, "/servers/dancer/mcp", body, v.headers(headers)...)
}

// events reads a stream as the specification of server-sent events has it: a line
// ends with CR, LF or both.
type events struct {
	t testing.TB
	r *bufio.Reader
}

func (w *world) events(r *http.Response) *events {
	w.t.Helper()
	if kind := r.Header.Get("Content-Type"); kind != streamOfThat || r.Header.Get("X-Accel-Buffering") != "no" {
		w.t.Fatalf("the response is of type %q: %v", kind, r.Header)
	}
	return &events{w.t, bufio.NewReaderSize(r.Body, 1<<20)}
}

type sse struct{ id, kind, data string }

func (e *events) line() (string, error) {
	var line []byte
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			return "", err
		}
		switch b {
		case '\r':
			if next, err := e.r.Peek(1); err == nil && next[0] == '\n' {
				_, _ = e.r.ReadByte()
			}
			return string(line), nil
		case '\n':
			return string(line), nil
		}
		line = append(line, b)
	}
}

// next returns the next event that has data or an id.
func (e *events) next() (sse, error) {
	var ev sse
	var data []string
	for {
		line, err := e.line()
		if err != nil {
			return ev, err
		}
		if line == "" {
			if data != nil || ev.id != "" {
				ev.data = strings.Join(data, "\n")
				return ev, nil
			}
			ev = sse{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			ev.id = value
		case "event":
			ev.kind = value
		case "data":
			data = append(data, value)
		case "": // a comment
		default:
			e.t.Fatalf("a line of a stream of events: %q", line)
		}
	}
}

// want fails unless the next event holds this message; it returns its id.
func (e *events) want(data string) (id string) {
	e.t.Helper()
	for {
		ev, err := e.next()
		if err != nil {
			e.t.Fatalf("the stream ended with %v before %s", err, data)
		}
		if ev.data == "" {
			continue // it begins with an id only
		}
		if !(&script{names: map[string]string{}}).matches(data, ev.data) || ev.kind != "message" {
			e.t.Fatalf("the event %+v\nis not %s", ev, data)
		}
		return ev.id
	}
}

// wantEnd fails unless the stream has ended, in order.
func (e *events) wantEnd() {
	e.t.Helper()
	if ev, err := e.next(); !errors.Is(err, io.EOF) {
		e.t.Fatalf("the stream goes on with %+v, %v", ev, err)
	}
}

// meet has the process of a world's puppet come up for somebody who needs it.
func meet(p *puppets, capabilities string, need func()) *puppet {
	p.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		need()
	}()
	puppet := p.next()
	puppet.legacy(capabilities)
	<-done
	return puppet
}

// TestBodiesAreOneLine: a body may have line breaks between its tokens, a server's
// stdin has a message on each line.
func TestBodiesAreOneLine(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	var v *visitor
	p := meet(ps, `{"tools":{}}`, func() { v = w.visit("2025-11-25") })
	answer := make(chan string, 1)
	go func() {
		answer <- w.read(v.post(200, "{\r\n\"jsonrpc\": \"2.0\",\n \"id\":\r1, \"method\": \"tools/call\",\n\t\"params\": {\n\"name\": \"t\"\n}\n}\n"))
	}()
	p.want("{  \"jsonrpc\": \"2.0\",  \"id\": \"$one\", \"method\": \"tools/call\", \t\"params\": { \"name\": \"t\" } } ")
	// A server's line may hold a CR between its tokens, which ends a line of events.
	p.say("{\"jsonrpc\":\"2.0\",\r\"id\":\"$one\",\r\"result\":{\r}\r}")
	if got := <-answer; got != "{\"jsonrpc\":\"2.0\",\r\"id\":1,\r\"result\":{\r}\r}" {
		t.Errorf("%q", got)
	}
	go func() {
		v.post(202, "{\"jsonrpc\":\"2.0\",\n\"x\":1,\"method\":\"notifications/x\"}")
		answer <- ""
	}()
	p.want(`{"jsonrpc":"2.0", "x":1,"method":"notifications/x"}`)
	<-answer

	stream := make(chan *events, 1)
	go func() {
		stream <- w.events(v.post(200, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t"}}`, "Accept", streamOfThat))
	}()
	p.want(`{"jsonrpc":"2.0","id":"$two","method":"tools/call","params":{"name":"t"}}`)
	p.say("{\"jsonrpc\":\"2.0\",\r\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"a\\r\\nb\"\r}}")
	p.say("{\"jsonrpc\":\"2.0\",\r\"id\":\"$two\",\"result\":{}}")
	e := <-stream
	e.want(`{"jsonrpc":"2.0", "method":"notifications/message","params":{"level":"info","data":"a\r\nb" }}`)
	e.want(`{"jsonrpc":"2.0", "id":2,"result":{}}`)
	e.wantEnd()
}

// TestAnswersToNothing: what could not be read is answered without an id, as MCP
// has it since 2025-11-25; to older clients of lines it is null.
func TestAnswersToNothing(t *testing.T) {
	w, ps := newPuppetWorld(t, Settings{})
	for _, body := range []string{"{", "", "nonsense", `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","id":1,"method":"x"}`, `[`, `"x"`} {
		for _, version := range []string{"-", "2026-07-28"} {
			text := w.read(w.must(400, http.MethodPost, "/servers/dancer/mcp", body, headerVersion, version))
			m, err := jsonrpc.Parse([]byte(text))
			if err != nil || m.Kind != jsonrpc.ErrorResponse || m.ID != nil {
				t.Errorf("%q is answered %s: %v", body, text, err)
			}
		}
	}
	c := w.dial("a modern client", "dancer")
	c.say("{")
	c.want(`{"jsonrpc":"2.0","error":$_}`)
	var old *script
	meet(ps, `{}`, func() { old = w.legacyClient("an old client", "2025-06-18", "{}") })
	old.say("{")
	old.want(`{"jsonrpc":"2.0","id":null,"error":$_}`)
	old.say("[]")
	old.want(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"this revision of MCP has no batches"}}`)
}

// hold opens a connection that says what it is told, and returns it.
func (w *world) hold(text string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	return conn
}
