package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/listing"
)

// TestCatalog is `make catalog-check`: each entry of the catalogue is installed from its
// registry, by the hash that stands there, and run, with accounts that are made up. One
// that ran before has to run, and to list the same tools. BERTH_TEST_UPDATE=1 writes
// down what was seen; BERTH_CATALOG_ONLY names some.
func TestCatalog(t *testing.T) {
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" || os.Getenv("BERTH_CATALOG_CHECK") != "1" {
		lacks(t, "BERTH_TEST_REGISTRIES=1, and BERTH_CATALOG_CHECK=1: it takes half an hour")
	}
	if node := os.Getenv("BERTH_TEST_NODE24"); node != "" {
		t.Setenv("PATH", filepath.Dir(node)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	if uv := os.Getenv("BERTH_TEST_UV"); uv != "" {
		t.Setenv("PATH", filepath.Dir(uv)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	all, err := listing.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	only := strings.Fields(os.Getenv("BERTH_CATALOG_ONLY"))
	for _, e := range all {
		if len(only) > 0 && !slices.Contains(only, e.Name) {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			tools, ran := tryEntry(t, e)
			switch {
			case !ran && e.Ran != "":
				t.Errorf("it ran on %s, and did not now", e.Ran)
			case !ran:
				t.Log("not run")
			case os.Getenv("BERTH_TEST_UPDATE") != "":
				writeDown(t, e.Name, tools)
			default:
				if e.Ran != "" && !slices.Equal(tools, e.Tools) {
					t.Errorf("it listed %q, and lists %q now", e.Tools, tools)
				}
			}
		})
	}
}

// tryEntry installs and runs an entry, and returns the names of its tools; ran is false if
// it did not answer. That it cannot be fetched is an error.
func tryEntry(t *testing.T, e listing.Entry) (tools []string, ran bool) {
	b := newBench(t)
	args := []string{"install", e.Name, "--yes", "--timeout", "60s"}
	for i, set := range e.Settings {
		switch {
		case set.Secret:
			if set.Required {
				name := fmt.Sprintf("BERTH_TEST_MADE_UP_%d", i)
				value := "made-up-" + e.Name
				if e.Name == "mongodb" {
					value = "mongodb://127.0.0.1:9/made-up"
				}
				t.Setenv(name, value)
				args = append(args, "--secret", set.Key+"=env:"+name)
			}
		case set.Required && set.Default == "":
			args = append(args, "--set", set.Key+"="+madeUp(t, set))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	call := func(args ...string) (string, string, int) {
		var stdout, stderr bytes.Buffer
		code := run(ctx, append([]string{"--home", b.dir}, args...), strings.NewReader(""), &stdout, &stderr)
		return stdout.String(), stderr.String(), code
	}
	_, said, code := call(args...)
	if code != 0 {
		if !strings.Contains(said, "its first run failed") {
			t.Errorf("%q: %s", args, said)
		}
		t.Logf("%s", said)
		return nil, false
	}
	out, said, code := call("tools", e.Name, "--json")
	var list []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil {
		t.Logf("tools: %v: %s", err, said)
		return nil, false
	}
	for _, tool := range list {
		tools = append(tools, tool.Name)
	}
	if len(tools) == 0 {
		return nil, false // it wants an account that is one
	}
	slices.Sort(tools)
	call("remove", e.Name, "--data", "--purge")
	return tools, true
}

// madeUp is a value that a setting may have.
func madeUp(t *testing.T, set listing.Setting) string {
	switch set.Type {
	case "directory":
		dir := t.TempDir()
		if err := exec.Command("git", "init", "--quiet", dir).Run(); err != nil { // for the one of git
			t.Log(err)
		}
		return dir
	case "file":
		file := filepath.Join(t.TempDir(), "file")
		text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: \"http://127.0.0.1:9\"}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	case "url":
		return "http://127.0.0.1:9"
	case "number":
		return "9"
	}
	return "madeup"
}

// writeDown puts that an entry ran, and the tools that it listed, into the catalogue.
func writeDown(t *testing.T, server string, tools []string) {
	file := filepath.Join("..", "..", "internal", "listing", "servers.toml")
	doc, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(withTools(string(doc), server, tools, time.Now().UTC().Format(time.DateOnly))), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// withTools is the text of the catalogue with what was seen of a server in the place of
// what was seen before.
func withTools(doc, server string, tools []string, day string) string {
	begin := "[[server]]\nname = \"" + server + "\"\n"
	before, rest, _ := strings.Cut(doc, begin)
	entry, after, more := strings.Cut(rest, "\n[[server]]\n")
	entry = regexp.MustCompile(`(?m)^(?:not_)?(?:ran|run) = .*\n|^tools = \[(?:\n  .*)*\n\]\n`).ReplaceAllString(entry, "")
	var b strings.Builder
	b.WriteString(before + begin)
	fmt.Fprintf(&b, "ran = %q\ntools = [\n", day)
	for _, tool := range tools {
		fmt.Fprintf(&b, "  %q,\n", tool)
	}
	b.WriteString("]\n" + entry)
	if more {
		b.WriteString("\n[[server]]\n" + after)
	}
	return b.String()
}

func TestWithTools(t *testing.T) {
	const doc = "[[server]]\nname = \"a\"\nkind = \"npm\"\n\n[[server]]\nname = \"b\"\nkind = \"npm\"\n[[server.setting]]\nkey = \"a\"\n"
	once := withTools(doc, "b", []string{"x", "y"}, "2026-01-01")
	want := strings.Replace(doc, "name = \"b\"\n", "name = \"b\"\nran = \"2026-01-02\"\ntools = [\n  \"z\",\n]\n", 1)
	if got := withTools(once, "b", []string{"z"}, "2026-01-02"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
