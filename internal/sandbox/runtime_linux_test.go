package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	berth "github.com/berth-run/berth"
)

const runRole = "sandbox-test-run"

// runMain executes each argument, a program, and prints what came of it.
func runMain(args []string) {
	for _, path := range args[1:] {
		cmd := exec.Command(path)
		cmd.Stdin = strings.NewReader("")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("%s: no: %v %s\n", path, err, strings.ReplaceAll(string(out), "\n", " "))
		} else {
			fmt.Printf("%s: ran\n", path)
		}
	}
}

// eachWay runs a test with the namespaces that there are, and without any.
func eachWay(t *testing.T, test func(t *testing.T, ns Namespaces)) {
	t.Helper()
	t.Run("no namespaces", func(t *testing.T) { test(t, Namespaces{}) })
	if ns := Probe("").Namespaces; ns.Mount {
		t.Run("namespaces", func(t *testing.T) { test(t, ns) })
	}
}

// confined compiles for a program of the world.
func (w *world) confined(ns Namespaces, c berth.Confinement, path string, argv ...string) order {
	w.t.Helper()
	f := w.facts(ns, path, argv...)
	c.Profile = berth.ProfileStandard
	if c.Data == "" {
		c.Data = w.data
	}
	plan, err := Compile(c, f)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, warning := range plan.Warnings {
		w.t.Log("warning: ", warning)
	}
	return order{Plan: plan, Path: path, Argv: argv, Env: append(f.Env, plan.Environ()...)}
}

// TestProgramsThatMayBeExecuted: a permission to execute is about programs, whatever a
// tool is called.
func TestProgramsThatMayBeExecuted(t *testing.T) {
	w := newWorld(t)
	script := w.shared + "/script"
	w.write(script, "#!/usr/bin/env sh\nuname\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		allow []string
		runs  string // of /usr/bin/cat, /usr/bin/true, the script
	}{
		{"none", nil, "--- "},
		{"one", []string{"exec:cat"}, "x--"},
		{"one by its path", []string{"exec:/usr/bin/true"}, "-x-"},
		{"a script, with its interpreters and what it names", []string{"exec:" + script}, "--x"},
		{"all", []string{"exec:*", "filesystem:read:" + w.shared}, "xxx"},
		{"one that is not there", []string{"exec:no-such-program"}, "---"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, ns Namespaces) {
				w.t = t
				o := w.confined(ns, berth.Confinement{Allow: c.allow}, self(t), runRole, "/usr/bin/cat", "/usr/bin/true", script)
				out, err := o.start(t)
				got := ""
				for _, line := range lines(out) {
					if strings.HasSuffix(line, ": ran") {
						got += "x"
					} else {
						got += "-"
					}
				}
				if err != nil || got != strings.TrimSpace(c.runs) {
					t.Errorf("%v: %q, want %q\n%s", err, got, c.runs, out)
				}
			})
		})
	}
}

// lookNode returns the programs of node that this machine has.
func lookNode() []string {
	var all []string
	for _, path := range []string{os.Getenv("BERTH_TEST_NODE24"), lookup("node")} {
		if path != "" {
			all = append(all, path)
		}
	}
	return all
}

