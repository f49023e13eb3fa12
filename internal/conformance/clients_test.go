//go:build linux

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// call is a tool, its arguments, and what its answer has to contain.
type call struct{ tool, args, answer string }

// client is a program of other people that speaks to a server.
type client struct {
	name    string
	version string // the revision that it has to agree on
	answers bool   // what a server asks it
	sse     bool   // it speaks the transport of 2024-11-05 as well
	visit   func(ctx context.Context, target []string, c call) (visit, error)
}

// visit is what a client saw.
type visit struct {
	Protocol string // "" if it does not tell
	Tools    []string
	Text     string
}

// visitLimit bounds one client's visit, which takes less than a second where
// nothing hangs and the server is up.
const visitLimit = time.Minute

// clients are those of the Go SDK, of the TypeScript SDK's two majors, and MCP
// Inspector.
func (o others) clients(t *testing.T) []client {
	t.Helper()
	goClient := filepath.Join(t.TempDir(), "client")
	goTool(t, "../../tools/conformance", "build", "-o", goClient, "./client")
	script, err := filepath.Abs("testdata/client.cjs")
	if err != nil {
		t.Fatal(err)
	}
	sdk := func(argv ...string) func(context.Context, []string, call) (visit, error) {
		return func(ctx context.Context, target []string, c call) (v visit, err error) {
			args := slices.Clone(argv[1:])
			if c.tool != "" {
				args = append(args, "-tool", c.tool, "-args", c.args)
			}
			out, err := speak(ctx, argv[0], append(args, target...)...)
			if err == nil {
				err = json.Unmarshal(out, &v)
			}
			return v, err
		}
	}
	return []client{
		{"go legacy", legacy, true, true, sdk(goClient, "-version", legacy)},
		{"go modern", modern, true, false, sdk(goClient, "-version", modern)},
		{"typescript v1", legacy, true, true, sdk(o.node, script, "v1")},
		{"typescript v2 legacy", legacy, true, true, sdk(o.node, script, "v2")},
		{"typescript v2 modern", modern, true, false, sdk(o.node, script, "v2", "-version", modern)},
		{"inspector legacy", legacy, false, true, o.inspector(t, "legacy")},
		{"inspector auto", "", false, false, o.inspector(t, "auto")},
		{"inspector modern", modern, false, false, o.inspector(t, "modern")},
	}
}

// inspector is MCP Inspector's command line, which does one thing each time.
func (o others) inspector(t *testing.T, era string) func(context.Context, []string, call) (visit, error) {
	t.Helper()
	script := o.script(t, "@modelcontextprotocol/inspector/clients/launcher/build/index.js")
	home := t.TempDir() // where it looks for settings
	return func(ctx context.Context, target []string, c call) (v visit, err error) {
		do := func(result any, args ...string) error {
			argv := slices.Concat([]string{"HOME=" + home, o.node, script, "--cli"}, target, []string{"--protocol-era", era, "--format", "json", "--quiet"}, args)
			out, err := speak(ctx, "/usr/bin/env", argv...)
			if err == nil {
				err = json.Unmarshal(out, result)
			}
			return err
		}
		var list struct {
			Result struct{ Tools []struct{ Name string } }
		}
		if err := do(&list, "--method", "tools/list"); err != nil {
			return v, err
		}
		for _, tool := range list.Result.Tools {
			v.Tools = append(v.Tools, tool.Name)
		}
		if c.tool == "" {
			return v, nil
		}
		var answer struct {
			Result struct{ Content []struct{ Text string } }
		}
		err = do(&answer, "--method", "tools/call", "--tool-name", c.tool, "--tool-args-json", c.args)
		for _, part := range answer.Result.Content {
			v.Text += part.Text
		}
		return v, err
	}
}

// speak runs a client and returns what it printed.
func speak(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, visitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// A client that is told to end ends what it started.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s%s", err, out, &stderr)
	}
	return out, nil
}

// server is one that the clients visit.
type server struct {
	name string
	env  []string // as berth add takes them
	argv []string
	fits string // the revision that it speaks with nothing in between; "" for both
	asks bool   // the client that calls
	call call
	more int // tools, at least
}

