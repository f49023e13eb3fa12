package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// registries skips where nobody said that the registries may be asked: this test
// takes packages from them.
func registries(t *testing.T) {
	t.Helper()
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
		lacks(t, "BERTH_TEST_REGISTRIES=1, and registry.npmjs.org and pypi.org")
	}
}

// TestRealFetch: a real server of npm and one of PyPI are fetched from their registries,
// run without network tools, and answer. TestNewUser has others, by their names.
func TestRealFetch(t *testing.T) {
	registries(t)
	for _, program := range []string{"npm", "node", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, program)
		}
	}
	b := newBench(t)
	for _, server := range []struct {
		name, tool, arguments, want string
		command                     []string
		program                     string
	}{
		{"everything", "echo", `{"message":"hi"}`, "Echo: hi", []string{"npx", "-y", "@modelcontextprotocol/server-everything"}, "node"},
		{"time", "get_current_time", `{"timezone":"UTC"}`, `"timezone": "UTC"`,
			[]string{"uvx", "mcp-server-time", "--local-timezone=UTC"}, "python"},
	} {
		b.berth(append([]string{"add", server.name, "--"}, server.command...)...)
		if got := b.berth("call", server.name, server.tool, server.arguments); !strings.Contains(got, server.want) {
			t.Errorf("%s: %s printed %q", server.name, server.tool, got)
		}
		argv, err := proc.Describe(b.status(server.name).PID)
		if err != nil || filepath.Base(argv.Argv[0]) != server.program {
			t.Errorf("%s is run by %q, %v", server.name, argv.Argv, err)
		}
		if got := b.berth("fetch", server.name); !regexp.MustCompile(`is as it was fetched\n$`).MatchString(got) {
			t.Errorf("after it ran, fetch printed %q", got)
		}
		b.berth("stop", server.name)
	}
	// What was fetched needs no registry to start.
	h, err := home.Open(b.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"everything", "time"} {
		if err := h.UpdateServer(name, func(s *home.Server) error {
			s.Env = map[string]string{"npm_config_registry": "http://127.0.0.1:1", "UV_OFFLINE": "1"}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b.berth("start", name)
		if st := b.status(name); st.Status != berth.Running {
			t.Errorf("%s: %+v", name, st)
		}
	}
	b.berth("remove", "everything", "time")
	if entries, err := os.ReadDir(h.PackagesDir()); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestRealFetchWithoutNetwork: an add that reaches no registry says so within
// seconds, and adds nothing.
func TestRealFetchWithoutNetwork(t *testing.T) {
	for _, program := range []string{"npm", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, program)
		}
	}
	t.Setenv("npm_config_registry", "http://127.0.0.1:1")
	t.Setenv("npm_config_cache", t.TempDir())
	b := newBench(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	begun := time.Now()
	code := run(ctx, []string{"--home", b.dir, "add", "x", "--", "npx", "-y", "no-such-package-of-berths"}, strings.NewReader(""), &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "hint: the registry was not reached") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if took := time.Since(begun); took > 40*time.Second { // npx takes 73
		t.Errorf("it took %v", took)
	}
	h, err := home.Open(b.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadServer("x"); err == nil {
		t.Error("it was added")
	}
	if entries, err := os.ReadDir(h.PackagesDir()); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}