func lookup(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

const nodeProgram = `
const { Worker, isMainThread, parentPort } = require("worker_threads")
if (!isMainThread) { parentPort.postMessage("worker"); return }
const fs = require("fs"), os = require("os"), path = require("path"), dep = require("dep")
if (process.argv[2] === "child") { process.send("child"); process.disconnect(); return }
const said = [dep]
const file = path.join(process.argv[2], "note")
fs.writeFileSync(file, "x"); said.push(fs.readFileSync(file, "utf8"))
fs.writeFileSync(path.join(os.tmpdir(), "t"), "x"); said.push("tmp")
try { fs.readFileSync(process.argv[3]); said.push("LEAK") } catch (e) { said.push(e.code === "ENOENT" ? "EACCES" : e.code) }
os.networkInterfaces(); os.cpus(); require("crypto").randomBytes(8)
new Worker(__filename).on("message", m => {
	said.push(m)
	require("child_process").fork(__filename, ["child"]).on("message", m => {
		said.push(m)
		require("dns").lookup("localhost", e => { said.push(e ? e.code : "dns"); console.log(said.join(" ")) })
	})
})
`

const pythonProgram = `
import multiprocessing, os, ssl, sys, tempfile, threading, subprocess, asyncio, socket, hashlib
def work(x): return x * 2
if __name__ == "__main__":
    said = []
    with open(os.path.join(sys.argv[1], "note"), "w") as f: f.write("x")
    with tempfile.TemporaryFile() as f: f.write(b"x"); said.append("tmp")
    try: open(sys.argv[2]).read(); said.append("LEAK")
    except OSError as e: said.append(type(e).__name__.replace("FileNotFoundError", "PermissionError"))
    multiprocessing.set_start_method("spawn")
    with multiprocessing.Pool(2) as p: said.append(str(p.map(work, [1, 2])))
    lock = multiprocessing.Lock()
    with lock: said.append("lock")
    said.append(subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True, text=True).stdout.strip())
    async def a(): return "asyncio"
    said.append(asyncio.run(a()))
    ssl.create_default_context()
    print(" ".join(said))
`

// TestRuntimes: node and python do what servers do with them, from wherever they are
// installed, and do not read what they may not.
func TestRuntimes(t *testing.T) {
	w := newWorld(t)
	pkg := w.home + "/server"
	for _, dir := range []string{pkg + "/node_modules/dep", pkg + "/dist"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.write(pkg+"/package.json", "{}")
	w.write(pkg+"/node_modules/dep/index.js", `module.exports = "dep"`)
	w.write(pkg+"/dist/index.js", nodeProgram)
	w.write(pkg+"/server.py", pythonProgram)
	try := func(t *testing.T, want, path string, argv ...string) {
		eachWay(t, func(t *testing.T, ns Namespaces) {
			w.t = t
			o := w.confined(ns, berth.Confinement{}, path, append([]string{path}, argv...)...)
			out, err := o.start(t)
			if err != nil || strings.TrimSpace(out) != want {
				t.Errorf("%v: %q, want %q", err, out, want)
			}
		})
	}
	for _, node := range lookNode() {
		t.Run(node, func(t *testing.T) {
			try(t, "dep x tmp EACCES worker child dns", node, pkg+"/dist/index.js", w.data, w.secret)
		})
		t.Run(node+" in the home", func(t *testing.T) {
			// As nvm has it: the prefix of one version, beside others.
			prefix := w.home + "/.nvm/versions/node/v1"
			copyProgram(t, node, prefix+"/bin/node")
			if err := os.MkdirAll(prefix+"/lib/node_modules", 0o700); err != nil {
				t.Fatal(err)
			}
			w.write(prefix+"/lib/node_modules/x", "")
			sibling := w.home + "/.nvm/versions/node/v2"
			if err := os.MkdirAll(sibling, 0o700); err != nil {
				t.Fatal(err)
			}
			w.write(sibling+"/file", "x")
			try(t, "dep x tmp EACCES worker child dns", prefix+"/bin/node", pkg+"/dist/index.js", w.data, sibling+"/file")
		})
	}
	want := "tmp PermissionError [2, 4] lock child asyncio"
	python := lookup("python3")
	if python == "" {
		t.Skip("no python3 here")
	}
	real := python
	if out, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output(); err == nil {
		real = strings.TrimSpace(string(out))
	}
	if f, err := os.Open(real); err != nil {
		t.Skipf("this user cannot use %s", real)
	} else {
		f.Close()
	}
	t.Run(real, func(t *testing.T) { try(t, want, real, pkg+"/server.py", w.data, w.secret) })
	t.Run("a virtual environment", func(t *testing.T) {
		venv := w.home + "/venvs/one"
		if out, err := exec.Command(real, "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
			t.Skipf("no virtual environment here: %v: %s", err, out)
		}
		script := venv + "/bin/server"
		w.write(script, "#!"+venv+"/bin/python3\n"+pythonProgram)
		if err := os.Chmod(script, 0o700); err != nil {
			t.Fatal(err)
		}
		try(t, want, script, w.data, w.secret)
		try(t, want, venv+"/bin/python", script, w.data, w.secret)
	})
	if strings.Contains(python, "/shims/") {
		t.Run(python, func(t *testing.T) { try(t, want, python, pkg+"/server.py", w.data, w.secret) })
	}
}

func copyProgram(t testing.TB, from, to string) {
	t.Helper()
	real, err := filepath.EvalSymlinks(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(real)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestChromium: a browser works inside with its own flags, granted as the script that
// Debian has for it. It needs what only namespaces make harmless: Unix sockets, and
// /proc/self of each of its processes.
func TestChromium(t *testing.T) {
	if lookup("chromium") == "" {
		t.Skip("no chromium here")
	}
	w := newWorld(t)
	w.write(w.data+"/page.html", `<p id="p">before</p><script>document.getElementById("p").textContent = 6 * 7</script>`)
	ns := Probe("").Namespaces
	if !ns.Mount || !ns.PID {
		t.Skip("no namespaces here")
	}
	path := lookup("chromium")
	o := w.confined(ns, berth.Confinement{Allow: []string{"exec:chromium"}}, path,
		path, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+w.data+"/profile", "--dump-dom", "file://"+w.data+"/page.html")
	o.Env = append(o.Env, "XDG_CONFIG_HOME="+w.data, "XDG_CACHE_HOME="+w.data)
	out, err := o.start(t)
	if !strings.Contains(out, `<p id="p">42</p>`) {
		t.Errorf("%v: %s", err, out)
	}
}
