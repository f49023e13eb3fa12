package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// httpGate is a `berth up` of a test's own that listens on a free port.
type httpGate struct {
	bench
	url string
	cmd *exec.Cmd
	say *waitFor
	// ended is closed once it is.
	ended chan struct{}
}

// up is one that asks nobody who they are.
func (b bench) up(args ...string) *httpGate {
	b.Helper()
	return b.gate(append([]string{"--listen", "127.0.0.1:0", "--no-auth"}, args...)...)
}

func (b bench) gate(args ...string) *httpGate {
	b.Helper()
	g := &httpGate{bench: b, say: &waitFor{text: "keeping the servers", found: make(chan struct{})}, ended: make(chan struct{})}
	g.cmd = exec.Command("berth", append([]string{"--home", b.dir, "up"}, args...)...)
	g.cmd.Stdout, g.cmd.Stderr = g.say, g.say
	if err := g.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.ended)
	}()
	b.Cleanup(func() {
		_ = g.cmd.Process.Signal(os.Interrupt)
		<-g.ended
		if b.Failed() {
			b.Logf("berth up printed:\n%s", g.say)
		}
	})
	select {
	case <-g.say.found:
	case <-g.ended:
		b.Fatalf("berth up ended:\n%s", g.say)
	case <-time.After(time.Minute):
		b.Fatalf("berth up does not come up:\n%s", g.say)
	}
	m := regexp.MustCompile(`listening on (https?://\S+)`).FindStringSubmatch(g.say.String())
	if m == nil {
		b.Fatalf("berth up does not say where it listens:\n%s", g.say)
	}
	g.url = m[1]
	return g
}

// guest is an HTTP client of one server.
type guest struct {
	*httpGate
	server  string
	headers http.Header
}

func (g *httpGate) guest(server string) *guest {
	return &guest{g, server, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}}
}

// post sends a message and returns the answer: of a stream of events the last.
func (c *guest) post(ctx context.Context, line string, headers ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/servers/"+c.server+"/mcp", strings.NewReader(line))
	if err != nil {
		return nil, "", err
	}
	req.Header = c.headers.Clone()
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		events := bytes.Split(bytes.TrimSpace(body), []byte("data: "))
		body = events[len(events)-1]
	}
	return resp, string(bytes.TrimSpace(body)), err
}

// must is post for a message that is answered.
func (c *guest) must(line string, headers ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	_, body, err := c.post(ctx, line, headers...)
	if err != nil {
		c.Fatal(err)
	}
	return body
}

// join opens a legacy session.
func (c *guest) join() *guest {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	resp, body, err := c.post(ctx, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"guest","version":"1"}}}`)
	if err != nil || !strings.Contains(body, `"serverInfo"`) {
		c.Fatalf("initialize: %s, %v", body, err)
	}
	c.headers.Set("Mcp-Session-Id", resp.Header.Get("Mcp-Session-Id"))
	c.must(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}

// modernMeta is what a request of a modern client says of it.
const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"guest","version":"2"},"io.modelcontextprotocol/clientCapabilities":{}}`

// modern has the guest be a modern client.
func (c *guest) modern() *guest {
	c.headers.Set("Mcp-Protocol-Version", "2026-07-28")
	return c
}

// call is the message that calls a tool; args is JSON.
func (c *guest) call(tool, args string) (line string, headers []string) {
	if c.headers.Get("Mcp-Protocol-Version") == "" {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + `}}`, nil
	}
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + `,` + modernMeta + `}}`,
		[]string{"Mcp-Method", "tools/call", "Mcp-Name", tool}
}

func TestGuests(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	g := b.up()
	for _, c := range []*guest{g.guest("one").join(), g.guest("one").modern()} {
		line, headers := c.call("echo", `{"message":"hi"}`)
		if got := c.must(line, headers...); !strings.Contains(got, `"text":"hi"`) {
			t.Errorf("got %s", got)
		}
	}
}
