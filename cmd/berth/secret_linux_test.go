package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSecretsLeaveNoTrace: during and after a full run of servers with secrets (set,
// start, call, crash, restart, status, audit, logs, errors, calls by a gateway that
// records their arguments) no value is in any file of the home, in what a command or the
// gateway printed, in its figures, or in the arguments of any process.
func TestSecretsLeaveNoTrace(t *testing.T) {
	const token, multi = "canary\"quoted\\token-zq71", "canary-line-one-xw5d\ncanary-line-two-vk9a"
	pieces := []string{"canary", "zq71", "xw5d", "vk9a"}
	home := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"berth", "testserver"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var printed bytes.Buffer
	inspect := func(when string) {
		t.Helper()
		look := func(where string, data []byte) {
			for _, piece := range pieces {
				if bytes.Contains(data, []byte(piece)) {
					t.Errorf("%s: %q is in %s:\n%.2000q", when, piece, where, data)
					return
				}
			}
		}
		_ = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				data, _ := os.ReadFile(path)
				look(path, data)
			}
			return nil
		})
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			data, _ := os.ReadFile(path)
			look(path, data)
		}
		look("what was printed", printed.Bytes())
	}
	berth := func(stdin string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "berth"), args...)
		cmd.Env = []string{"BERTH_HOME=" + home, "BERTH_SECRET_BACKEND=file", "BERTH_ALLOW_NETWORK_HOME=1", "GORACE=atexit_sleep_ms=0",
			"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &printed, &printed
		cmd.WaitDelay = 5 * time.Second
		if err := cmd.Run(); err != nil {
			t.Logf("berth %q: %v", args, err)
		}
		inspect("after berth " + strings.Join(args, " "))
	}
	t.Cleanup(func() {
		if err := endAll(home); err != nil {
			t.Error(err)
		}
	})
	berth(token, "secret", "set", "s/token")
	berth(multi, "secret", "set", "s", "multi")
	crash := filepath.Join(dir, "crashed")
	berth("", "add", "s", "--env", "WORD=secret://s/token", "--env", "LINES=secret://s/multi", "--allow", "filesystem:write:"+dir, "--", "testserver", "-env", "-crash-once", crash)
	berth("", "start", "s")
	berth("", "call", "s", "echo", `{"message":"hi"}`)
	berth("", "restart", "s")
	berth("", "status", "--json")
	berth("", "config", "s", "--json")
	berth("", "logs", "s")
	berth("", "audit", "--json")
	berth("", "secret", "list", "--json")
	berth("", "add", "bad", "--env", "A=secret://s/token", "--no-run", "--", "testserver")
	berth("", "add", "worse", "--env", "LD_LIBRARY_PATH=x", "--no-run", "--", "testserver", "secret://s/token")
	berth("", "secret", "set", "s/token")

	berth("", "config", "s", "--set", "berth.audit-arguments=text")
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	g := bench{t, home}.up()
	c := g.guest("s").modern()
	for _, value := range append(strings.Split(multi, "\n"), token, multi) {
		argument, err := json.Marshal(map[string]string{"message": value, "password": value})
		if err != nil {
			t.Fatal(err)
		}
		line, headers := c.call("echo", string(argument))
		if answer := c.must(line, headers...); !strings.Contains(answer, "canary") {
			t.Errorf("the echo is lost: %s", answer)
		}
		line, headers = c.call(value, "{}") // no such tool
		c.must(line, append(headers, "Mcp-Name", "nothing")...)
	}
	pid := bench{t, home}.status("s").PID
	bench{t, home}.kill(pid)
	line, headers := c.call("echo", `{"message":"hi"}`)
	c.must(line, headers...)
	resp, err := http.Get(g.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	figures, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %v", resp.Status, err)
	}
	printed.Write(figures)
	printed.WriteString(g.say.String())
	inspect("after calls by the gateway")
	berth("", "call", "s", "echo", `{"message":"by the gateway"}`)
	berth("", "audit", "--json")
	berth("", "top", "--once", "--json")

	berth("", "stop", "s")
	berth("", "doctor")
	logs, err := os.ReadFile(filepath.Join(home, "logs", "s.log"))
	if err != nil || !bytes.Contains(logs, []byte("env: WORD=***")) || !bytes.Contains(logs, []byte("env: LINES=***")) {
		t.Errorf("the server was not given its secrets: %v\n%s", err, logs)
	}
	if _, err := os.Stat(crash); err != nil {
		t.Errorf("the server did not crash: %v", err)
	}
}
