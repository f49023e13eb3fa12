//go:build linux

package gateway

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// tooMuch is more than a message may have that is taken into memory.
var tooMuch = strings.Repeat("x", longMost)

// narrowGateway has room for little in files.
func narrowGateway(t *testing.T) *Gateway {
	t.Helper()
	g := bareGateway(t)
	g.spool.Close()
	g.spool = spool.New(100_000, g.o.Home.Scratch)
	return g
}

// A client's long message that cannot be kept, or would have to be in memory, is
// refused with the id of its request; an answer that is refused becomes an error, for
// who asked waits for one.
func TestLongMessageIsRefused(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	call := `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"t","arguments":{"x":"` + long + `"}}}`
	answer := `{"jsonrpc":"2.0","id":"s-9","result":{"content":{"text":"`
	for _, tt := range []struct {
		name, message string
		narrow        bool
		id            string
		code          int64 // of the refusal, 0: there is none
		text          string
		line          string // how what is passed on begins
	}{
		{"a call", call, true, "9", codeBusy, "try again later", ""},
		{"a call whose id comes last", `{"method":"tools/call","params":{"arguments":{"x":"` + long + `"}},"jsonrpc":"2.0","id":"z"}`, true, `"z"`, codeBusy, "try again later", ""},
		{"a notification", `{"jsonrpc":"2.0","method":"notifications/x","params":{"x":"` + long + `"}}`, true, "", codeBusy, "try again later", ""},
		{"a batch", `[{"jsonrpc":"2.0","id":9,"method":"x","params":{"x":"` + long + `"}}]`, true, "", codeBusy, "try again later", ""},
		{"an answer", answer + long + `"}}}`, true, "", 0, "", `{"jsonrpc":"2.0","id":"s-9","error":{"code":-32603,"message":"the client's answer has 200061 bytes and was not taken: `},
		{"a call that fits", call, false, "", 0, "", `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"t","arguments":`},
		{"a handshake that fits", `{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"x":"` + long + `"}}`, false, "", 0, "", `{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"x":"xxx`},
		{"a handshake", `{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"x":"` + tooMuch + `"}}`, false, "9", jsonrpc.CodeInvalidRequest, "may have 16777216 bytes, not 16777280", ""},
		{"a call with a long name", `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"` + tooMuch + `"}}`, false, "9", jsonrpc.CodeInvalidRequest, "may have 16777216 bytes", ""},
		{"a long notification", `{"jsonrpc":"2.0","method":"notifications/x","params":{"x":"` + tooMuch + `"}}`, false, "", jsonrpc.CodeInvalidRequest, "may have 16777216 bytes", ""},
		{"a long batch", `[{"jsonrpc":"2.0","id":9,"method":"x","params":{"x":"` + tooMuch + `"}}]`, false, "", jsonrpc.CodeInvalidRequest, "may have 16777216 bytes", ""},
		{"a long answer", answer + tooMuch + `"}}}`, false, "", 0, "", `{"jsonrpc":"2.0","id":"s-9","error":{"code":-32603,"message":"the client's answer has 16777277 bytes and was not taken: `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := bareGateway(t)
			if tt.narrow {
				g = narrowGateway(t)
			}
			var id []byte
			var refused *jsonrpc.Error
			l := g.longIn(func(of []byte, e *jsonrpc.Error) { id, refused = of, e })
			for rest := tt.message; rest != ""; {
				n := min(len(rest), 64<<10)
				_, _ = l.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			line := l.Finish()
			if !strings.HasPrefix(string(line), tt.line) || tt.line == "" && line != nil {
				t.Errorf("what is passed on is %.200q", line)
			}
			switch {
			case tt.code == 0 && refused != nil:
				t.Errorf("it is refused: %v", refused)
			case tt.code != 0 && (refused == nil || refused.Code != tt.code || !strings.Contains(refused.Message, tt.text) || string(id) != tt.id):
				t.Errorf("the refusal of %q is %+v", id, refused)
			}
			g.spool.Release(line)
			if g.spool.Used() != 0 {
				t.Errorf("%d bytes are kept", g.spool.Used())
			}
		})
	}
}

// A server's long answer that cannot be kept becomes an error that says what was done;
// what is no answer is dropped, and counted.
func TestLongLineOfAServerIsRefused(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, tt := range []struct {
		name, line string
		narrow     bool
		want       string
	}{
		{"an answer", `{"result":{"x":"` + long + `"},"jsonrpc":"2.0","id":"g1-2"}`, true,
			`{"jsonrpc":"2.0","id":"g1-2","error":{"code":-32603,"message":"the server's answer has 200047 bytes and could not be kept until the client reads it: `},
		{"a notification", `{"jsonrpc":"2.0","method":"notifications/x","params":{"x":"` + long + `"}}`, true, ""},
		{"a long question", `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"x":"` + tooMuch + `"}}`, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := bareGateway(t)
			if tt.narrow {
				g = narrowGateway(t)
			}
			l := g.longLine("s", "b1-")
			_, _ = l.Write([]byte(tt.line))
			line := l.Finish()
			if !strings.HasPrefix(string(line), tt.want) || tt.want == "" && line != nil {
				t.Errorf("what is passed on is %.200q", line)
			}
			if dropped := g.counts.long.Load(); (dropped != 0) != (tt.want == "") {
				t.Errorf("%d are counted", dropped)
			}
			if g.spool.Used() != 0 {
				t.Errorf("%d bytes are kept", g.spool.Used())
			}
		})
	}
}

// Arguments that a header repeats are compared with it, however long the others are,
// up to what may be in memory.
func TestHeaderOfALongArgument(t *testing.T) {
	g := bareGateway(t)
	s := bareServer(t, g)
	m := newMemory(t, s, `{"tools":{}}`)
	m.answers = true
	m.child.tools = map[string]toolFacts{"t": {schema: []byte(`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"x":{"type":"string"}}}`)}}
	for _, tt := range []struct {
		name, header string
		long         int
		status       int
		code         int64 // 0: the call is made
	}{
		{"the same", "eu", 2 << 20, http.StatusOK, 0},
		{"another", "us", 2 << 20, http.StatusBadRequest, jsonrpc.CodeHeaderMismatch},
		{"none", "", 2 << 20, http.StatusBadRequest, jsonrpc.CodeHeaderMismatch},
		{"too long to compare", "eu", longMost, http.StatusBadRequest, jsonrpc.CodeInvalidParams},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":"` + tooMuch[:tt.long] + `","region":"eu"},` + modernMeta + `}}`
			r := httptest.NewRequest(http.MethodPost, "http://localhost/servers/s/mcp", strings.NewReader(body))
			r = r.WithContext(withCaller(t.Context(), Caller{Principal: "p"}))
			r.Header = http.Header{"Content-Type": {"application/json"}, headerVersion: {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"t"}}
			if tt.header != "" {
				r.Header.Set("Mcp-Param-Region", tt.header)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			answer, err := jsonrpc.Parse(w.Body.Bytes())
			if err != nil || w.Code != tt.status || string(answer.ID) != "1" || tt.code != 0 && jsonrpc.DecodeError(answer.Error).Code != tt.code {
				t.Errorf("it is answered %d %s", w.Code, w.Body)
			}
			heard := m.heard()
			if want := strconv.Quote(tooMuch[:tt.long]); (tt.code == 0) != strings.Contains(heard, want) {
				t.Errorf("the server hears %.200q", heard)
			}
			if g.spool.Used() != 0 {
				t.Errorf("%d bytes are kept", g.spool.Used())
			}
		})
	}
}
