//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/released"
)

// pier is a home with one mcpServer, by the name of one, and its gateway.
type pier struct {
	released.Site
	t   *testing.T
	dir string // of the server
	gw  released.Gateway
	url string // of each gateway, one after the other
}

func newPier(t *testing.T, bin, eras string, config ...string) *pier {
	t.Helper()
	p := &pier{Site: released.NewSite(t, bin), t: t, dir: t.TempDir()}
	p.write("eras", eras)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.Berth("add", "one", "--no-run", "--profile", "off", "--env", roleVar+"="+roleMCP, "--env", dirVar+"="+p.dir, "--", self)
	// What they call is in none of their lists.
	p.Berth("config", "one", "--set", "berth.tool-changes=allow")
	for _, c := range config {
		p.Berth("config", "one", "--set", c)
	}
	p.gw = p.Up()
	p.url = p.gw.URL
	t.Cleanup(func() { p.Logs("one") })
	return p
}

func (p *pier) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pier) remove(name string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.dir, name)); err != nil {
		p.t.Fatal(err)
	}
}

// said is what the server has written into one of its files.
func (p *pier) said(name string) string {
	text, _ := os.ReadFile(filepath.Join(p.dir, name)) // none: nothing yet
	return string(text)
}

// await waits until a file of the server's holds some text so often.
func (p *pier) await(name, text string, times int) {
	p.t.Helper()
	eventually(p.t, func() bool { return strings.Count(p.said(name), text) >= times },
		func() string { return fmt.Sprintf("%q %d times in %s:\n%s", text, times, name, p.said(name)) })
}

func eventually(t *testing.T, is func() bool, want func() string) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("after 30 s there is still not %s", want())
		}
	}
}

// again starts the next gateway at the address of the one before it.
func (p *pier) again() {
	p.t.Helper()
	p.gw = p.Up("--listen", strings.TrimPrefix(p.gw.URL, "http://"))
}

func (p *pier) status(name string) berth.Status {
	p.t.Helper()
	var all []berth.Status
	if err := json.Unmarshal([]byte(p.Berth("status", "--json")), &all); err != nil {
		p.t.Fatal(err)
	}
	for _, st := range all {
		if st.Name == name {
			return st
		}
	}
	return berth.Status{}
}

// newProcess kills the server and waits for the next one.
func (p *pier) newProcess() {
	p.t.Helper()
	before := p.status("one")
	kill(before.PID)
	eventually(p.t, func() bool { now := p.status("one"); return now.PID != before.PID && now.PID != 0 }, func() string { return "a new process" })
}

// client is an HTTP client of the server.
type client struct {
	p       *pier
	joint   bool   // it has the server among all, at the address of all
	version string // "" is a legacy one's before initialize
	session string
	id      int
}

func (p *pier) legacy() *client {
	p.t.Helper()
	c := &client{p: p}
	c.initialize()
	return c
}

// legacyOfAll and modernOfAll are clients of all servers as one.
func (p *pier) legacyOfAll() *client {
	p.t.Helper()
	c := &client{p: p, joint: true}
	c.initialize()
	return c
}

func (p *pier) modernOfAll() *client { return &client{p: p, joint: true, version: "2026-07-28"} }

// path is where the client's server is, and prefix what the names of its tools begin
// with there.
func (c *client) path() string {
	if c.joint {
		return "/mcp"
	}
	return "/servers/one/mcp"
}

func (c *client) prefix() string {
	if c.joint {
		return "one_"
	}
	return ""
}

func (p *pier) modern() *client { return &client{p: p, version: "2026-07-28"} }

func (c *client) initialize() {
	c.p.t.Helper()
	c.session = ""
	r := c.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}`)
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	c.session, c.version = r.Header.Get("Mcp-Session-Id"), "2025-11-25"
	if r.StatusCode != http.StatusOK || c.session == "" {
		c.p.t.Fatalf("initialize: %s, session %q\n%s", r.Status, c.session, body)
	}
	c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`).Body.Close()
}

