package home

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// rightsOf is what a server of a file's end may do, as "origin permission".
func rightsOf(t *testing.T, doc string, user Permissions) (r Rights, lines, warnings []string) {
	t.Helper()
	s := parseServer(t, runX+doc)
	r, warnings, err := s.Rights(user)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Effective {
		lines = append(lines, p.Origin+" "+p.String())
	}
	return r, lines, warnings
}

func TestProfileOfAServer(t *testing.T) {
	for config, want := range map[string]struct {
		profile berth.Profile
		chosen  bool
		network bool // all of it
	}{
		"":                              {berth.ProfileOff, false, false}, // it was added before
		"berth.sandbox=off":             {berth.ProfileOff, true, false},
		"berth.sandbox=standard":        {berth.ProfileStandard, true, false},
		"berth.sandbox=strict":          {berth.ProfileStrict, true, false},
		"berth.sandbox=basic":           {berth.ProfileStandard, true, true}, // as the reference's had it
		"berth.sandbox-network=inherit": {berth.ProfileOff, false, false},
		"berth.sandbox=standard berth.sandbox-network=inherit":  {berth.ProfileStandard, true, true},
		"berth.sandbox=standard berth.sandbox-network=deny-all": {berth.ProfileStandard, true, false},
		"berth.sandbox=basic berth.sandbox-network=deny-all":    {berth.ProfileStandard, true, false},
		"berth.sandbox-network=deny-all berth.sandbox=basic":    {berth.ProfileStandard, true, false},
	} {
		doc := "[config]\n"
		for _, kv := range strings.Fields(config) {
			key, value, _ := strings.Cut(kv, "=")
			doc += "\"" + key + "\" = '" + value + "'\n"
		}
		r, lines, _ := rightsOf(t, doc, Permissions{})
		if r.Profile != want.profile || r.Chosen != want.chosen || slices.Contains(lines, "setting network:*") != want.network {
			t.Errorf("%s: %+v %q", config, r, lines)
		}
	}
}

func TestRights(t *testing.T) {
	const declares = "[permissions]\nnetwork = ['api.example.org:443', 'network:b:1']\nfilesystem = ['read:/data']\nenv = ['TOKEN']\n[env]\nGIVEN = '1'\nlower = '2'\n"
	confined := declares + "[config]\n\"berth.sandbox\" = 'standard'\n"
	all := []string{"declared network:api.example.org:443", "declared network:b:1", "declared filesystem:read:/data", "declared env:TOKEN", "given env:GIVEN"}
	for _, tt := range []struct {
		name, doc string
		user      Permissions
		want      []string
		warning   string
	}{
		{"declared", declares, Permissions{}, all, ""},
		{"granted", declares, Permissions{Grant: []string{"exec:git", "env:TOKEN"}}, append(slices.Clone(all), "granted exec:git"), ""},
		{"revoked", declares, Permissions{Revoke: []string{"network:B.:1", "env:GIVEN"}}, []string{all[0], all[2], all[3]}, ""},
		{"no network", confined + "\"berth.sandbox-network\" = 'deny-all'\n", Permissions{Grant: []string{"network:*"}}, all[2:], ""},
		{"network as it is", confined + "\"berth.sandbox-network\" = 'inherit'\n", Permissions{}, append(slices.Clone(all), "setting network:*"), ""},
		{"and revoked", confined + "\"berth.sandbox-network\" = 'inherit'\n", Permissions{Revoke: []string{"network:*"}}, all, ""},
		{"less than is there", declares, Permissions{Grant: []string{"network:*"}, Revoke: []string{"network:b:1"}},
			[]string{all[0], all[2], all[3], all[4], "granted network:*"}, "network:b:1 is revoked, but network:*, which is more, is not"},
		{"no permission", "[permissions]\nfilesystem = ['/data']\nexec = ['git']\n", Permissions{}, []string{"declared exec:git"}, `"filesystem:/data" is not a permission such as`},
	} {
		_, lines, warnings := rightsOf(t, tt.doc, tt.user)
		slices.Sort(lines)
		tt.want = slices.Sorted(slices.Values(tt.want))
		if !slices.Equal(lines, tt.want) || (tt.warning == "") != (len(warnings) == 0) || tt.warning != "" && !strings.Contains(warnings[0], tt.warning) {
			t.Errorf("%s:\n got %q, warnings %q\nwant %q", tt.name, lines, warnings, tt.want)
		}
	}
}

