//go:build linux

package gateway

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// FuzzEdge: whatever comes by HTTP, the gateway answers, in words of HTTP and MCP,
// and goes on.
func FuzzEdge(f *testing.F) {
	for _, c := range [][4]string{
		{"POST", "/servers/s/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}`},
		{"POST", "/servers/s/mcp", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: =?base64?dA==?=", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t",` + modernMeta + `}}`},
		{"POST", "/servers/s/mcp", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: x\nMcp-Param-A: 1", `{"jsonrpc":"2.0","id":1,"method":"x","params":{` + modernMeta + `,"inputResponses":{},"requestState":"AAAA"}}`},
		{"POST", "/servers/s/mcp", "Mcp-Session-Id: SESSION", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"tools/list"}]`},
		{"POST", "/servers/s/mcp", "Mcp-Session-Id: SESSION", `{"jsonrpc":"2.0","id":"x","result":{}}`},
		{"POST", "/servers/s/mcp", "Mcp-Session-Id: SESSION\nAccept: text/event-stream", "{\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"tools/call\"}"},
		{"GET", "/servers/s/mcp", "Mcp-Session-Id: SESSION\nLast-Event-ID: g.1.-1", ""},
		{"GET", "/servers/s/sse", "", ""},
		{"POST", "/servers/s/messages?sessionId=x", "", "{}"},
		{"GET", "/servers/s/lines", "Upgrade: mcp-lines\nConnection: Upgrade", ""},
		{"DELETE", "/servers/s/mcp", "Mcp-Session-Id: SESSION", ""},
		{"OPTIONS", "/", "Origin: https://page.example\nAccess-Control-Request-Method: POST", ""},
	} {
		f.Add(c[0], c[1], c[2], c[3])
	}
	f.Fuzz(func(t *testing.T, method, path, headers, body string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		u, err := r.URL.Parse(path)
		if err != nil || !strings.HasPrefix(u.Path, "/") || method == "" {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			g := bareGateway(t)
			s := bareServer(t, g)
			m := newMemory(t, s, `{"tools":{}}`)
			m.mu.Lock()
			m.answers = true
			m.mu.Unlock()
			session := legacySession(t, s, `{}`)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req := r.Clone(withCaller(ctx, Caller{Principal: "p"}))
			req.Method, req.URL, req.Body, req.ContentLength = method, u, io.NopCloser(strings.NewReader(body)), int64(len(body))
			req.Header = http.Header{"Content-Type": {"application/json"}}
			for line := range strings.Lines(headers) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				req.Header.Add(name, strings.ReplaceAll(strings.TrimSpace(value), "SESSION", session.id))
			}
			w := httptest.NewRecorder()
			done := make(chan struct{})
			go func() {
				defer close(done)
				g.ServeHTTP(w, req)
			}()
			// Streams go on until their client does, so does what waits for a server.
			time.Sleep(time.Second)
			synctest.Wait()
			cancel()
			<-done
			if w.Code >= 500 && !strings.HasSuffix(u.Path, "/lines") || w.Code < 200 {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			checkAnswer(t, w)
			again := askAs(t, s, "q", "x/y", "")
			if answer := <-again.answer; !strings.Contains(answer, `"result"`) {
				t.Errorf("afterwards a request is answered %s", answer)
			}
		})
	})
}

// checkAnswer fails unless a response is what its type says.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	switch w.Result().Header.Get("Content-Type") {
	case "application/json":
		if w.Body.Len() > 0 {
			if _, err := parseAny(w.Body.Bytes()); err != nil {
				t.Errorf("the answer is %q: %v", w.Body, err)
			}
		}
	case streamOfThat:
		in := &events{t, bufio.NewReader(w.Body)}
		for {
			ev, err := in.next()
			if err != nil {
				return
			}
			if _, err := parseAny([]byte(ev.data)); err != nil && ev.data != "" && ev.kind != "endpoint" {
				t.Errorf("an event is %q: %v", ev.data, err)
			}
		}
	}
}

// parseAny parses a message or a batch of them.
func parseAny(text []byte) (jsonrpc.Message, error) {
	m, err := jsonrpc.Parse(text)
	if err == nil && m.Kind == jsonrpc.Batch {
		for element := range jsonrpc.Elements(text) {
			if _, err := jsonrpc.Parse(element); err != nil {
				return m, err
			}
		}
	}
	return m, err
}