func (c *client) request(method, body string, headers ...string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(c.p.t.Context(), time.Minute)
	context.AfterFunc(c.p.t.Context(), cancel)
	req, err := http.NewRequestWithContext(ctx, method, c.p.url+c.path(), strings.NewReader(body))
	if err != nil {
		c.p.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.version != "" {
		req.Header.Set("Mcp-Protocol-Version", c.version)
	}
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

func (c *client) post(body string, headers ...string) *http.Response {
	c.p.t.Helper()
	r, err := c.request(http.MethodPost, body, headers...)
	if err != nil {
		c.p.t.Fatal(err)
	}
	return r
}

// line is a request of the client's, of its era.
func (c *client) line(method, members string) (line string, headers []string) {
	c.id++
	if c.version != "2026-07-28" {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, c.id, method, members), nil
	}
	headers = []string{"Mcp-Method", method}
	for _, member := range []string{"name", "uri"} {
		if name, ok := jsonrpc.Text(jsonrpc.Get([]byte("{"+members+"}"), member)); ok {
			headers = append(headers, "Mcp-Name", name)
		}
	}
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}`
	if members != "" {
		meta += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s%s}}`, c.id, method, meta, members), headers
}

// ask makes a request and returns the status and the answer to it.
func (c *client) ask(method, members string) (int, jsonrpc.Message) {
	c.p.t.Helper()
	status, m, err := c.tryAsk(method, members)
	if err != nil {
		c.p.t.Fatalf("%s: %v", method, err)
	}
	return status, m
}

func (c *client) tryAsk(method, members string) (int, jsonrpc.Message, error) {
	line, headers := c.line(method, members)
	r, err := c.request(http.MethodPost, line, headers...)
	if err != nil {
		return 0, jsonrpc.Message{}, err
	}
	defer r.Body.Close()
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, jsonrpc.Message{}, err
		}
		m, err := jsonrpc.Parse(body)
		return r.StatusCode, m, err
	}
	in := events{in: bufio.NewReader(r.Body)}
	for {
		e, err := in.next()
		if err != nil {
			return 0, jsonrpc.Message{}, fmt.Errorf("the stream ended: %w", err)
		}
		if m, err := jsonrpc.Parse([]byte(e.data)); err == nil && (m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse) {
			return r.StatusCode, m, nil
		}
	}
}

// tool calls a tool, which has to succeed, and returns what it said.
func (c *client) tool(name, arguments string) string {
	c.p.t.Helper()
	status, m := c.ask("tools/call", fmt.Sprintf(`"name":%q,"arguments":{%s}`, name, arguments))
	if status != http.StatusOK || m.Kind != jsonrpc.Response {
		c.p.t.Fatalf("%s: %d %s%s", name, status, m.Result, m.Error)
	}
	return text(m)
}

// text is what the tool said whose result that is.
func text(m jsonrpc.Message) string {
	var result struct {
		Content []struct{ Text string }
	}
	if json.Unmarshal(m.Result, &result) != nil || len(result.Content) == 0 {
		return ""
	}
	return result.Content[0].Text
}

// events reads a stream of server-sent events.
type events struct {
	in   *bufio.Reader
	body io.Closer
}

type event struct{ id, data string }

// next returns the next event that is no comment.
func (s *events) next() (e event, err error) {
	var got bool
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "id":
			e.id, got = value, true
		case "data":
			e.data, got = e.data+value, true
		case "":
			if got {
				return e, nil
			}
		}
	}
}

// open makes a request whose answer is a stream.
func (c *client) open(httpMethod, body string, headers ...string) *events {
	c.p.t.Helper()
	r, err := c.request(httpMethod, body, headers...)
	if err != nil {
		c.p.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		text, _ := io.ReadAll(r.Body)
		c.p.t.Fatalf("%s: %s\n%s", body, r.Status, text)
	}
	c.p.t.Cleanup(func() { r.Body.Close() })
	return &events{bufio.NewReader(r.Body), r.Body}
}

// await reads until an event has some text in it.
func (s *events) await(t *testing.T, text string) event {
	t.Helper()
	var seen bytes.Buffer
	for {
		e, err := s.next()
		if err != nil {
			t.Fatalf("no event with %q: %v\n%s", text, err, &seen)
		}
		if strings.Contains(e.data, text) {
			return e
		}
		fmt.Fprintln(&seen, e)
	}
}
