package remote_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/remote"
)

// TestLegacy: the handshake, the session, both forms of an answer, and the end.
func TestLegacy(t *testing.T) {
	url, seen := serve(t, func(w http.ResponseWriter, a asked) {
		later := a.method != "initialize"
		if got := a.Header.Get("Mcp-Session-Id"); (got == "session-1") != later {
			t.Errorf("%s %s: session %q", a.Method, a.method, got)
		}
		if got := a.Header.Get("Mcp-Protocol-Version"); (got == "2025-06-18") != later || got == "2025-11-25" {
			t.Errorf("%s %s: version %q", a.Method, a.method, got)
		}
		if a.Header.Get("X-Own") != "yes" || a.Header.Get("User-Agent") != "berth/test" {
			t.Errorf("%s %s: headers %v", a.Method, a.method, a.Header)
		}
		legacy(func(w http.ResponseWriter, a asked) {
			switch {
			case a.Method == http.MethodGet:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case a.Method == http.MethodDelete:
			case strings.Contains(a.body, `:"json"`):
				answerJSON(w, "{\"jsonrpc\":\"2.0\",\r\n\"x\": 9007199254740993, \"result\":{\"b\":1,\"a\":1.50}, \"id\":\"1\"}\n")
			case a.method == "":
				w.WriteHeader(http.StatusAccepted)
			default:
				events(w, ": hello\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\ndata:\"method\":\"notifications/progress\"}\n\n"+
					"event: other\ndata: {}\n\nid: 7\r\ndata:"+`{"jsonrpc":"2.0","id":"q","method":"ping"}`+"\r\n\r\ndata: "+result("2", "ok")+"\n\n")
			}
		})(w, a)
	})
	l := run(t, url, remote.Options{Header: http.Header{"X-Own": {"yes"}}, UserAgent: "berth/test"})
	l.shake()
	l.send(call("1", "json"))
	l.want(`{"jsonrpc":"2.0",  "x": 9007199254740993, "result":{"b":1,"a":1.50}, "id":"1"} `)
	l.send(call("2", "events"))
	l.want(`{"jsonrpc":"2.0", "method":"notifications/progress"}`)
	l.want(`{"jsonrpc":"2.0","id":"q","method":"ping"}`)
	l.want(result("2", "ok"))
	l.send(`{"jsonrpc":"2.0","id":"q","result":{}}`)
	l.in.Close()
	if err := l.end(); err != nil {
		t.Error(err)
	}
	if got := seen(); got[len(got)-1] != "DELETE" {
		t.Errorf("no farewell: %q", got)
	}
}

// TestInitializedFirst: what comes after notifications/initialized waits for it.
func TestInitializedFirst(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	url, seen := serve(t, func(w http.ResponseWriter, a asked) {
		if a.method == "notifications/initialized" {
			close(arrived)
			<-release
		}
		legacy(func(w http.ResponseWriter, a asked) {
			if a.Method != http.MethodPost {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			answerJSON(w, result(a.id, "x"))
		})(w, a)
	})
	l := run(t, url, remote.Options{})
	l.shake()
	go io.WriteString(l.in, call("1", "x")+"\n")
	<-arrived
	if got := seen(); slices.Contains(got, "POST tools/call") {
		t.Errorf("%q", got)
	}
	close(release)
	l.want(result("1", "x"))
}

// TestResume: a stream that breaks before the answer is taken up behind the last
// event, after the time that the server wants; the request is not made again.
func TestResume(t *testing.T) {
	var calls, resumes atomic.Int32
	var broke atomic.Int64
	url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		last := a.Header.Get("Last-Event-ID")
		switch {
		case a.Method == http.MethodGet && last == "":
			w.WriteHeader(http.StatusMethodNotAllowed)
		case a.Method == http.MethodGet:
			if waited := time.Since(time.Unix(0, broke.Load())); resumes.Load() == 0 && waited < 300*time.Millisecond {
				t.Errorf("it came back after %v", waited)
			}
			switch resumes.Add(1) {
			case 1:
				w.WriteHeader(http.StatusBadGateway)
			case 2: // a priming event, and nothing
				events(w, "id: e3\ndata:\n\n")
			default:
				if last != "e3" {
					t.Errorf("resumed behind %q", last)
				}
				events(w, "id: e4\ndata: "+result("1", "late")+"\n\n")
			}
		case a.method == "tools/call":
			calls.Add(1)
			events(w, "id: e1\nretry: 300\ndata:\n\nid: e2\ndata: "+`{"jsonrpc":"2.0","method":"notifications/x"}`+"\n\ndata: {\"jsonrpc\":")
			broke.Store(time.Now().UnixNano())
		}
	}))
	l := run(t, url, remote.Options{})
	l.shake()
	l.send(call("1", "x"))
	l.want(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	l.want(result("1", "late"))
	if calls.Load() != 1 {
		t.Errorf("it was called %d times", calls.Load())
	}
}