func (o others) servers(t *testing.T) []server {
	t.Helper()
	npm := func(path string, args ...string) []string {
		return append([]string{o.node, o.script(t, path)}, args...)
	}
	files := t.TempDir()
	return []server{
		{name: "everything", argv: npm("@modelcontextprotocol/server-everything/dist/index.js"), fits: legacy,
			call: call{"echo", `{"message":"hi"}`, "Echo: hi"}, more: 13},
		{name: "filesystem", argv: npm("@modelcontextprotocol/server-filesystem/dist/index.js", files), fits: legacy,
			call: call{"list_allowed_directories", `{}`, files}, more: 14},
		{name: "memory", argv: npm("@modelcontextprotocol/server-memory/dist/index.js"), fits: legacy,
			env:  []string{"MEMORY_FILE_PATH=" + filepath.Join(t.TempDir(), "memory.json")},
			call: call{"read_graph", `{}`, `"entities"`}, more: 9},
		{name: "thinking", argv: npm("@modelcontextprotocol/server-sequential-thinking/dist/index.js"), fits: legacy,
			call: call{"sequentialthinking", `{"thought":"x","thoughtNumber":1,"totalThoughts":1,"nextThoughtNeeded":false}`, "thoughtHistoryLength"}, more: 1},
		// These two need a browser, or the network, to do more than list.
		{name: "playwright", argv: npm("@playwright/mcp/cli.js"), fits: legacy, more: 20},
		{name: "context7", argv: npm("@upstash/context7-mcp/dist/index.js"), more: 2},
		{name: "sdk", argv: []string{dual.build(t)},
			call: call{"test_simple_text", `{}`, "This is a simple text response for testing."}, more: 28},
		{name: "sdk-legacy", argv: []string{legacyOnly.build(t)}, fits: legacy, asks: true,
			call: call{"test_elicitation", `{"message":"m"}`, "action=accept, content=map[email:gopher@example.org"}, more: 28},
		{name: "sdk-modern", argv: []string{modernOnly.build(t)}, fits: modern, asks: true,
			call: call{"test_input_required_result_elicitation", `{}`, "Hello, gopher!"}, more: 28},
	}
}

// check has a client visit a server and fails the test with all that is not as
// expected. It returns the tools that the client saw.
func (c client) check(t *testing.T, s server, target ...string) []string {
	t.Helper()
	v, err := c.visit(t.Context(), target, s.call)
	if err != nil {
		t.Error(err)
		return nil
	}
	// The old transport has no say in the revision.
	sse := strings.HasSuffix(target[0], "/sse")
	if v.Protocol != "" && c.version != "" && v.Protocol != c.version && !(sse && v.Protocol < c.version) {
		t.Errorf("%s agreed on %s, not %s", c.name, v.Protocol, c.version)
	}
	if len(v.Tools) < s.more {
		t.Errorf("%s saw %d tools of %d: %q", c.name, len(v.Tools), s.more, v.Tools)
	}
	if s.call.tool != "" && !strings.Contains(v.Text, s.call.answer) {
		t.Errorf("%s was answered %q, without %q", c.name, v.Text, s.call.answer)
	}
	slices.Sort(v.Tools)
	return v.Tools
}

// TestClientsDirect: each client works with the SDK's server, and each server
// with one client, where nothing is between them and they speak the same
// revision. So what fails through Berth is Berth's.
func TestClientsDirect(t *testing.T) {
	o := switchedOn(t)
	clients := o.clients(t)
	for _, s := range o.servers(t) {
		for _, c := range clients {
			if s.asks && !c.answers || s.fits != "" && s.fits != c.version ||
				!strings.HasPrefix(s.name, "sdk") && !strings.HasPrefix(c.name, "go ") {
				continue
			}
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				c.check(t, s, slices.Concat([]string{"/usr/bin/env"}, s.env, s.argv)...)
			})
		}
	}
}

// TestClients: every client works with every server through Berth, whatever
// revision each of them speaks, by HTTP and by berth proxy; all share one
// process of the server, and all of an era see the same tools.
func TestClients(t *testing.T) {
	o := switchedOn(t)
	site := released.NewSite(t, released.Build(t))
	servers := o.servers(t)
	commands := make([]counted, len(servers))
	for i, s := range servers {
		commands[i] = count(t, s.argv...)
		args := []string{"add", s.name, "--profile", "off"}
		for _, kv := range s.env {
			args = append(args, "--env", kv)
		}
		site.Berth(slices.Concat(args, []string{"--"}, commands[i].argv)...)
	}
	url := site.Up().URL
	clients := o.clients(t)
	for i, s := range servers {
		w := watchServer(t, site, s.name, commands[i])
		saw := map[string][]string{} // by revision
		for _, c := range clients {
			if s.asks && !c.answers {
				continue
			}
			targets := map[string][]string{
				"http":  {url + "/servers/" + s.name + "/mcp"},
				"proxy": {site.Bin, "--home", site.Home, "proxy", s.name},
			}
			if c.sse {
				targets["sse"] = []string{url + "/servers/" + s.name + "/sse"}
			}
			for how, target := range targets {
				t.Run(s.name+"/"+c.name+"/"+how, func(t *testing.T) {
					tools := c.check(t, s, target...)
					if first, ok := saw[c.version]; ok && tools != nil && !slices.Equal(tools, first) {
						t.Errorf("%s saw the tools %q, another client of its era %q", c.name, tools, first)
					} else if tools != nil {
						saw[c.version] = tools
					}
				})
			}
		}
		if s.call == (call{}) {
			w.unneeded(t)
		} else {
			w.unharmed(t, 1)
		}
		site.Logs(s.name)
	}
}
