//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	berth "github.com/berth-run/berth"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files")

// tree makes files, directories (a trailing slash) and links (NAME -> TARGET) in a fresh
// directory without links.
func tree(t testing.TB, entries ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, target, link := strings.Cut(e, " -> ")
		path := filepath.Join(dir, name)
		parent := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			parent = path
		}
		err := os.MkdirAll(parent, 0o700)
		switch {
		case link:
			err = errors.Join(err, os.Symlink(strings.ReplaceAll(target, "DIR", dir), path))
		case !strings.HasSuffix(name, "/"):
			text := ""
			if name, first, ok := strings.Cut(name, "|"); ok {
				path, text = filepath.Join(dir, name), strings.ReplaceAll(first, "DIR", dir)
			}
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// home has what users have: secrets, several runtimes, servers.
func home(t testing.TB) (string, Facts) {
	dir := tree(t,
		".ssh/id", ".aws/credentials", "documents/letter", ".config/google-chrome/Cookies",
		".berth/audit/audit.jsonl", ".berth/data/one/", ".berth/data/two/", ".berth/packages/one/index.js",
		".nvm/versions/node/v20/bin/node", ".nvm/versions/node/v20/lib/node_modules/", ".nvm/versions/node/v18/bin/node",
		".nvm/versions/node/v18/lib/node_modules/", ".nvm/alias/default", ".nvm/current -> versions/node/v20",
		".pyenv/shims/python", ".pyenv/versions/3.12/bin/python3", ".pyenv/versions/3.12/lib/python3.12/", ".pyenv/versions/3.9/lib/python3.9/",
		".local/share/uv/python/cpython-3.12/bin/python3.12", ".local/share/uv/python/cpython-3.12/lib/python3.12/",
		".local/share/uv/tools/srv/bin/python -> DIR/.local/share/uv/python/cpython-3.12/bin/python3.12",
		".local/share/uv/tools/srv/pyvenv.cfg", ".local/share/uv/tools/other/pyvenv.cfg",
		".local/share/keyrings/login", ".local/lib/python3.12/site-packages/",
		".local/bin/srv -> DIR/.local/share/uv/tools/srv/bin/srv",
		".volta/bin/node", ".volta/tools/image/", ".volta/secret",
		"bin/tool", "projects/server/package.json", "projects/server/dist/index.js", "projects/other/file",
		"x/node_modules/a/cli.js", "loose.js",
	)
	script := "#!" + dir + "/.local/share/uv/tools/srv/bin/python\n"
	if err := os.WriteFile(dir+"/.local/share/uv/tools/srv/bin/srv", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, Facts{
		Dir: dir, Home: dir, BerthHome: dir + "/.berth",
		Env: []string{"PATH=" + dir + "/.nvm/current/bin:/usr/bin:/bin", "HOME=" + dir},
	}
}

// sees says whether a plan lets a path be read.
func sees(p *Plan, path string) bool {
	return p.shows(path, slices.Concat(p.Read, p.Exec, p.Write))
}

func mayRun(p *Plan, path string) bool {
	return slices.ContainsFunc(p.Exec, func(dir string) bool { return within(path, dir) })
}

// never are what no plan shows that was not asked for it.
func never(home string) []string {
	var all []string
	for _, name := range []string{
		"", ".ssh", ".ssh/id", ".aws/credentials", "documents", "documents/letter", ".config/google-chrome/Cookies",
		".berth", ".berth/audit/audit.jsonl", ".berth/data/two", ".local", ".local/share", ".local/share/keyrings/login",
		".nvm", ".volta/secret", "projects", "projects/other/file",
	} {
		all = append(all, filepath.Join(home, name))
	}
	return append(all, "/", "/home", "/root/.ssh", "/etc", "/etc/shadow", "/etc/berth", "/proc", "/proc/1/environ", "/dev", "/run", "/var", "/run/docker.sock", "/tmp")
}

// TestRuntimePrefix: of each kind of installation, what it needs and nothing beside it.
func TestRuntimePrefix(t *testing.T) {
	dir, facts := home(t)
	for _, c := range []struct {
		name, path string
		args       []string
		sees, not  []string
	}{
		{"nvm", ".nvm/versions/node/v20/bin/node", nil,
			[]string{".nvm/versions/node/v20/bin/node", ".nvm/versions/node/v20/lib/node_modules"}, []string{".nvm/versions/node/v18/bin/node", ".nvm/alias/default"}},
		{"nvm by a link", ".nvm/current/bin/node", nil,
			[]string{".nvm/versions/node/v20/bin/node"}, []string{".nvm/versions/node/v18/bin/node"}},
		{"pyenv", ".pyenv/versions/3.12/bin/python3", nil, []string{".pyenv/versions/3.12/lib/python3.12"}, []string{".pyenv/versions/3.9", ".pyenv/shims"}},
		{"pyenv's shims", ".pyenv/shims/python", nil, []string{".pyenv/versions/3.9/lib/python3.9", ".pyenv/shims"}, nil},
		{"uv's python", ".local/share/uv/python/cpython-3.12/bin/python3.12", nil, []string{".local/share/uv/python/cpython-3.12/lib/python3.12"}, []string{".local/share/uv/tools/srv"}},
		{"uv's tool by its link", ".local/bin/srv", nil,
			[]string{".local/share/uv/tools/srv/pyvenv.cfg", ".local/share/uv/python/cpython-3.12/lib/python3.12"}, []string{".local/share/uv/tools/other", ".local/bin"}},
		{"volta", ".volta/bin/node", nil, []string{".volta/bin/node", ".volta/tools/image"}, nil},
		{"a program of the user's", "bin/tool", nil, []string{"bin/tool"}, []string{"bin"}},
		{"a package", ".nvm/versions/node/v20/bin/node", []string{"--enable-source-maps", "DIR/projects/server/dist/index.js"}, []string{"projects/server/package.json"}, nil},
		{"a relative package", ".nvm/versions/node/v20/bin/node", []string{"projects/server/dist/index.js"}, []string{"projects/server/dist"}, nil},
		{"node_modules", ".nvm/versions/node/v20/bin/node", []string{"DIR/x/node_modules/a/cli.js"}, []string{"x/node_modules"}, []string{"x"}},
		{"a loose script", ".nvm/versions/node/v20/bin/node", []string{"DIR/loose.js"}, []string{"loose.js"}, nil},
		{"code in an argument", ".nvm/versions/node/v20/bin/node", []string{"-e", "DIR/loose.js"}, nil, []string{"loose.js"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts
			f.Path = filepath.Join(dir, c.path)
			f.Argv = []string{f.Path}
			for _, a := range c.args {
				f.Argv = append(f.Argv, strings.ReplaceAll(a, "DIR", dir))
			}
			p, err := Compile(berth.Confinement{Profile: berth.ProfileStandard}, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range c.sees {
				if !sees(&p, filepath.Join(dir, path)) || !mayRun(&p, filepath.Join(dir, path)) {
					t.Errorf("%s: not in %q", path, p.Exec)
				}
			}
			for _, path := range c.not {
				if sees(&p, filepath.Join(dir, path)) {
					t.Errorf("%s: seen, by %q", path, p.Exec)
				}
			}
			for _, path := range never(dir) {
				if sees(&p, path) {
					t.Errorf("%s: seen, by %q %q %q", path, p.Read, p.Exec, p.Write)
				}
			}
		})
	}
}

// TestGrants: each form of a permission, and each that cannot be.
func TestGrants(t *testing.T) {
	dir, facts := home(t)
	facts.Path = dir + "/bin/tool"
	for _, c := range []struct {
		allow   string
		err     string
		warning string
		check   func(p *Plan) bool
	}{
		{allow: "filesystem:read:DIR/documents", check: func(p *Plan) bool { return slices.Contains(p.Read, dir+"/documents") && len(p.Write) == 0 }},
		{allow: "filesystem:read:~/documents", check: func(p *Plan) bool { return slices.Contains(p.Read, dir+"/documents") }},
		{allow: "filesystem:write:DIR/documents/letter", check: func(p *Plan) bool { return slices.Equal(p.Write, []string{dir + "/documents/letter"}) }},
		{allow: "filesystem:read:DIR/nowhere", warning: "no such file"},
		{allow: "filesystem:read:documents", err: "not a full path"},
		{allow: "filesystem:look:DIR", err: "neither"},
		{allow: "filesystem:read:DIR", err: "covers Berth's own"},
		{allow: "filesystem:read:~", err: "covers Berth's own"},
		{allow: "filesystem:read:/", err: "Berth's own"},
		{allow: "filesystem:read:DIR/.berth", err: "Berth's own files"},
		{allow: "filesystem:write:DIR/.berth/data/two", err: "Berth's own files"},
		{allow: "filesystem:read:DIR/.berth/data/one", check: func(p *Plan) bool { return true }},
		{allow: "filesystem:read:/proc", err: "processes or devices"},
		{allow: "filesystem:write:/dev/null", err: "processes or devices"},
		{allow: "network:example.com:443", warning: "cannot be reached", check: func(p *Plan) bool { return p.Net == NetNames && !p.Notify }},
		{allow: "network:*", check: func(p *Plan) bool { return p.Net == NetOpen }},
		{allow: "network:*:443", warning: "cannot be reached", check: func(p *Plan) bool { return p.Net == NetNames }},
		{allow: "exec:sh", check: func(p *Plan) bool { return mayRun(p, realOf(t, "/bin/sh")) }},
		{allow: "exec:*", check: func(p *Plan) bool { return p.AllPrograms }},
		{allow: "exec:no-such", warning: "no such program"},
		{allow: "env:TOKEN", check: func(p *Plan) bool { return true }},
		{allow: "filesystem:", err: "KIND:WHAT"},
		{allow: "walk:dog", err: "no kind"},
	} {
		t.Run(c.allow, func(t *testing.T) {
			p, err := Compile(berth.Confinement{Allow: []string{strings.ReplaceAll(c.allow, "DIR", dir)}, Data: dir + "/.berth/data/one"}, facts)
			if c.err != "" {
				if !errors.Is(err, berth.ErrInvalidSpec) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if warnings := strings.Join(p.Warnings, "\n"); !strings.Contains(warnings, c.warning) || c.warning == "" && warnings != "" {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
			p.Write = slices.DeleteFunc(p.Write, func(s string) bool { return s == dir+"/.berth/data/one" })
			if c.check != nil && !c.check(&p) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func realOf(t testing.TB, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// TestNeverShown: no combination of what does not ask for them shows what is nobody's
// business, and all paths are resolved.
func TestNeverShown(t *testing.T) {
	dir, facts := home(t)
	programs := []string{
		"bin/tool", ".nvm/current/bin/node", ".pyenv/shims/python", ".local/bin/srv", ".volta/bin/node", "loose.js",
		"documents/letter", ".ssh/id", ".berth/audit/audit.jsonl", "../../bin/sh", "none",
	}
	grants := []string{
		"filesystem:read:DIR/projects/server", "filesystem:write:DIR/x", "exec:sh", "exec:DIR/bin/tool", "exec:node", "exec:*",
		"network:*", "network:a.example:1", "env:*", "filesystem:read:DIR/none",
	}
	variables := []string{"PYTHONPATH=DIR", "PYTHONPATH=/:DIR/.berth:DIR/x", "NODE_EXTRA_CA_CERTS=DIR/.berth/audit/audit.jsonl", "VIRTUAL_ENV=DIR", "SSL_CERT_DIR=/proc", "NODE_PATH=DIR/.."}
	rapid.Check(t, func(t *rapid.T) {
		f := facts
		f.Path = filepath.Join(dir, rapid.SampledFrom(programs).Draw(t, "program"))
		f.Namespaces.Mount = rapid.Bool().Draw(t, "mount")
		f.Argv = []string{"x"}
		for _, a := range rapid.SliceOfN(rapid.SampledFrom(programs), 0, 2).Draw(t, "argv") {
			f.Argv = append(f.Argv, filepath.Join(dir, a))
		}
		for _, v := range rapid.SliceOfN(rapid.SampledFrom(variables), 0, 2).Draw(t, "env") {
			f.Env = append(f.Env, strings.ReplaceAll(v, "DIR", dir))
		}
		var allow []string
		for _, g := range rapid.SliceOfN(rapid.SampledFrom(grants), 0, 3).Draw(t, "allow") {
			allow = append(allow, strings.ReplaceAll(g, "DIR", dir))
		}
		p, err := Compile(berth.Confinement{Allow: allow, Data: dir + "/.berth/data/one", Program: []string{dir + "/.berth/packages/one"}}, f)
		if err != nil {
			t.Fatal(err)
		}
		asked := append([]string{f.Path}, f.Argv...)
		for _, path := range never(dir) {
			// What is run is read; a file of the user's that is the program or its
			// script was asked for.
			if sees(&p, path) && (!slices.Contains(asked, path) || strings.Contains(path, "/.berth")) {
				t.Fatalf("%s is seen: %q %q %q", path, p.Read, p.Exec, p.Write)
			}
		}
		for _, path := range slices.Concat(p.Read, p.Exec, p.Write, p.Hide) {
			if real, err := filepath.EvalSymlinks(path); err != nil || real != path {
				t.Fatalf("%s is not resolved: %s, %v", path, real, err)
			}
		}
		text, err := json.Marshal(p)
		if err != nil || len(text) > 32<<10 {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		var back Plan
		if err := json.Unmarshal(text, &back); err != nil || !slices.Equal(back.Read, p.Read) || back.Net != p.Net {
			t.Fatalf("%v: %+v", err, back)
		}
	})
}

// TestSystemPathAboveHome: a home directory below a path of the system's is left out of it.
func TestSystemPathAboveHome(t *testing.T) {
	dir := tree(t, "usr/share/doc/file", "usr/share/homes/me/.ssh/id", "usr/share/homes/me/.berth/audit/audit.jsonl", "usr/share/homes/you/file")
	b := builder{home: dir + "/usr/share/homes/me", secret: dir + "/usr/share/homes/me/.berth", plan: Plan{Links: map[string]string{}}}
	var got []string
	b.spare(dir+"/usr/share", func(p string) { got = append(got, strings.TrimPrefix(p, dir)) })
	if want := []string{"/usr/share/doc", "/usr/share/homes/you"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSeatbeltProfile: the profile of macOS for a plan.
func TestSeatbeltProfile(t *testing.T) {
	for name, p := range map[string]Plan{
		"none": {Net: NetNone, Read: []string{"/usr/lib"}, Exec: []string{"/usr/bin/node"}},
		"names": {
			Net: NetNames, Proxy: 3128, Ports: []uint16{8080}, Exec: []string{"/Users/me/.nvm/v20", "/Users/me/.berth/packages/a"},
			Write: []string{"/Users/me/.berth/data/a", `/Users/me/a "quoted" \ name`}, Hide: []string{"/Users/me/.berth"},
			Tmp: "/private/tmp/berth-a", Sockets: []string{"/private/var/run/docker.sock"},
		},
		"all": {Net: NetOpen, AllFiles: true, AllPrograms: true, Hide: []string{"/Users/me/.berth"}, UnixSockets: true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "seatbelt-"+name+".sb")
			got := p.seatbelt()
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v\n%s", err, got)
			}
			depth := 0
			for _, r := range got {
				if r == '(' {
					depth++
				} else if r == ')' {
					depth--
				}
			}
			if depth != 0 {
				t.Errorf("unbalanced by %d", depth)
			}
		})
	}
}
