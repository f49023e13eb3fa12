//go:build linux

package find

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// realServers are those whose tools lie in testdata/tools, and how to run them below
// BERTH_TEST_NPM; "" is the conformance server of the Go SDK.
func realServers() map[string][]string {
	return map[string][]string{
		"everything":          {"mcp-server-everything"},
		"filesystem":          {"mcp-server-filesystem", os.TempDir()},
		"memory":              {"mcp-server-memory"},
		"sequential-thinking": {"mcp-server-sequential-thinking"},
		"playwright":          {"playwright-mcp"},
		"context7":            {"context7-mcp"},
		"conformance":         {""},
	}
}

// TestRecordTools records what the real servers list, with BERTH_TEST_UPDATE and
// BERTH_TEST_NPM set. Otherwise the recordings are what is tested.
func TestRecordTools(t *testing.T) {
	dir := os.Getenv("BERTH_TEST_NPM")
	if os.Getenv("BERTH_TEST_UPDATE") == "" || dir == "" {
		t.Skip("this records with BERTH_TEST_UPDATE=1 and BERTH_TEST_NPM; CONTRIBUTING.md says how to get it")
	}
	for name, command := range realServers() {
		program := filepath.Join(dir, "node_modules", ".bin", command[0])
		if command[0] == "" {
			program = filepath.Join(t.TempDir(), "server")
			build := exec.Command("go", "build", "-o", program, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
			build.Dir = filepath.Join("..", "..", "tools", "conformance")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		tools, err := listTools(exec.CommandContext(t.Context(), program, command[1:]...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var text bytes.Buffer
		if err := json.Indent(&text, tools, "", " "); err != nil {
			t.Fatal(err)
		}
		text.WriteByte('\n')
		if err := os.WriteFile(filepath.Join("testdata", "tools", name+".json"), text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// listTools asks a server, as a client of 2025-11-25 that samples and elicits, for
// the one page of tools that each of these has.
func listTools(cmd *exec.Cmd) (json.RawMessage, error) {
	cmd.Dir = os.TempDir()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer func() {
		hung.Stop()
		_ = stdin.Close()
		_ = cmd.Wait()
	}()
	fmt.Fprintln(stdin, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",`+
		`"capabilities":{"sampling":{},"elicitation":{"form":{},"url":{}}},"clientInfo":{"name":"berth","version":"0"}}}`)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var m struct {
			ID     json.RawMessage
			Result struct {
				Tools      json.RawMessage
				NextCursor string
			}
		}
		if json.Unmarshal(line, &m) != nil {
			continue
		}
		switch string(m.ID) {
		case "1":
			fmt.Fprintln(stdin, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
			fmt.Fprintln(stdin, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
		case "2":
			if m.Result.Tools == nil || m.Result.NextCursor != "" {
				return nil, fmt.Errorf("the answer is not one page of tools: %.200s", line)
			}
			return m.Result.Tools, nil
		}
	}
}