// TestEnvironmentOfPermissions is fault 10 of the reference: what is revoked does not
// come from the shell, nor from the file, nor by way of env:*.
func TestEnvironmentOfPermissions(t *testing.T) {
	environ := []string{"PATH=/bin", "GITHUB_TOKEN=shell", "OTHER=o", "BERTH_INCARNATION=x", "LANG=C"}
	for _, profile := range []string{"off", "standard", "strict"} {
		config := "[config]\n\"berth.sandbox\" = '" + profile + "'\n"
		for _, tt := range []struct {
			doc  string
			user Permissions
			want map[string]string
		}{
			{"", Permissions{}, map[string]string{}},
			{"[permissions]\nenv = ['GITHUB_TOKEN']\n", Permissions{}, map[string]string{"GITHUB_TOKEN": "shell"}},
			{"[permissions]\nenv = ['GITHUB_TOKEN']\n", Permissions{Revoke: []string{"env:GITHUB_TOKEN"}}, map[string]string{}},
			{"[permissions]\nenv = ['UNSET']\n", Permissions{}, map[string]string{}},
			{"[env]\nGITHUB_TOKEN = 'own'\n", Permissions{}, map[string]string{"GITHUB_TOKEN": "own"}},
			{"[env]\nGITHUB_TOKEN = 'own'\n", Permissions{Grant: []string{"env:GITHUB_TOKEN"}}, map[string]string{"GITHUB_TOKEN": "own"}},
			{"[env]\nGITHUB_TOKEN = 'own'\n", Permissions{Revoke: []string{"env:GITHUB_TOKEN"}}, map[string]string{}},
			{"", Permissions{Grant: []string{"env:*"}}, map[string]string{"GITHUB_TOKEN": "shell", "OTHER": "o"}},
			{"", Permissions{Grant: []string{"env:*"}, Revoke: []string{"env:GITHUB_TOKEN"}}, map[string]string{"OTHER": "o"}},
			{"[permissions]\nenv = ['*', 'GITHUB_TOKEN']\n", Permissions{Revoke: []string{"env:*"}}, map[string]string{"GITHUB_TOKEN": "shell"}},
		} {
			s := parseServer(t, runX+tt.doc+config)
			spec, _, err := s.Spec(environ, tt.user)
			if err != nil || len(spec.Env) != len(tt.want) {
				t.Errorf("%s %q %+v: %v, %v", profile, tt.doc, tt.user, spec.Env, err)
			}
			for k, v := range tt.want {
				if spec.Env[k] != v {
					t.Errorf("%s %q %+v: %s=%s", profile, tt.doc, tt.user, k, spec.Env[k])
				}
			}
		}
	}
}

// TestRevokedOfEveryServer: a variable that every server gets can be revoked as any.
func TestRevokedOfEveryServer(t *testing.T) {
	user := Permissions{Revoke: []string{"env:PATH", "env:HTTP_PROXY", "env:GITHUB_TOKEN", "env:*", "network:*"}}
	environ := []string{"PATH=/bin", "HTTP_PROXY=http://me:secret@proxy", "GITHUB_TOKEN=shell"}
	s := parseServer(t, runX+"[permissions]\nenv = ['HTTP_PROXY']\n[berth]\npath = '/opt'\n")
	spec, _, err := s.Spec(environ, user)
	if want := []string{"HTTP_PROXY", "PATH"}; err != nil || !slices.Equal(spec.Unset, want) || len(spec.Env) > 0 {
		t.Errorf("%q and %v, %v", spec.Unset, spec.Env, err)
	}
	// A remote server's process is Berth's own.
	s = parseServer(t, "[berth]\nurl = 'https://mcp.example.com/mcp'\n")
	if spec, _, err := s.Spec(environ, user); err != nil || len(spec.Unset) > 0 {
		t.Errorf("%q, %v", spec.Unset, err)
	}
}

