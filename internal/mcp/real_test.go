package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// real says what a real server is expected to do.
type real struct {
	name    string
	command []string // the program and its arguments
	era     Era
	server  string // its own name
	tools   int    // at least
	// call is a tool with arguments, and a part of its result; none if empty.
	call, args, result string
}

// check speaks to the server in every way: as the first attacher, as one that
// comes after, and as one that had to wait for a slow start.
func (r real) check(t *testing.T) {
	t.Run("warm", func(t *testing.T) {
		p := startProcess(t, r.command[0], r.command[1:]...)
		r.converse(t, p, &Options{ProbeTimeout: 30 * time.Second}, r.era)
		note := string(p.Note())

		before := p.reattach()
		r.converse(t, p, nil, r.era)
		asked := 1 // the list; and the call
		if r.call != "" {
			asked = 2
		}
		if got := p.sentLines() - before; got != asked || string(p.Note()) != note {
			t.Errorf("the second attacher sent %d messages instead of %d; its note is %s", got, asked, p.Note())
		}
	})
	t.Run("cold", func(t *testing.T) {
		p := startProcess(t, r.command[0], r.command[1:]...)
		r.converse(t, p, &Options{ProbeTimeout: time.Microsecond}, r.era)
	})
}

// converse connects, lists and calls.
func (r real) converse(t *testing.T, p *process, o *Options, era Era) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	began := time.Now()
	s, err := Connect(ctx, p, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	took := time.Since(began)
	info := s.Info()
	if info.Era != era || info.MCP.ServerInfo.Name != r.server || info.MCP.ProtocolVersion == "" {
		t.Errorf("connected to %s %q, protocol %q; want %s %q", info.Era, info.MCP.ServerInfo.Name, info.MCP.ProtocolVersion, era, r.server)
	}
	p.mu.Lock()
	if p.ready == nil || *p.ready != info.MCP {
		t.Errorf("status would show %v instead of %v", p.ready, info.MCP)
	}
	p.mu.Unlock()
	tools, err := s.Tools(ctx)
	if err != nil || len(tools) < r.tools {
		t.Errorf("%d tools, %v; want %d or more", len(tools), err, r.tools)
	}
	if r.call != "" {
		result, err := s.Call(ctx, r.call, json.RawMessage(r.args))
		if err != nil || Failed(result) || !strings.Contains(string(result), r.result) {
			t.Errorf("call %s: %.300s, %v; want %q", r.call, result, err, r.result)
		}
	}
	d := s.Dropped()
	if d.Invalid+d.Stale+d.Refused > 0 {
		t.Errorf("dropped %+v", d)
	}
	t.Logf("%s %s %s %s, %d tools, handshake in %v, dropped %+v", info.Era, info.MCP.ProtocolVersion, info.MCP.ServerInfo.Name, info.MCP.ServerInfo.Version, len(tools), took.Round(time.Millisecond), d)
}

