package adopt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/adopt"
)

func context(client string) adopt.Context {
	return adopt.Context{
		Client: client, Home: "/home/u",
		Getenv: func(key string) (string, bool) {
			v, ok := map[string]string{"GITHUB_TOKEN": "hunter22", "HOST": "box", "EMPTY": ""}[key]
			return v, ok
		},
		Input: func(id string) (string, bool, error) {
			switch id {
			case "key":
				return "asked-for", true, nil
			case "region":
				return "eu", false, nil
			}
			return "", false, &adopt.Refusal{Why: "it asks for " + id}
		},
		EnvFile: func(path string) (map[string]string, error) {
			return map[string]string{"FROM": path, "A": "file"}, nil
		},
		File: func(path string) (string, error) { return "of " + path + "\n", nil },
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ client, doc, want string }{
		{"cursor", `{"command": "npx", "args": ["-y", "x", 3], "env": {"A": "1", "N": 2, "B": true, "Z": null}}`,
			`{"command":"npx","args":["-y","x","3"],"env":{"A":"1","B":"true","N":"2"}}`},
		{"cursor", `{"command": "npx", "args": ["x"], "env": {"API_KEY": "abc", "URL": "postgres://u:pass@h/d", "T": "${env:GITHUB_TOKEN}", "H": "${env:HOST}", "EMPTY_TOKEN": ""}}`,
			`{"command":"npx","args":["x"],"env":{"API_KEY":"abc","EMPTY_TOKEN":"","H":"box","T":"hunter22","URL":"postgres://u:pass@h/d"},"secrets":{"API_KEY":true,"T":true,"URL":true}}`},
		{"opencode", `{"type": "local", "command": ["uvx", "t"], "environment": {"X": "{env:HOST}", "F": "{file:~/t}"}, "enabled": true}`,
			`{"command":"uvx","args":["t"],"env":{"F":"of /home/u/t","X":"box"},"secrets":{"F":true}}`},
		{"cursor", `{"command": "x", "env": {"X": "{env:HOST} $HOST"}}`, `{"command":"x","env":{"X":"{env:HOST} $HOST"}}`},
		{"gemini-cli", `{"command": "x", "env": {"X": "a$HOST.b$1"}}`, `{"command":"x","env":{"X":"abox.b$1"}}`},
		{"claude-code", `{"command": "${NONE:-npx}", "args": ["${HOST}"], "env": {"E": "${EMPTY:-d}"}}`, `{"command":"npx","args":["box"],"env":{"E":"d"}}`},
		{"vscode", `{"type": "stdio", "command": "x", "args": ["${userHome}${/}d", "${input:region}"], "env": {"K": "${input:key}"}, "envFile": "/e", "cwd": "~/w"}`,
			`{"command":"x","args":["/home/u/d","eu"],"env":{"A":"file","FROM":"/e","K":"asked-for"},"cwd":"/home/u/w","secrets":{"K":true}}`},
		{"zed", `{"source": "custom", "command": {"path": "~/bin/x", "args": ["a"], "env": {"A": "1"}}}`, `{"command":"/home/u/bin/x","args":["a"],"env":{"A":"1"}}`},
		{"goose", `{"type": "stdio", "cmd": "x", "args": [], "envs": {"A": "1"}, "env_keys": ["key", "GITHUB_TOKEN"], "enabled": true}`,
			`{"command":"x","env":{"A":"1","GITHUB_TOKEN":"hunter22","key":"asked-for"},"secrets":{"GITHUB_TOKEN":true,"key":true}}`},
		{"cursor", `{"command": "C:\\Windows\\cmd.exe", "args": ["/c", "npx", "-y", "x"]}`, ``},
		{"cursor", `{"command": "cmd", "args": ["/c", "npx", "-y", "x"]}`, `{"command":"npx","args":["-y","x"]}`},
		{"cursor", `{"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer ${env:GITHUB_TOKEN}", "X-Region": "eu"}}`,
			`{"url":"https://x.example/mcp","headers":{"Authorization":"Bearer hunter22","X-Region":"eu"},"secrets":{"Authorization":true}}`},
		{"windsurf", `{"serverUrl": "https://x.example/mcp"}`, `{"url":"https://x.example/mcp"}`},
		{"codex", `{"url": "https://x.example/mcp", "bearer_token_env_var": "GITHUB_TOKEN", "http_headers": {"A": "b"}, "env_http_headers": {"X-H": "HOST"}}`,
			`{"url":"https://x.example/mcp","headers":{"A":"b","Authorization":"Bearer hunter22","X-H":"box"},"secrets":{"Authorization":true,"X-H":true}}`},
		{"codex", `{"command": "x", "env_vars": ["HOST", "NONE"]}`, `{"command":"x","env":{"HOST":"box"}}`},
		{"mistral-vibe", `{"transport": "http", "url": "https://x.example/mcp", "api_key_env": "GITHUB_TOKEN", "api_key_header": "X-Key", "api_key_format": "{token}"}`,
			`{"url":"https://x.example/mcp","headers":{"X-Key":"hunter22"},"secrets":{"X-Key":true}}`},
		{"continue", `{"url": "https://x.example/mcp", "requestOptions": {"headers": {"Authorization": "Bearer ${{ secrets.key }}"}}}`,
			`{"url":"https://x.example/mcp","headers":{"Authorization":"Bearer asked-for"},"secrets":{"Authorization":true}}`},

		// What is refused, and why.
		{"cursor", `[]`, `not a table`},
		{"cursor", `{}`, `neither a command nor a URL`},
		{"cursor", `{"command": "x", "url": "https://x.example"}`, `both`},
		{"cursor", `{"command": 3}`, `command is not a string`},
		{"cursor", `{"command": "x", "args": "y"}`, `args is not a list`},
		{"cursor", `{"command": "x", "args": [{}]}`, `no string at place 1`},
		{"cursor", `{"command": "x", "env": []}`, `env is not a table`},
		{"cursor", `{"command": "x", "env": {"A": "${env:NONE}"}}`, `NONE that it takes a value from is not set`},
		{"cursor", `{"command": "x", "env": {"A": "${command:pick}"}}`, `only the client can look up`},
		{"cursor", `{"command": "x", "args": ["${workspaceFolder}"]}`, `the project that is open`},
		{"vscode", `{"command": "x", "args": ["${input:key}"]}`, `argument 1 is or has a secret`},
		{"vscode", `{"command": "x", "env": {"A": "${input:other}"}}`, `it asks for other`},
		{"cursor", `{"command": "x", "args": ["--api-key", "sesame-open"]}`, `argument 2 is or has a secret`},
		{"cursor", `{"command": "x", "args": ["n", "in sesame-open"], "env": {"API_KEY": "sesame-open"}}`, `argument 2 is or has a secret`},
		{"cursor", `{"command": "./x"}`, `relative path`},
		{"cursor", `{"url": "https://x.example/mcp?apiKey=sesame-open"}`, `URL has a secret`},
		{"goose", `{"type": "builtin", "name": "developer"}`, `part of the client itself`},
	} {
		var value any
		if err := json.Unmarshal([]byte(c.doc), &value); err != nil {
			t.Fatal(c.doc, err)
		}
		s, err := adopt.Read(context(c.client), value)
		var refusal *adopt.Refusal
		switch got, _ := json.Marshal(s); {
		case c.want == "": // another on each system
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("%s: %v is no refusal", c.doc, err)
		case err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v; want %s", c.doc, err, c.want)
		case err == nil && string(got) != c.want:
			t.Errorf("%s:\n got %s\nwant %s", c.doc, got, c.want)
		}
		if refusal != nil {
			for _, value := range []string{"sesame-open", "hunter22", "asked-for"} {
				if text := fmt.Sprint(err, refusal.Hint); strings.Contains(text, value) {
					t.Errorf("%s: the refusal shows a value: %s", c.doc, text)
				}
			}
		}
	}
}

