package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A client takes Berth's entry out of its file: that is said as it happens, and put
// right where that is wanted; what a user has edited is left to him.
func TestLinkWatch(t *testing.T) {
	b := newBench(t)
	user := t.TempDir()
	file := filepath.Join(user, ".cursor", "mcp.json")
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		// As clients do: whole, by a rename.
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	const empty = "{\"mcpServers\": {}}\n"
	write(empty)
	t.Setenv("HOME", user)
	t.Setenv("USERPROFILE", user)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	b.berth("link", "cursor")
	linked, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	watch := func(args ...string) (next func(line string), end func()) {
		cmd := exec.Command("berth", append([]string{"--home", b.dir, "link", "--watch"}, args...)...)
		lines := make(chan string, 100)
		out := &lineWriter{lines: lines}
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // where the test failed
		next = func(want string) {
			t.Helper()
			select {
			case line := <-lines:
				if !strings.Contains(line, want) {
					t.Fatalf("it says %q, not %q", line, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("it does not say %q", want)
			}
		}
		return next, func() {
			t.Helper()
			_ = cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
	}

	next, end := watch()
	next("cursor: berth linked: " + file)
	write(empty)
	next("cursor: berth gone: " + file)
	write("{oops")
	next("cursor: berth unreadable: " + file + ": ")
	write(strings.Replace(string(linked), "proxy", "other", 1))
	next("cursor: berth edited: ")
	write(string(linked))
	next("cursor: berth linked: ")
	end()

	next, end = watch("--repair", "--all")
	next("cursor: berth linked: ")
	write(empty)
	next("cursor: berth gone: ")
	next("cursor: berth repaired: ")
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte(`"proxy"`)) {
		t.Errorf("%s, %v", text, err)
	}
	// Who takes it out again and again means it.
	for range mostRepairs - 1 {
		write(empty)
		next("cursor: berth gone: ")
		next("cursor: berth repaired: ")
	}
	write(empty)
	next("cursor: berth gone: ")
	next("it was put back 3 times within 1m0s, and is left out now")
	write(string(text))
	next("cursor: berth linked: ")
	write(strings.Replace(string(text), "proxy", "other", 1))
	next("cursor: berth edited: ")
	write(string(text))
	next("cursor: berth linked: ")
	if err := os.Mkdir(filepath.Join(user, ".kiro"), 0o700); err != nil {
		t.Fatal(err)
	}
	next("kiro: found: ")
	b.berth("unlink", "cursor")
	next("cursor: berth unlinked: ")
	end()
	if text, err = os.ReadFile(file); err != nil || bytes.Contains(text, []byte("proxy")) {
		t.Errorf("it was put back after unlink: %s, %v", text, err)
	}
	if out := b.berth("audit", "--action", "link"); !strings.Contains(out, "again") {
		t.Errorf("the repair is not on record: %s", out)
	}
}

// lineWriter hands out what is written to it line by line.
type lineWriter struct {
	lines chan<- string
	rest  []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.lines <- string(line)
		w.rest = rest
	}
}