// TestCutOff: an answer that is cut off and cannot be fetched is an error that says
// what is not known, and half an answer is none.
func TestCutOff(t *testing.T) {
	url, seen := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		switch {
		case a.Method == http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case strings.Contains(a.body, "events"):
			events(w, "data: "+result("1", "x")+"\n")
		case strings.Contains(a.body, `:"json"`):
			w.Header().Set("Content-Length", "1000")
			answerJSON(w, result("2", "x")[:20])
		case strings.Contains(a.body, "reset"):
			panic(http.ErrAbortHandler)
		case strings.Contains(a.body, "502"):
			w.WriteHeader(http.StatusBadGateway)
		case strings.Contains(a.body, "429"):
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case strings.Contains(a.body, "202"):
			w.WriteHeader(http.StatusAccepted)
		case strings.Contains(a.body, "html"):
			w.Header().Set("Content-Type", "text/html")
		case strings.Contains(a.body, "other"):
			answerJSON(w, result("nobody", "x"))
		case strings.Contains(a.body, "rpc"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"bad","data":{"n":9007199254740993}}}`)
		}
	}))
	l := run(t, url, remote.Options{})
	l.shake()
	for i, c := range []struct{ what, want string }{
		{"events", "the stream of its answer ended before the answer; whether the request was carried out is not known"},
		{"json", "whether the request was carried out is not known"},
		{"reset", "whether the request was carried out is not known"},
		{"502", "HTTP 502 Bad Gateway; whether the request was carried out is not known"},
		{"429", "HTTP 429 Too Many Requests (Retry-After: 7); the request was not carried out"},
		{"202", "HTTP 202 Accepted without an answer; whether"},
		{"html", "it answers with text/html, not JSON"},
		{"other", "its answer is none to what was asked"},
		{"rpc", `"error":{"code":-32602,"message":"bad","data":{"n":9007199254740993}}`},
	} {
		id := fmt.Sprint(i + 1)
		l.send(call(id, c.what))
		l.wantPart(`"id":"`+id+`"`, c.want)
	}
	l.send(`{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{"cursor":"reset"}}`)
	if got := l.wantPart(`"id":"l"`, `"error"`); strings.Contains(got, "not known") {
		t.Errorf("a list is carried out or not: %s", got)
	}
	n := 0
	for _, s := range seen() {
		if s == "POST tools/call" {
			n++
		}
	}
	if n != 9 {
		t.Errorf("9 calls were made %d times", n)
	}
}

// TestSessionLost: who asked first is told that it was not done, a list is left to
// who asks again, and the run ends.
func TestSessionLost(t *testing.T) {
	for status, body := range map[int]string{404: "", 400: `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`} {
		for _, method := range []string{"tools/call", "tools/list", "notifications/x", "GET"} {
			url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
				if a.Method == http.MethodGet && method != "GET" {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				io.WriteString(w, body)
			}))
			l := run(t, url, remote.Options{})
			l.shake()
			switch method {
			case "tools/call":
				l.send(call("1", "x"))
				l.wantPart(`"id":"1"`, "the server has ended the session; the request was not carried out")
			case "tools/list":
				l.send(`{"jsonrpc":"2.0","id":"1","method":"tools/list"}`)
			case "notifications/x":
				l.send(`{"jsonrpc":"2.0","method":"notifications/x"}`)
			case "GET":
				if status == 400 {
					continue
				}
			}
			var lost *remote.Lost
			if err := l.end(); !errors.As(err, &lost) || !strings.HasSuffix(err.Error(), "/mcp: it has ended the session") {
				t.Errorf("%d to %s: %v", status, method, err)
			}
		}
	}
}

// TestOwnStream: what the server says of itself is heard, also after the stream
// broke, from where it broke.
func TestOwnStream(t *testing.T) {
	var n atomic.Int32
	url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		if a.Method != http.MethodGet {
			return
		}
		switch n.Add(1) {
		case 1:
			events(w, "retry: 10\nid: 1\ndata: "+`{"jsonrpc":"2.0","method":"a"}`+"\n\n")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			if got := a.Header.Get("Last-Event-ID"); got != "1" {
				t.Errorf("resumed behind %q", got)
			}
			events(w, "id: 2\ndata: "+`{"jsonrpc":"2.0","method":"b"}`+"\n\n")
			<-a.Context().Done()
		}
	}))
	l := run(t, url, remote.Options{})
	l.shake()
	l.want(`{"jsonrpc":"2.0","method":"a"}`)
	l.want(`{"jsonrpc":"2.0","method":"b"}`)
	l.in.Close()
	if err := l.end(); err != nil {
		t.Error(err)
	}
	if got := l.logged(); got != "" {
		t.Errorf("logged %s", got)
	}
}

// TestCancelledLegacy: the server is told in words, and nothing more is heard.
func TestCancelledLegacy(t *testing.T) {
	cancelled := make(chan struct{})
	url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		switch {
		case a.Method == http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case a.method == "notifications/cancelled":
			w.WriteHeader(http.StatusAccepted)
			close(cancelled)
		case a.id == "1":
			<-cancelled
			events(w, "data: "+result("1", "too late")+"\n\n")
		default:
			answerJSON(w, result(a.id, "next"))
		}
	}))
	l := run(t, url, remote.Options{})
	l.shake()
	l.send(call("1", "x"))
	l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}`)
	<-cancelled
	l.send(call("2", "x"))
	l.want(result("2", "next"))
}

