//go:build linux

package conformance

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sdkServer is the conformance server of the Go SDK, in the version that
// tools/conformance/go.mod pins.
const sdkServer = "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"

// A subject is that server, as it is or narrowed to one era.
type subject string

const (
	dual       subject = "dual"
	legacyOnly subject = "legacy-only"
	modernOnly subject = "modern-only"
)

// insertions are what is put into the source of the server, each after the first
// line that ends so.
func (s subject) insertions() [][2]string {
	switch s {
	case legacyOnly:
		return [][2]string{{"opts := &mcp.ServerOptions{\n", `SupportedProtocolVersions: []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"},`}}
	case modernOnly:
		// With the versions alone it would still answer initialize.
		return [][2]string{
			{"opts := &mcp.ServerOptions{\n", `SupportedProtocolVersions: []string{"2026-07-28"},`},
			{"}, opts)\n", `server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
				return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
					if method == "initialize" {
						return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "no such method: initialize"}
					}
					return next(ctx, method, req)
				}
			})`},
		}
	}
	return nil
}

// build builds a subject and returns the path of its binary.
func (s subject) build(t *testing.T) string {
	t.Helper()
	what := sdkServer
	if lines := s.insertions(); lines != nil {
		dir := strings.TrimSpace(goTool(t, "../../tools/conformance", "list", "-f", "{{.Dir}}", sdkServer))
		source, err := os.ReadFile(filepath.Join(dir, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(source)
		for _, l := range lines {
			before, after, ok := strings.Cut(text, l[0])
			if !ok {
				t.Fatalf("the source of %s has no line that ends with %q", sdkServer, l[0])
			}
			text = before + l[0] + l[1] + "\n" + after
		}
		what = filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(what, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), string(s))
	goTool(t, "../../tools/conformance", "build", "-o", path, what)
	return path
}

// goTool runs the go command in a directory and returns what it printed.
func goTool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// counted is a command whose every start is noted, with its process id, in a
// file.
type counted struct {
	argv []string // what runs it and notes that
	file string
	end  string // of the command line of each process of it
}

func count(t *testing.T, argv ...string) counted {
	t.Helper()
	file := filepath.Join(t.TempDir(), "births")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return counted{
		argv: append([]string{"/bin/sh", "-c", `echo $$ >>"$0"; exec "$@"`, file}, argv...),
		file: file,
		end:  strings.Join(argv, "\x00") + "\x00",
	}
}

// births returns the processes started so far.
func (c counted) births(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// alive returns those of some births that live. A number may have been given to
// another process, which has another command line.
func (c counted) alive(t *testing.T, births []string) []string {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(births), func(pid string) bool {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%s/cmdline", pid))
		return err != nil || !strings.HasSuffix(string(cmdline), c.end)
	})
}

// TestSubjects: the servers are of the eras that they are to be of, each start
// of one is counted, and so is its end.
func TestSubjects(t *testing.T) {
	switchedOn(t)
	const (
		discover = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
		shake    = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	)
	for s, want := range map[subject]map[string]string{
		dual:       {discover: `"2025-11-25"`, shake: `"protocolVersion":"2025-11-25"`},
		legacyOnly: {discover: `"code":-32022`, shake: `"protocolVersion":"2025-11-25"`},
		modernOnly: {discover: `"supportedVersions":["2026-07-28"]`, shake: `"code":-32601`},
	} {
		c := count(t, s.build(t))
		for line, part := range want {
			before := len(c.births(t))
			cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(in, line)
			answer, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || !strings.Contains(answer, part) {
				t.Errorf("%s answers %s with %s, without %s: %v", s, line, answer, part, err)
			}
			if births, alive := len(c.births(t)), len(c.alive(t, c.births(t))); births != before+1 || alive != 1 {
				t.Errorf("%s: %d births and %d alive were counted after %d births", s, births, alive, before)
			}
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", s, err)
			}
			if alive := c.alive(t, c.births(t)); len(alive) != 0 {
				t.Errorf("%s: %v are counted as alive", s, alive)
			}
		}
	}
}
