package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// TestAuditFollow: a process that follows the trail prints what others write, when they
// write it, also when the trail goes on in a new file, and ends well by Ctrl-C.
func TestAuditFollow(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process can be sent Ctrl-C alone there")
	}
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("add", "two", "--no-run", "--", "testserver")
	cmd := exec.Command("berth", "--home", b.dir, "audit", "one", "-f", "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	next := func(action, detail string) {
		t.Helper()
		var rec berth.Record
		if !lines.Scan() {
			t.Fatalf("it ended before %s %s: %v\n%s", action, detail, cmd.Wait(), &stderr)
		}
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil || rec.Server != "one" || rec.Action != action || rec.Detail != detail {
			t.Fatalf("got %s (%v), want %s %s", lines.Bytes(), err, action, detail)
		}
	}
	next(berth.ActionAdd, "")
	b.do("enable", "two")
	b.do("enable", "one")
	next(berth.ActionConfig, "enabled")

	// The file is full, by what is no record; the next but one goes to a new file.
	file := filepath.Join(b.dir, "audit", "audit.jsonl")
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	b.do("disable", "one")
	next(berth.ActionConfig, "disabled")
	b.do("enable", "one")
	next(berth.ActionConfig, "enabled")
	if older, err := filepath.Glob(filepath.Join(b.dir, "audit", "audit-*.jsonl")); err != nil || len(older) != 1 {
		t.Fatalf("files that were put aside: %q, %v", older, err)
	}
	b.do("disable", "one")
	next(berth.ActionConfig, "disabled")

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Errorf("it prints more: %s", lines.Bytes())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v\n%s", err, &stderr)
	}

	// Without --json it is a table.
	cmd = exec.Command("berth", "--home", b.dir, "audit", "two", "-f", "--action", "config")
	table := &waitFor{text: " enabled\n", found: make(chan struct{})}
	cmd.Stdout = table
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-table.found:
	case <-time.After(time.Minute):
		t.Error("nothing is printed")
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	const want = `^TIME +SERVER +ACTION +PID +DETAIL\n[-0-9]+ [:0-9]+  two +config +-  +enabled\n$`
	if !regexp.MustCompile(want).MatchString(table.String()) {
		t.Errorf("it printed:\n%s", table)
	}
}
