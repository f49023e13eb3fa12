package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// lacks skips a test that needs what is not here.
func lacks(t *testing.T, what string) {
	t.Helper()
	t.Skipf("this test needs %s; CONTRIBUTING.md says how to get it", what)
}

// npmPrefix is a directory in which npm installed the real servers.
func npmPrefix(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BERTH_TEST_NPM")
	if dir == "" {
		lacks(t, "BERTH_TEST_NPM, a directory whose node_modules has @modelcontextprotocol/server-everything")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@modelcontextprotocol", "server-everything")); err != nil {
		lacks(t, "@modelcontextprotocol/server-everything below BERTH_TEST_NPM")
	}
	return dir
}

// TestRealEverything is the way of the real package, through npx as its users
// run it: npm, a shell and node.
func TestRealEverything(t *testing.T) {
	dir := npmPrefix(t)
	if _, err := exec.LookPath("npx"); err != nil {
		lacks(t, "npx")
	}
	b := newBench(t)
	b.berth("add", "everything", "--cwd", dir, "--profile", "off", "--", "npx", "-y", "@modelcontextprotocol/server-everything")
	if got := b.berth("start", "everything"); !regexp.MustCompile(`^everything: started, pid \d+: mcp-servers/everything \S+, protocol 2025-11-25, \d\d tools\n$`).MatchString(got) {
		t.Errorf("start printed %q", got)
	}
	if got := b.berth("call", "everything", "echo", `{"message":"hi"}`); got != "Echo: hi\n" {
		t.Errorf("call printed %q", got)
	}
	if got := b.berth("call", "everything", "get-sum", `{"a":40,"b":2}`); !strings.Contains(got, "42") {
		t.Errorf("get-sum printed %q", got)
	}
	if got := b.berth("tools", "everything"); !strings.Contains(got, "\necho ") {
		t.Errorf("tools printed %q", got)
	}

	st := b.status("everything")
	b.kill(st.PID)
	if got := b.berth("call", "everything", "echo", `{"message":"again"}`); got != "Echo: again\n" {
		t.Errorf("after a kill of the server, call printed %q", got)
	}
	st = b.status("everything")
	if st.Restarts != 1 {
		t.Errorf("status %+v after one kill", st)
	}
	b.kill(st.ShimPID)
	if got := b.berth("call", "everything", "echo", `{"message":"healed"}`); got != "Echo: healed\n" {
		t.Errorf("after a kill of the shim, call printed %q", got)
	}

	c := b.proxy("everything")
	c.shakeHands()
	c.echo(1, "by proxy")
	if code := c.hangUp(); code != 0 {
		t.Errorf("the proxy ended with %d: %s", code, c.err)
	}
	b.berth("logs", "everything")
	b.berth("audit", "verify")
	b.berth("stop", "everything")
	if st := b.status("everything"); st.Status != berth.Stopped {
		t.Errorf("status %+v after stop", st)
	}
	// endAll looks for what is left of npx, sh and node.
}

// TestInspector: MCP Inspector's command line works through the proxy.
func TestInspector(t *testing.T) {
	dir := npmPrefix(t)
	node := os.Getenv("BERTH_TEST_NODE24")
	inspector := filepath.Join(dir, "node_modules", "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
	if _, err := os.Stat(inspector); err != nil || node == "" {
		lacks(t, "BERTH_TEST_NODE24, and @modelcontextprotocol/inspector below BERTH_TEST_NPM")
	}
	b := newBench(t)
	b.berth("add", "everything", "--", "node", filepath.Join(dir, "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js"))
	for _, method := range [][]string{
		{"--method", "tools/list"},
		{"--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=through the inspector"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, node, append([]string{inspector, "--cli", "berth", "--home", b.dir, "proxy", "everything"}, method...)...)
		cmd.Env = append(os.Environ(), "BERTH_HOME="+b.dir)
		cmd.WaitDelay = 10 * time.Second
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %v\n%s", method, err, out)
		}
		if want := map[string]string{"tools/list": `"echo"`, "tools/call": "through the inspector"}[method[1]]; !strings.Contains(string(out), want) {
			t.Errorf("%v printed no %s:\n%s", method, want, out)
		}
	}
}