// TestNpmServers speaks to servers as users run them. They are installed by
//
//	npm i --prefix DIR @modelcontextprotocol/server-{everything,memory,filesystem,sequential-thinking}@2026.8.31 \
//		@upstash/context7-mcp@4.1.1 @playwright/mcp@0.0.83
//
// and DIR is given as BERTH_TEST_NPM.
func TestNpmServers(t *testing.T) {
	dir, node := npmPrefix(t), node(t)
	home := t.TempDir()
	for _, r := range []real{
		{name: "mcp-server-everything", era: Legacy, server: "mcp-servers/everything", tools: 13,
			call: "echo", args: `{"message":"hi <é> 9007199254740993"}`, result: "Echo: hi <é> 9007199254740993"},
		{name: "mcp-server-memory", era: Legacy, server: "memory-server", tools: 9,
			call: "search_nodes", args: `{"query":"x"}`, result: `"entities"`},
		{name: "mcp-server-filesystem", command: []string{home}, era: Legacy, server: "secure-filesystem-server", tools: 14,
			call: "list_allowed_directories", result: filepath.Base(home)},
		{name: "mcp-server-sequential-thinking", era: Legacy, server: "sequential-thinking-server", tools: 1,
			call: "sequentialthinking", args: `{"thought":"x","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, result: "thoughtHistoryLength"},
		// Its calls need the network, playwright's a browser.
		{name: "context7-mcp", era: Modern, server: "Context7", tools: 2},
		{name: "playwright-mcp", era: Legacy, server: "Playwright", tools: 20},
	} {
		t.Run(r.name, func(t *testing.T) {
			script := filepath.Join(dir, "node_modules", ".bin", r.name)
			if _, err := os.Stat(script); err != nil {
				t.Skipf("BERTH_TEST_NPM lacks it: %v", err)
			}
			r.command = append([]string{node, script}, r.command...)
			r.check(t)
		})
	}
}

// goSDKServer builds the server of testdata/gosdkserver, or skips the test.
func goSDKServer(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it builds a server with the Go SDK: not with -short")
	}
	exe := filepath.Join(t.TempDir(), "gosdkserver.exe")
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(within(t, 5*time.Minute), "go", args...)
		cmd.Dir = filepath.Join("testdata", "gosdkserver")
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		return cmd.CombinedOutput()
	}
	if out, err := run("mod", "download"); err != nil {
		t.Skipf("the module proxy does not give the Go SDK: %v\n%s", err, out)
	}
	if out, err := run("build", "-o", exe, "."); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	return exe
}

func TestGoSDKServer(t *testing.T) {
	exe := goSDKServer(t)
	const legacy = "2025-11-25,2025-06-18,2025-03-26,2024-11-05"
	for _, tt := range []struct {
		name string
		args []string
		era  Era
	}{
		{"dual-era", nil, Modern},
		{"narrowed to legacy", []string{"-versions", legacy}, Legacy},
		{"narrowed to 2024-11-05", []string{"-versions", "2024-11-05"}, Legacy},
		{"narrowed to modern", []string{"-versions", "2026-07-28"}, Modern},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := real{
				name: tt.name, era: tt.era, server: "gosdkserver", tools: 5,
				call: "echo", args: `{"message":"hi"}`, result: "Echo: hi",
			}
			r.command = append([]string{exe}, tt.args...)
			r.check(t)
			t.Run("slow to start", func(t *testing.T) {
				p := startProcess(t, exe, append(tt.args, "-delay", "600ms")...)
				r.converse(t, p, &Options{ProbeTimeout: 50 * time.Millisecond}, tt.era)
			})
			t.Run("calls", func(t *testing.T) {
				p := startProcess(t, exe, tt.args...)
				s, err := Connect(within(t, time.Minute), p, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				checkCalls(t, s, tt.era)
			})
		})
	}
}

// checkCalls makes calls that do not end in an ordinary result.
func checkCalls(t *testing.T, s *Session, era Era) {
	result, err := s.Call(within(t, time.Minute), "fail", nil)
	if err != nil || !Failed(result) || !strings.Contains(string(result), "as it should") {
		t.Errorf("fail: %s, %v", result, err)
	}
	if _, err := s.Call(within(t, time.Minute), "no such tool", nil); err == nil || !strings.Contains(err.Error(), "no such tool") {
		t.Errorf("a tool that does not exist: %v", err)
	}
	// A legacy server asks by a request, which we refuse.
	result, err = s.Call(within(t, time.Minute), "ask", nil)
	if era == Modern {
		if !errors.Is(err, ErrInputRequired) || !strings.Contains(err.Error(), "elicitation/create") {
			t.Errorf("ask: %s, %v", result, err)
		}
	} else if err == nil && !Failed(result) {
		t.Errorf("ask: %s", result)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Call(ctx, "wait", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	// The server reads the cancellation before this, and takes it in hand
	// beside it.
	for deadline := time.Now().Add(time.Minute); ; {
		result, err := s.Call(within(t, time.Minute), "cancelled", nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(result), fmt.Sprintf("cancelled: %d", 1)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server never heard of the cancellation: %s", result)
		}
	}
}

// TestNotServers: ordinary programs, real pipes.
func TestNotServers(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip("no cat in PATH")
	}
	p := startProcess(t, cat)
	began := time.Now()
	if _, err := Connect(within(t, time.Minute), p, nil); !errors.Is(err, ErrNotMCP) {
		t.Errorf("cat: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh in PATH")
	}
	p = startProcess(t, sh, "-c", "read line; exit 3")
	if _, err := Connect(within(t, time.Minute), p, nil); !errors.Is(err, ErrDiedOnProbe) {
		t.Errorf("a program that ends at the first line: %v", err)
	}
}