// TestRefusedHandshake: what is wrong is said in one line.
func TestRefusedHandshake(t *testing.T) {
	for status, want := range map[int]string{
		401: "HTTP 401 Unauthorized", 403: "HTTP 403 Forbidden: not you", 503: "HTTP 503 Service Unavailable",
		404: "HTTP 404 Not Found, and no stream of events by GET either; is that the URL of its MCP endpoint?",
	} {
		url, _ := serve(t, func(w http.ResponseWriter, a asked) {
			if status == 403 {
				http.Error(w, "not you\nat all", status)
				return
			}
			w.WriteHeader(status)
		})
		l := run(t, url, remote.Options{})
		l.send(initialize)
		l.wantPart(`"method":"notifications/message"`, want)
		var failed *remote.Unreachable
		if err := l.end(); !errors.As(err, &failed) || err.Error() != url+": "+want || failed.Status != status {
			t.Errorf("%d: %v", status, err)
		}
	}
	l := run(t, "http://127.0.0.1:1/mcp", remote.Options{})
	l.send(initialize)
	l.wantPart("connection refused")
	if err := l.end(); err == nil || !strings.HasSuffix(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

// TestRedirectInside: a server cannot have its client ask in its user's network.
func TestRedirectInside(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, a asked) {
		http.Redirect(w, a.Request, "https://169.254.169.254/latest", http.StatusTemporaryRedirect)
	})
	l := run(t, url, remote.Options{})
	l.send(initialize)
	l.wantPart("notifications/message")
	var refused *guard.RefusedError
	err := l.end()
	if err == nil || !strings.Contains(err.Error(), "169.254.169.254 is not connected to: the address is link-local") {
		t.Errorf("%v (%v)", err, errors.As(err, &refused))
	}
}

// TestLong: messages of many megabytes pass, in a stream and as a body, and are not
// held in memory.
func TestLong(t *testing.T) {
	const size = 3 << 20
	long := strings.Repeat("x", size)
	url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		switch {
		case a.Method == http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case a.id == "1":
			answerJSON(w, result("1", long))
		default:
			events(w, "data: "+result("2", long)+"\n\n")
		}
	}))
	l := run(t, url, remote.Options{})
	l.shake()
	for _, id := range []string{"1", "2"} {
		l.send(call(id, "x"))
		if got := l.next(); got != result(id, long) {
			t.Errorf("%s: %d bytes, %.100s", id, len(got), got)
		}
	}
}

// TestAuth: who is refused asks how, and tries once more.
func TestAuth(t *testing.T) {
	var tries atomic.Int32
	url, _ := serve(t, legacy(func(w http.ResponseWriter, a asked) {
		if a.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		tries.Add(1)
		if a.Header.Get("Authorization") != "Bearer good" || a.id == "2" {
			w.Header().Set("WWW-Authenticate", `Bearer scope="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answerJSON(w, result(a.id, "in"))
	}))
	l := run(t, url, remote.Options{Auth: &tokens{token: "bad", t: t}})
	l.shake()
	l.send(call("1", "x"))
	l.want(result("1", "in"))
	l.send(call("2", "x"))
	l.wantPart(`"id":"2"`, "HTTP 401 Unauthorized; the request was not carried out")
	if tries.Load() != 4 {
		t.Errorf("%d tries", tries.Load())
	}
}
