//go:build linux

package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestDoor: only requests that name this machine get in, and of web pages only
// those that the user named or that this machine serves. "Servers MUST validate the
// Origin header on all incoming connections to prevent DNS rebinding attacks".
func TestDoor(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	w.close()
	w.open(Options{Origins: []string{"https://page.example"}, Hosts: []string{"berth.example", "other.example:8080"}})
	port := w.url[strings.LastIndexByte(w.url, ':')+1:]
	paths := []string{"/healthz", "/servers/dancer/mcp", "/servers/dancer/sse", "/servers/dancer/messages", "/servers/dancer/lines", "/mcp", "/sse", "/messages", "/lines", "/profiles/p/mcp", "/metrics", "/nothing", "/handover"}
	for _, c := range []struct {
		host, origin string
		ok           bool
	}{
		{"127.0.0.1:" + port, "-", true},
		{"localhost:" + port, "-", true},
		{"LOCALHOST", "-", true},
		{"[::1]:" + port, "-", true},
		{"[::1]", "-", true},
		{"127.9.9.9", "-", true},
		{"berth.example", "-", true},
		{"berth.example:99", "-", true},
		{"other.example:8080", "-", true},
		{"other.example", "-", false},
		{"evil.example", "-", false},
		{"evil.example:" + port, "-", false},
		{"localhost.evil.example", "-", false},
		{"127.0.0.1.nip.io", "-", false},
		{"10.0.0.1", "-", false},
		{"0.0.0.0", "-", false},
		{"[::]", "-", false},
		{"[fe80::1]", "-", false},
		{"2130706433", "-", false},
		{"127.1", "-", false},
		{"evil.example@localhost", "-", false},
		{"localhost", "https://page.example", true},
		{"localhost", "http://localhost:3000", true},
		{"localhost", "https://[::1]:1", true},
		{"localhost", "http://127.0.0.1", true},
		{"localhost", "http://page.example", false},
		{"localhost", "https://page.example:444", false},
		{"localhost", "https://page.example.evil.example", false},
		{"localhost", "https://evil.example", false},
		{"localhost", "http://localhost.evil.example", false},
		{"localhost", "http://localhost@evil.example", false},
		{"localhost", "null", false},
		{"localhost", "file://", false},
		{"localhost", "vscode-webview://localhost", false},
		{"localhost", "localhost", false},
		{"evil.example", "http://localhost", false},
	} {
		for _, path := range paths {
			for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
				if c.ok && strings.HasSuffix(path, "/sse") && method == "GET" {
					continue // that is a stream without an end
				}
				r, err := w.send(method, path, "", "Host", c.host, "Origin", c.origin)
				if err != nil {
					t.Fatal(err)
				}
				body := w.read(r)
				r.Body.Close()
				if refused := r.StatusCode == http.StatusForbidden; refused == c.ok {
					t.Errorf("%s %s of %s from %s: %s %s", method, path, c.host, c.origin, r.Status, body)
				}
				if got := r.Header.Get("Access-Control-Allow-Origin"); got != "" && (got != c.origin || c.origin != "https://page.example") {
					t.Errorf("a page of %s may read what is for %q", c.origin, got)
				}
			}
		}
	}
	// Two headers are one too many.
	req, err := http.NewRequest(http.MethodGet, w.url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Origin"] = []string{"http://localhost", "https://evil.example"}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("two origins: %s", r.Status)
	}
}

// TestPages: a browser lets a page of an origin that was named ask and read; it
// lets no other.
func TestPages(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	w.close()
	w.open(Options{Origins: []string{"https://page.example"}})
	ask := func(origin string) http.Header {
		t.Helper()
		r, err := w.send(http.MethodOptions, "/servers/dancer/mcp", "", "Origin", origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "content-type,Mcp-Session-Id, mcp-param-x,x-evil,mcp-(y)")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.Header
	}
	h := ask("https://page.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://page.example",
		"Access-Control-Allow-Methods":     "GET, POST, DELETE",
		"Access-Control-Allow-Headers":     "content-type, mcp-session-id, mcp-param-x",
		"Access-Control-Expose-Headers":    "Mcp-Session-Id, Retry-After",
		"Access-Control-Allow-Credentials": "",
		"Vary":                             "Origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	for _, origin := range []string{"http://localhost:3000", "https://evil.example"} {
		for name := range ask(origin) {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("a page of %s is told %s", origin, name)
			}
		}
	}
	r := w.must(400, http.MethodPost, "/servers/dancer/mcp", "{", "Origin", "https://page.example")
	if got := r.Header.Get("Access-Control-Allow-Origin"); got != "https://page.example" {
		t.Errorf("an error is for %q", got)
	}
}