func TestReadOfAProject(t *testing.T) {
	c := context("vscode")
	c.Project = "/p/q"
	s, err := adopt.Read(c, map[string]any{"command": "./x", "args": []any{"${workspaceFolder}/d", "${workspaceFolderBasename}"}, "disabled": true})
	want := adopt.Server{Command: "./x", Args: []string{"/p/q/d", "q"}, Cwd: "/p/q", Env: map[string]string{}, Headers: map[string]string{}, Secrets: map[string]bool{}, Disabled: true}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	other := s
	other.Disabled = false
	if !s.Same(other) {
		t.Error("whether it is used makes it another server")
	}
	if other.Args = []string{"x"}; s.Same(other) {
		t.Error("other arguments make the same server")
	}
}

func TestNames(t *testing.T) {
	for entry, want := range map[string]string{
		"github": "github", "My Server!": "my-server", "io.github/foo": "io.github-foo", "..": "server", "": "server", "日本": "server",
		"verify": "verify-server", "con": "con-server", "-x-": "x", strings.Repeat("a", 80): strings.Repeat("a", 64), "a b__c": "a-b__c", "a--/b": "a-b",
	} {
		if got := adopt.Name(entry); got != want {
			t.Errorf("Name(%q) = %q, want %q", entry, got, want)
		}
	}
	taken := map[string]bool{"a": true, "a-2": true}
	if got := adopt.Unique("a", func(n string) bool { return taken[n] }); got != "a-3" {
		t.Error(got)
	}
	long := strings.Repeat("a", 64)
	if got := adopt.Unique(long, func(n string) bool { return n == long }); len(got) > 64 || berth.CheckName(got) != nil {
		t.Error(got)
	}
}

// FuzzRead: whatever an entry says, it is a server or a refusal, and what is run has
// nothing left to look up, and nothing in its arguments that is known as a secret.
func FuzzRead(f *testing.F) {
	f.Add("cursor", `{"command": "npx", "args": ["-y", "${env:HOST}"], "env": {"A_TOKEN": "${X:-y}"}}`)
	f.Add("opencode", `{"command": ["{file:x}", "{env:HOST}"], "environment": {}}`)
	f.Add("continue", `{"url": "https://${{ secrets.key }}/", "headers": {"a": 1}}`)
	f.Fuzz(func(t *testing.T, client, doc string) {
		var value any
		if json.Unmarshal([]byte(doc), &value) != nil {
			return
		}
		s, err := adopt.Read(context(client), value)
		var refusal *adopt.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatal(err)
		}
		if err == nil && (s.Command == "") == (s.URL == "") {
			t.Errorf("%+v is neither a program nor an address", s)
		}
		if name := adopt.Name(doc); berth.CheckName(name) != nil {
			t.Errorf("Name(%q) = %q", doc, name)
		}
	})
}
