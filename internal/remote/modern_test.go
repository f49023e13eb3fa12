package remote_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/remote"
)

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// ask is a request of the modern era.
func ask(id, method, params string) string {
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":%q,"params":{%s%s}}`, id, method, params, meta)
}

const schema = `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}`

// modern checks the headers of each POST as a server of the era has to.
func modern(t *testing.T, rest func(w http.ResponseWriter, a asked)) func(w http.ResponseWriter, a asked) {
	return func(w http.ResponseWriter, a asked) {
		m, err := jsonrpc.Parse([]byte(a.body))
		if err != nil || a.Method != http.MethodPost {
			t.Errorf("%s %s: %v", a.Method, a.body, err)
			return
		}
		if e := bridge.CheckHeaders(a.Header, m, func(string) []byte { return []byte(schema) }); e != nil {
			t.Errorf("%s: %v", a.body, e)
		}
		if a.Header.Get("Mcp-Session-Id") != "" {
			t.Error("there is a session")
		}
		rest(w, a)
	}
}

// TestModern: headers say what messages say, those that a tool wants among them, as
// its list has said; an answer of HTTP that is one of JSON-RPC is passed.
func TestModern(t *testing.T) {
	url, seen := serve(t, modern(t, func(w http.ResponseWriter, a asked) {
		w.Header().Set("Mcp-Session-Id", "not of this era")
		switch {
		case a.id == "long":
			answerJSON(w, fmt.Sprintf(`{"jsonrpc":"2.0","result":{"tools":[{"name":"x","description":%q,"inputSchema":%s}]},"id":"long"}`, strings.Repeat("d", 2<<20), schema))
		case a.method == "tools/list":
			answerJSON(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"tools":[{"name":"x","inputSchema":%s}]}}`, a.id, schema))
		case a.method == "tools/call":
			answerJSON(w, result(a.id, a.Header.Get("Mcp-Param-Region")))
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"jsonrpc":"2.0","id":"`+a.id+`","error":{"code":-32601,"message":"no","new":1}}`)
		}
	}))
	for _, list := range []string{"l", "long"} {
		l := run(t, url, remote.Options{})
		l.send(ask(list, "tools/list", ""))
		l.wantPart(`"inputSchema":` + schema)
		l.send(ask("1", "tools/call", `"name":"x","arguments":{"region":"eu"}`))
		l.want(result("1", "eu"))
		l.send(ask("2", "what/ever", ""))
		l.want(`{"jsonrpc":"2.0","id":"2","error":{"code":-32601,"message":"no","new":1}}`)
		l.in.Close()
		if err := l.end(); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(seen(), " "); strings.Contains(got, "GET") || strings.Contains(got, "DELETE") {
		t.Errorf("%s", got)
	}
}

// TestCancelledModern: the end of the stream is all that the server is told.
func TestCancelledModern(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	url, seen := serve(t, modern(t, func(w http.ResponseWriter, a asked) {
		events(w, "data: "+`{"jsonrpc":"2.0","method":"notifications/progress"}`+"\n\n")
		close(begun)
		<-a.Context().Done()
		close(gone)
	}))
	l := run(t, url, remote.Options{})
	l.send(ask("1", "tools/call", `"name":"y"`))
	l.wantPart("progress")
	<-begun
	l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}`)
	<-gone
	if got := seen(); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// TestLostModern: what was asked by a stream that broke is lost, and not asked
// again, but that news are.
func TestLostModern(t *testing.T) {
	listens := 0
	url, seen := serve(t, modern(t, func(w http.ResponseWriter, a asked) {
		if a.method == "tools/call" {
			events(w, "id: 1\ndata: {}\n\n")
			return
		}
		if listens++; listens == 1 {
			events(w, "retry: 1\ndata: "+`{"jsonrpc":"2.0","method":"first"}`+"\n\n")
			return
		}
		events(w, "data: "+`{"jsonrpc":"2.0","method":"second"}`+"\n\n"+"data: "+result(a.id, "end")+"\n\n")
	}))
	l := run(t, url, remote.Options{})
	l.send(ask("1", "tools/call", `"name":"y"`))
	l.wantPart(`"id":"1"`, "whether the request was carried out is not known")
	l.send(ask("2", "subscriptions/listen", ""))
	l.want(`{"jsonrpc":"2.0","method":"first"}`)
	l.want(`{"jsonrpc":"2.0","method":"second"}`)
	l.want(result("2", "end"))
	if got := strings.Join(seen(), ", "); got != "POST tools/call, POST subscriptions/listen, POST subscriptions/listen" {
		t.Error(got)
	}
}

// TestProbe: a server that does not know the question is one of before; one that
// cannot be reached is none of any era.
func TestProbe(t *testing.T) {
	for status, want := range map[int]string{400: `"error"`, 404: `"error"`, 405: `"error"`, 502: "notifications/message", 401: "notifications/message"} {
		url, _ := serve(t, func(w http.ResponseWriter, a asked) { w.WriteHeader(status) })
		l := run(t, url, remote.Options{})
		l.send(ask("1", "server/discover", ""))
		l.wantPart(want)
	}
}