// TestPosts: what is not as it must be is refused, whatever else it is.
func TestPosts(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	const path = "/servers/dancer/mcp"
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"no such server", "POST", "/servers/nobody/mcp", "{}", nil, 404},
		{"no such name", "POST", "/servers/Not%20A%20Name/mcp", "{}", nil, 404},
		{"a name of another process", "POST", "/servers/dancer~legacy/mcp", "{}", nil, 404},
		{"no such path", "POST", "/servers/dancer", "{}", nil, 404},
		{"no type", "POST", path, "{}", []string{"Content-Type", "-"}, 415},
		{"another type", "POST", path, "{}", []string{"Content-Type", "text/plain"}, 415},
		{"a form", "POST", path, "{}", []string{"Content-Type", "multipart/form-data; boundary=application/json"}, 415},
		{"a type with parameters", "POST", path, "{}", []string{"Content-Type", "Application/JSON ; charset=utf-8"}, 400},
		{"accepts nothing of ours", "POST", path, initialize, []string{"Accept", "text/html"}, 406},
		{"no JSON", "POST", path, "{]", nil, 400},
		{"two messages", "POST", path, `{"jsonrpc":"2.0","method":"x"}{"jsonrpc":"2.0","method":"x"}`, nil, 400},
		{"too deep", "POST", path, `{"jsonrpc":"2.0","id":1,"method":"x","params":` + deep + `}`, nil, 400},
		{"no session", "POST", path, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, nil, 400},
		{"a session that is none", "POST", path, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{headerSession, "x"}, 404},
		{"a stream of no session", "GET", path, "", nil, 400},
		{"a stream that is not accepted", "GET", path, "", []string{"Accept", "application/json"}, 406},
		{"the end of no session", "DELETE", path, "", nil, 400},
		{"the end of a session that is none", "DELETE", path, "", []string{headerSession, "x"}, 404},
		{"another method", "PUT", path, "{}", nil, 405},
		{"a modern GET", "GET", path, "", []string{headerVersion, "2026-07-28"}, 405},
		{"a modern DELETE", "DELETE", path, "", []string{headerVersion, "2026-07-28"}, 405},
		{"a modern answer", "POST", path, `{"jsonrpc":"2.0","id":1,"result":{}}`, []string{headerVersion, "2026-07-28"}, 400},
		{"a modern batch", "POST", path, `[]`, []string{headerVersion, "2026-07-28"}, 400},
		{"a modern notification", "POST", path, `{"jsonrpc":"2.0","method":"x"}`, []string{headerVersion, "2026-07-28"}, 202},
		{"a revision of the future", "POST", path, `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}`, []string{headerVersion, "2027-01-01", "Mcp-Method", "x"}, 400},
		{"lines, by a port", "GET", "/servers/dancer/lines", "", nil, 404},
		{"the old stream, not accepted", "GET", "/servers/dancer/sse", "", []string{"Accept", "application/json"}, 406},
		{"a message to no stream", "POST", "/servers/dancer/messages?sessionId=x", "{}", nil, 404},
		{"a gateway that stays", "GET", "/handover", "", nil, 409},
	} {
		r, err := w.send(c.method, c.path, c.body, c.headers...)
		if err != nil {
			t.Fatal(err)
		}
		body := w.read(r)
		r.Body.Close()
		if r.StatusCode != c.status {
			t.Errorf("%s: %s, not %d: %.200s", c.name, r.Status, c.status, body)
		}
		if c.status == 405 && r.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", c.name)
		}
	}
	if names := w.g.everyName(); !slices.Equal(names, []string{"dancer"}) {
		t.Errorf("the gateway knows the servers %q", names)
	}
}

// everyName are the servers that the gateway has met.
func (g *Gateway) everyName() (names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.servers {
		names = append(names, name)
	}
	return names
}

// TestBodiesAreBounded: what is too large is refused before it is read to its end.
func TestBodiesAreBounded(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	body, says := io.Pipe()
	go func() {
		piece := []byte(strings.Repeat(" ", 1<<20))
		for range bodyMost>>20 + 64 {
			if _, err := says.Write(piece); err != nil {
				return
			}
		}
		says.CloseWithError(fmt.Errorf("all of it was read"))
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/servers/dancer/mcp", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body without an end: %s", answer.Status)
	}
	// So are headers.
	conn := w.hold("GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 200) + "\r\n")
	answer, err = http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode < 400 || answer.StatusCode >= 500 {
		t.Errorf("200 kB of headers: %v %v", answer, err)
	}
}