func TestConfine(t *testing.T) {
	if !onUnix {
		t.Skip("the paths of this test are those of Unix")
	}
	h := openTestHome(t)
	s := NewServer("s", "x", nil)
	s.Config[KeySandbox], s.Config[KeyRequire] = "strict", "prefer"
	for _, entry := range []string{"filesystem:read:~/docs", "network:h:1", "network:h:1", "filesystem:write:there"} {
		p, err := berth.ParsePermission(entry)
		if err != nil {
			t.Fatal(err)
		}
		s.Declare(p)
	}
	if err := h.WriteServer(s, false); err != nil {
		t.Fatal(err)
	}
	s, err := h.ReadServer("s")
	if err != nil {
		t.Fatal(err)
	}
	spec, warnings, err := s.Spec([]string{"HOME=/u"}, Permissions{})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "filesystem:write:there names no full path") {
		t.Fatal(warnings, err)
	}
	c := spec.Confine
	if c == nil || c.Profile != berth.ProfileStrict || c.Require != berth.RequirePrefer || !slices.Equal(c.Allow, []string{"network:h:1", "filesystem:read:/u/docs"}) ||
		c.Data != filepath.Join(h.Dir(), "data", "s") {
		t.Errorf("%+v", c)
	}
	if _, err := os.Lstat(c.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("to plan a start makes the directory: %v", err)
	}
	for range 2 {
		if err := h.MakeData("s~s1"); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Lstat(c.Data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if found, err := h.HasData("s"); found || err != nil {
		t.Error("an empty directory is data", err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := h.HasData("s"); !found || err != nil {
		t.Error("what it wrote is no data", err)
	}
	for range 2 {
		if err := h.RemoveData("s"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(c.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if err := os.Symlink(t.TempDir(), c.Data); err != nil {
		t.Fatal(err)
	}
	if h.MakeData("s") == nil {
		t.Error("a link is taken for the directory")
	}
	// A remote server's process is Berth's own, and needs more than it could declare.
	s.Runtime.Command, s.Settings.URL = "", "https://mcp.example.com/mcp"
	if spec, _, err := s.Spec(nil, Permissions{}); err != nil || spec.Confine != nil {
		t.Errorf("%+v, %v", spec.Confine, err)
	}
}

func TestProgram(t *testing.T) {
	if !onUnix {
		t.Skip("the paths of this test are those of Unix")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	user := filepath.Join(dir, "u")
	for _, file := range []string{"u/package.json", "u/loose.py", "u/src/pkg/package.json", "u/src/pkg/dist/index.js", "u/src/flat/server.py", "bin/node", "bin/python3.12", "bin/own"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		cwd, command string
		args, want   []string
	}{
		{"", "bin/node", []string{"--flag", dir + "/u/src/pkg/dist/index.js", dir + "/u/loose.py"}, []string{"bin/node", "u/src/pkg/dist/index.js", "u/src/pkg"}},
		{"u/src/pkg", "bin/node", []string{"dist/index.js"}, []string{"bin/node", "u/src/pkg/dist/index.js", "u/src/pkg"}},
		{"", "bin/node", []string{"dist/index.js"}, []string{"bin/node"}}, // from where is not known
		{"u", "bin/python3.12", []string{"-u", "loose.py"}, []string{"bin/python3.12", "u/loose.py"}},
		{"u/src/flat", "bin/python3.12", []string{"server.py"}, []string{"bin/python3.12", "u/src/flat/server.py"}},
		{"", "bin/own", []string{dir + "/u/loose.py"}, []string{"bin/own"}}, // a file that it is given is not its own
		{"", "u/src/pkg/dist/index.js", nil, []string{"u/src/pkg/dist/index.js", "u/src/pkg"}},
	} {
		s := NewServer("s", tt.command, tt.args)
		s.Settings.CommandPath = filepath.Join(dir, tt.command)
		if tt.cwd != "" {
			s.Settings.Cwd = filepath.Join(dir, tt.cwd)
		}
		got := s.program(user)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], dir+"/")
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v:\n got %q", tt, got)
		}
	}
}

// TestProgramOfACopy: what a copied package covers is not said again, unless it leads
// elsewhere.
func TestProgramOfACopy(t *testing.T) {
	if !onUnix {
		t.Skip("the paths of this test are those of Unix")
	}
	dir := t.TempDir()
	at := func(path string) string { return filepath.Join(dir, path) }
	for _, file := range []string{"copy/pkg/index.js", "runtime/node", "copy-of-another/x"} {
		if err := os.MkdirAll(filepath.Dir(at(file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(file), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"copy/program": "pkg/index.js", "copy/node": at("runtime/node"), "same": at("copy")} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{at("runtime/node"), at("copy/pkg/index.js"), at("copy/pkg"), at("copy/program"), at("copy/node"), at("copy/gone"), at("copy-of-another/x")}
	want := []string{at("runtime/node"), at("copy/node"), at("copy-of-another/x")}
	if got := without(slices.Clone(all), at("copy")); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := without([]string{at("same/pkg"), at("copy/pkg")}, at("same")); !slices.Equal(got, []string{at("copy/pkg")}) {
		t.Errorf("by a link to it: %q", got)
	}
}

func TestUpdatePermissions(t *testing.T) {
	h := openTestHome(t)
	path := filepath.Join(h.Dir(), "permissions", "s.toml")
	update := func(change func(*Permissions)) error {
		return h.UpdatePermissions("s", func(p *Permissions) error { change(p); return nil })
	}
	if err := update(func(p *Permissions) { p.Grant = []string{"env:A"} }); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(path)
	if err != nil || string(doc) != "grant = [\"env:A\"]\nrevoke = []\n" {
		t.Fatalf("%q, %v", doc, err)
	}
	if onUnix {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if err := os.WriteFile(path, []byte("# mine\ngrant = [\"env:A\"] # why\nown = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := update(func(p *Permissions) { p.Revoke = append(p.Revoke, "network:*") }); err != nil {
		t.Fatal(err)
	}
	if doc, err = os.ReadFile(path); err != nil || string(doc) != "# mine\ngrant = [\"env:A\"] # why\nown = 1\nrevoke = [\"network:*\"]\n" {
		t.Errorf("%q, %v", doc, err)
	}
	if err := update(func(p *Permissions) { p.Grant = []string{"env:a"} }); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("%v", err)
	}
	if now, _ := os.ReadFile(path); string(now) != string(doc) {
		t.Errorf("an entry that is none changed the file to %q", now)
	}
	if err := update(func(p *Permissions) { *p = Permissions{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is empty is a file: %v", err)
	}
	if err := h.UpdatePermissions("../policy", nil); !errors.Is(err, berth.ErrInvalidName) {
		t.Error(err)
	}
	// Two letters' case must not have a revocation be passed over.
	if err := os.WriteFile(path, []byte("Revoke = [\"env:A\"]\nrevoke = []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.ReadPermissions("s"); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("%v", err)
	}
}
