package catalog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// need skips where a program is not there.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not in the PATH", p)
		}
	}
}

func openHome(t testing.TB) *home.Home {
	t.Helper()
	h, err := home.Open(filepath.Join(t.TempDir(), "home"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func options(t testing.TB, environ []string) Options {
	return Options{
		Environ: environ,
		Look:    exec.LookPath,
		Say:     func(text string) { t.Log(text) },
	}
}

// publishHello publishes a package with a dependency, both of which want to run
// something when they are installed.
func publishHello(t testing.TB, r *registry, ran string) {
	touch := `"scripts":{"postinstall":"node -e \"require('fs').appendFileSync('` + filepath.ToSlash(ran) + `', process.env.npm_package_name + '\\n')\""}`
	r.publish(t, map[string]string{
		"package.json": `{"name":"@test/hello","version":"1.2.3","bin":{"hello":"cli.js"},"dependencies":{"who":"^2.0.0"},` + touch + `}`,
		"cli.js":       "#!/usr/bin/env node\nconsole.log('hello ' + require('who') + ' ' + process.argv.slice(2).join(' '))\n",
	})
	r.publish(t, map[string]string{
		"package.json": `{"name":"who","version":"2.1.0","main":"index.js",` + touch + `}`,
		"index.js":     "module.exports = 'world'\n",
	})
}

func parsed(t testing.TB, words ...string) Request {
	t.Helper()
	r, is, err := Parse(words)
	if err != nil || !is {
		t.Fatalf("%q: %v, %v", words, is, err)
	}
	return r
}

// printed runs the program of a copy.
func printed(t testing.TB, c *Copy, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.CommandPath, slices.Concat(c.Args, args)...)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", c.CommandPath, c.Args, err, out)
	}
	return string(out)
}

// use writes a server's file that names the copy.
func use(_ testing.TB, h *home.Home, name string) func(*Copy) error {
	return func(c *Copy) error {
		s := home.NewServer(name, c.Command, c.Args)
		s.Source = home.Source{Type: string(c.Lock.Kind), Package: c.Lock.Package, Copy: c.ID, Version: c.Lock.Version, Digest: c.Lock.Digest()}
		s.Settings.CommandPath = c.CommandPath
		return h.WriteServer(s, true)
	}
}

// left are the names in packages/ that are no copy and no lock of one.
func left(t testing.TB, h *home.Home) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(h.PackagesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func copies(t testing.TB, h *home.Home) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(h.PackagesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestFetchNPM: a package and what it needs are fetched by their hashes, run
// directly, without scripts, from one copy however often it is added; it is removed
// when nobody uses it.
func TestFetchNPM(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	ran := filepath.Join(t.TempDir(), "ran")
	publishHello(t, r, ran)
	s, environ := New(h), r.environ(t, "SECRET_TOKEN=t0ken")
	c, err := s.Fetch(t.Context(), parsed(t, "npx", "-y", "@test/hello@^1", "--loud"), options(t, environ), use(t, h, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Command != "node" || c.Lock.Version != "1.2.3" || len(c.Lock.Tree) != 2 || !c.Fetched {
		t.Errorf("fetched %+v, lock %+v", c, c.Lock)
	}
	for _, e := range c.Lock.Tree {
		if len(e.Integrity) != 1 || !strings.HasPrefix(e.Integrity[0], "sha512-") || !strings.HasPrefix(e.From, r.URL) || !e.Script {
			t.Errorf("the lock has %+v", e)
		}
	}
	if got := printed(t, c, "--loud"); got != "hello world --loud\n" {
		t.Errorf("it printed %q", got)
	}
	if _, err := os.Stat(ran); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an install script ran: %v", err)
	}
	if got := c.Scripted(); !slices.Equal(got, []string{"@test/hello", "who"}) {
		t.Errorf("scripts that did not run: %q", got)
	}

	again, err := s.Fetch(t.Context(), parsed(t, "npm", "exec", "@test/hello"), options(t, environ), use(t, h, "twin"))
	if err != nil || again.ID != c.ID || again.Fetched {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	if got := left(t, h); len(got) > 0 || len(copies(t, h)) != 1 {
		t.Errorf("left %q, copies %q", got, copies(t, h))
	}

	for _, name := range []string{"hello", "twin"} {
		if removed, kept, err := s.Prune(t.Context()); err != nil || len(removed)+len(kept) > 0 {
			t.Errorf("while %s uses it: removed %q, kept %q, %v", name, removed, kept, err)
		}
		if err := h.RemoveServer(name); err != nil {
			t.Fatal(err)
		}
	}
	// A server that writes into its own package must not lose that.
	mine := filepath.Join(c.Dir, "node_modules", "memory.jsonl")
	if err := os.WriteFile(mine, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if removed, kept, err := s.Prune(t.Context()); err != nil || len(removed) > 0 || !slices.Equal(kept, []string{mine}) {
		t.Errorf("with a file of the server's: removed %q, kept %q, %v", removed, kept, err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := s.Prune(t.Context()); err != nil || !slices.Equal(removed, []string{c.ID}) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if entries, err := os.ReadDir(h.PackagesDir()); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestAllowScripts: what is named may run its script, and nothing else.
func TestAllowScripts(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	ran := filepath.Join(t.TempDir(), "ran")
	publishHello(t, r, ran)
	o := options(t, r.environ(t))
	o.AllowScripts = []string{"who"}
	c, err := New(h).Fetch(t.Context(), parsed(t, "npx", "@test/hello"), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err := os.ReadFile(ran); string(doc) != "who\n" {
		t.Errorf("what ran: %q, %v", doc, err)
	}
	if got := c.Scripted(); !slices.Equal(got, []string{"@test/hello"}) {
		t.Errorf("scripts that did not run: %q", got)
	}
	o.AllowScripts = nil
	other, err := New(h).Fetch(t.Context(), parsed(t, "npx", "@test/hello"), o, nil)
	if err != nil || other.ID == c.ID {
		t.Errorf("without its script it is the same copy: %v", err)
	}
	o.AllowScripts = []string{"nobody"}
	if _, err := New(h).Fetch(t.Context(), parsed(t, "npx", "@test/hello"), o, nil); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("scripts of a package that is not there: %v", err)
	}
}

// TestForgedPackage: a file whose hash is another than the registry said is refused.
func TestForgedPackage(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	r.publish(t, map[string]string{"package.json": `{"name":"evil","version":"2.1.0"}`, "index.js": "module.exports = 'thief'\n"})
	r.forge("who/-/2.1.0.tgz", r.npm["evil"]["2.1.0"].tarball)
	_, err := New(h).Fetch(t.Context(), parsed(t, "npx", "@test/hello"), options(t, r.environ(t)), use(t, h, "hello"))
	if err == nil || !strings.Contains(err.Error(), "EINTEGRITY") {
		t.Errorf("a forged file: %v", err)
	}
	if len(copies(t, h)) > 0 || len(left(t, h)) > 0 {
		t.Errorf("copies %q, left %q", copies(t, h), left(t, h))
	}
}

// TestRestore: a copy that is damaged or gone is fetched again as it was, also when
// there is a newer version; an edited lock is refused.
func TestRestore(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	s, o := New(h), options(t, r.environ(t))
	c, err := s.Fetch(t.Context(), parsed(t, "npx", "@test/hello"), o, use(t, h, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.publish(t, map[string]string{"package.json": `{"name":"who","version":"2.2.0","main":"index.js"}`, "index.js": "module.exports = 'newer'\n"})
	server, err := h.ReadServer("hello")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Restore(t.Context(), server, o); err != nil || again.Fetched {
		t.Errorf("a copy in order: %+v, %v", again, err)
	}
	who := filepath.Join(c.Dir, "node_modules", "who", "index.js")
	for what, damage := range map[string]func() error{
		"edited":  func() error { return os.WriteFile(who, []byte("module.exports = 'thief'\n"), 0o600) },
		"removed": func() error { return os.Remove(who) },
		"added":   func() error { return os.WriteFile(filepath.Join(filepath.Dir(who), "more.js"), nil, 0o600) },
		"no list": func() error { return os.Remove(filepath.Join(c.Dir, sumFile)) },
		"gone":    func() error { return os.RemoveAll(c.Dir) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		again, err := s.Restore(t.Context(), server, o)
		if err != nil || !again.Fetched || again.ID != c.ID {
			t.Errorf("%s: %+v, %v", what, again, err)
		}
		if got := printed(t, c); got != "hello world \n" {
			t.Errorf("%s: it printed %q", what, got)
		}
	}
	path := filepath.Join(h.PackagesDir(), c.ID+".json")
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range [][2]string{{`"version": "2.1.0"`, `"version": "2.2.0"`}, {`sha512-`, `sha512-A`}, {`"format": 1`, `"format": 2`}, {`{`, `[`}, {`"tool"`, `"tols"`}} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(doc), edit[0], edit[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.lock(c.ID); err == nil {
			t.Errorf("a lock with %q for %q is read", edit[1], edit[0])
		}
		if _, err := s.Restore(t.Context(), server, o); err == nil {
			t.Errorf("a lock with %q for %q is taken", edit[1], edit[0])
		}
	}
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	server.Source.Digest = "sha256:" + strings.Repeat("0", 64)
	if _, err := s.Restore(t.Context(), server, o); !errors.Is(err, ErrLock) {
		t.Errorf("a server of another lock: %v", err)
	}
}

// TestSharedCopy: who adds the same package at the same time shares one copy.
func TestSharedCopy(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	var wg sync.WaitGroup
	fetched := make([]bool, 3)
	for i := range fetched {
		environ := r.environ(t)
		wg.Go(func() {
			c, err := New(h).Fetch(t.Context(), parsed(t, "npx", "@test/hello"), options(t, environ), use(t, h, "hello"+string(rune('a'+i))))
			if err != nil {
				t.Error(err)
				return
			}
			fetched[i] = c.Fetched
		})
	}
	wg.Wait()
	n := 0
	for _, f := range fetched {
		if f {
			n++
		}
	}
	if n != 1 || len(copies(t, h)) != 1 || r.count("who/-/2.1.0.tgz") != 1 {
		t.Errorf("%d fetched it, copies %q, asked for %d times", n, copies(t, h), r.count("who/-/2.1.0.tgz"))
	}
}

// TestCancel: an interrupted fetch ends what it started and leaves nothing.
func TestCancel(t *testing.T) {
	need(t, "npm", "node")
	r, h := newRegistry(t), openHome(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	r.onFile = func(string) { cancel(); <-gone }
	begun := time.Now()
	_, err := New(h).Fetch(ctx, parsed(t, "npx", "@test/hello"), options(t, r.environ(t)), use(t, h, "hello"))
	close(gone)
	if !errors.Is(err, context.Canceled) || time.Since(begun) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if len(copies(t, h)) > 0 || len(left(t, h)) > 0 {
		t.Errorf("copies %q, left %q", copies(t, h), left(t, h))
	}
}

// TestCutOff: where the network breaks off in the middle of a file, what was to be fetched
// is not there, and nothing of it; once it is back it is fetched.
func TestCutOff(t *testing.T) {
	for _, c := range []struct {
		name, tool, file string
		command          []string
	}{
		{"npm", "npm", "who/-/2.1.0.tgz", []string{"npx", "@test/hello"}},
		{"pip", "python3", "wheel/who-py/who_py-2.5-py3-none-any.whl", []string{"uvx", "hello-py"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.tool)
			if c.name == "pip" && os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
				t.Skip("needs BERTH_TEST_REGISTRIES=1: it takes long, as what that switches on")
			}
			r, h := newRegistry(t), openHome(t)
			publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
			publishPython(t, r)
			r.cut = map[string]bool{c.file: true}
			o := options(t, r.environ(t, "PIP_RETRIES=1"))
			o.Look = func(name string) (string, error) {
				if name == "uv" {
					return "", exec.ErrNotFound
				}
				return exec.LookPath(name)
			}
			s := New(h)
			if _, err := s.Fetch(t.Context(), parsed(t, c.command...), o, use(t, h, "hello")); err == nil {
				t.Fatal("half a file was taken")
			}
			if _, err := h.ReadServer("hello"); err == nil || len(copies(t, h)) > 0 || len(left(t, h)) > 0 {
				t.Errorf("%v; copies %q, left %q", err, copies(t, h), left(t, h))
			}
			r.mu.Lock()
			r.cut = nil
			r.mu.Unlock()
			got, err := s.Fetch(t.Context(), parsed(t, c.command...), o, use(t, h, "hello"))
			if err != nil {
				t.Fatal(err)
			}
			if text := printed(t, got); !strings.Contains(text, "hello world") {
				t.Errorf("it printed %q", text)
			}
		})
	}
}

// TestMissingTools: the error says what to install.
func TestMissingTools(t *testing.T) {
	h := openHome(t)
	o := options(t, nil)
	for _, words := range [][]string{{"npx", "x"}, {"uvx", "x"}} {
		for _, there := range []string{"", "node"} {
			o.Look = func(name string) (string, error) {
				if name == there {
					return "/bin/" + name, nil
				}
				return "", exec.ErrNotFound
			}
			_, err := New(h).Fetch(t.Context(), parsed(t, words...), o, nil)
			var hinted *berth.Hinted
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, "install") {
				t.Errorf("%q: %v", words, err)
			}
		}
	}
	if len(left(t, h)) > 0 {
		t.Errorf("left %q", left(t, h))
	}
}

func publishPython(t testing.TB, r *registry) {
	r.wheel(t, "hello-py", "1.0", "Requires-Dist: who-py>=2\n", map[string]string{
		"hello_py/__init__.py": "import sys, who_py\ndef main():\n    print('hello', who_py.WHO, sys.argv[1:])\n",
		"entry_points.txt":     "[console_scripts]\nhello-py = hello_py:main\n\n[other]\nx = y\n",
		// Python runs this whenever it starts.
		"zz_r.pth": "import sys; sys.stderr.write('pth ran\\n')\n",
	})
	r.wheel(t, "who-py", "2.5", "", map[string]string{"who_py.py": "WHO = 'world'\n"})
}

func testPython(t *testing.T, look func(string) (string, error)) {
	r, h := newRegistry(t), openHome(t)
	publishPython(t, r)
	s, o := New(h), options(t, r.environ(t))
	o.Look = look
	o.Show = func(text string) {
		if strings.Contains(text, "pth ran") {
			t.Error("what was installed ran")
		}
	}
	c, err := s.Fetch(t.Context(), parsed(t, "uvx", "hello-py", "a"), o, use(t, h, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Lock.Version != "1.0" || len(c.Lock.Tree) != 2 || !strings.HasPrefix(c.CommandPath, c.Dir) {
		t.Errorf("fetched %+v, lock %+v", c, c.Lock)
	}
	if got := printed(t, c, "a"); !strings.Contains(got, "hello world ['a']") {
		t.Errorf("it printed %q", got)
	}
	server, err := h.ReadServer("hello")
	if err != nil {
		t.Fatal(err)
	}
	// Running it has changed nothing: it was compiled before.
	if again, err := s.Restore(t.Context(), server, o); err != nil || again.Fetched {
		t.Errorf("after a run: %+v, %v", again, err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Restore(t.Context(), server, o); err != nil || !again.Fetched || again.ID != c.ID {
		t.Errorf("restored %+v, %v", again, err)
	}
	if _, err := s.Fetch(t.Context(), parsed(t, "uvx", "--from", "hello-py", "nothing"), o, nil); err == nil || !strings.Contains(err.Error(), "has no program nothing") {
		t.Errorf("a program that it has not: %v", err)
	}
	if err := h.RemoveServer("hello"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Prune(t.Context()); err != nil || len(copies(t, h)) > 0 {
		t.Errorf("copies %q, %v", copies(t, h), err)
	}

	r.wheel(t, "other-py", "2.5", "", map[string]string{"who_py.py": "WHO = 'thief'\n"})
	file := "who_py-2.5-py3-none-any.whl"
	r.forge("wheel/who-py/"+file, r.wheels["other-py"]["other_py-2.5-py3-none-any.whl"])
	o.Environ = r.environ(t)
	if _, err := s.Fetch(t.Context(), parsed(t, "uvx", "hello-py"), o, nil); err == nil {
		t.Error("a forged wheel is taken")
	}
}

func TestFetchPip(t *testing.T) {
	need(t, "python3")
	if runtime.GOOS == "windows" {
		need(t, "python")
	}
	testPython(t, func(name string) (string, error) {
		if name == "uv" {
			return "", exec.ErrNotFound
		}
		return exec.LookPath(name)
	})
}

func TestFetchUV(t *testing.T) {
	uv := os.Getenv("BERTH_TEST_UV")
	if uv == "" {
		t.Skip("BERTH_TEST_UV, the binary of uv, is not set")
	}
	testPython(t, func(name string) (string, error) {
		if name == "uv" {
			return uv, nil
		}
		return exec.LookPath(name)
	})
}
