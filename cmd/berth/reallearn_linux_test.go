package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// ownDir is a directory that is not in /tmp, of which a confined server has its own.
func ownDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "berth-")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// learn is a lesson about a server.
func (b bench) learn(name string, args ...string) (l lesson) {
	b.Helper()
	text := b.berth(append([]string{"permissions", name, "--learn", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
	return l
}

// TestLearnRealServers: a server of node that is shown nothing ends at once, and what it
// looked for is proposed; with that it works. Of one of python, the file that it reads,
// the program that it runs, the host and port that it connects to, and not the key that
// it reads as well.
func TestLearnRealServers(t *testing.T) {
	prefix := npmPrefix(t)
	// Not what a version manager puts in its place, which looks for it in the home directory.
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		lacks(t, "python3")
	}
	b := newBench(t)
	dir := ownDir(t)
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	letter := write("letter", "dear")
	b.berth("add", "files", "--no-run", "--", "node", filepath.Join(prefix, "node_modules", "@modelcontextprotocol", "server-filesystem", "dist", "index.js"), dir)
	if l := b.learn("files", "--apply"); !slices.Equal(l.Grants, []string{"filesystem:read:" + dir}) || !l.Applied {
		t.Fatalf("learned %+v", l)
	}
	if st := b.status("files"); st.Status != berth.Stopped {
		t.Errorf("it was stopped, and now is %+v", st)
	}
	if got := b.berth("call", "files", "read_file", fmt.Sprintf(`{"path":%q}`, letter)); !strings.Contains(got, "dear") {
		t.Errorf("with what was learned: %q", got)
	}
	b.berth("stop", "files")

	t.Setenv("HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := write(".ssh/id", "-----BEGIN")
	script := filepath.Join(t.TempDir(), "server.py")
	if err := os.WriteFile(script, []byte(pythonServer), 0o600); err != nil {
		t.Fatal(err)
	}
	b.berth("add", "snake", "--no-run", "--", strings.TrimSpace(string(python)), script)
	b.berth("start", "snake")
	before := b.status("snake")
	l := b.learn("snake", "--", "open", fmt.Sprintf(`{"path":%q}`, letter), "open", fmt.Sprintf(`{"path":%q}`, key), "connect", `{"host":"api.example.com","port":8443}`, "run", `{"path":"/usr/bin/env"}`)
	env, err := filepath.EvalSymlinks("/usr/bin/env")
	if err != nil {
		t.Fatal(err)
	}
	for _, grant := range []string{"network:api.example.com:8443", "filesystem:read:" + letter, "exec:" + env} {
		if !slices.Contains(l.Grants, grant) {
			t.Errorf("%s is not proposed: %q", grant, l.Grants)
		}
	}
	if !slices.Equal(l.Kept, []string{"filesystem:read:" + key}) || l.Applied {
		t.Errorf("kept are %q, applied %v", l.Kept, l.Applied)
	}
	if st := b.status("snake"); st.Status != berth.Running || st.PID == before.PID {
		t.Errorf("it ran before as %d, and now is %+v", before.PID, st)
	}
	if got := b.berth("permissions", "snake"); strings.Contains(got, "granted\n") {
		t.Errorf("something was granted unasked:\n%s", got)
	}
}

const pythonServer = `
import json, socket, subprocess, sys
def say(o):
    sys.stdout.write(json.dumps(o) + "\n"); sys.stdout.flush()
def do(tool, a):
    if tool == "open": return open(a["path"]).read()
    if tool == "run": return subprocess.run([a["path"]], capture_output=True, text=True).stdout
    with socket.create_connection((a["host"], a["port"]), timeout=20): return "connected"
for line in sys.stdin:
    m = json.loads(line)
    if m.get("method") == "initialize":
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "snake", "version": "1"}}})
    elif m.get("method") == "tools/list":
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in ("open", "connect", "run")]}})
    elif m.get("method") == "tools/call":
        try: text, bad = do(m["params"]["name"], m["params"]["arguments"]), False
        except Exception as e: text, bad = str(e), True
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"content": [{"type": "text", "text": text}], "isError": bad}})
    elif "id" in m:
        say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32601, "message": "no such method"}})
`

// TestHTTPInside: a real server that listens on HTTP in a network of its own is reached
// at its port of this machine, by whom it may be and by Berth's clients, and by nobody
// when it is down; and it reaches nothing itself.
func TestHTTPInside(t *testing.T) {
	prefix := npmPrefix(t)
	b := newBench(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	b.berth("add", "web", "--transport", "http", "--port", port, "--env", "PORT="+port, "--",
		"node", filepath.Join(prefix, "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js"), "streamableHttp")
	at := "http://127.0.0.1:" + port
	if got := b.berth("start", "web"); !strings.HasSuffix(got, ": it answers at "+at+"\n") {
		t.Errorf("start says %q", got)
	}
	st := b.status("web")
	if g := st.Guarantees[berth.GuaranteeEgress]; g.State == berth.None {
		t.Errorf("its way out is open: %+v", g)
	}
	b.berth("add", "far", "--url", at+"/mcp")
	if got := b.berth("call", "far", "echo", `{"message":"hi"}`); got != "Echo: hi\n" {
		t.Errorf("the call says %q", got)
	}
	b.kill(st.PID)
	if err := awaitStatus(b, "web", func(now berth.Status) bool { return now.Status == berth.Running && now.PID != st.PID }); err != nil {
		t.Fatal(err)
	}
	b.berth("start", "web")   // waits until it answers again
	b.berth("restart", "far") // its session went with the process
	if got := b.berth("call", "far", "echo", `{"message":"again"}`); got != "Echo: again\n" {
		t.Errorf("after a restart the call says %q", got)
	}
	b.berth("stop", "web")
	if resp, err := http.Get(at + "/mcp"); err == nil {
		resp.Body.Close()
		t.Errorf("it is down, and %s answers %s", at, resp.Status)
	}
	b.berth("stop", "far")
}
