package listing

import (
	"slices"
	"strings"
	"testing"
)

const someManifest = `{"manifest_version": "0.4", "name": "@x/some", "display_name": "Some", "version": "1.2.3", "description": "d", "author": {"name": "x"},
"server": {"type": "node", "entry_point": "i.js", "mcp_config": {"command": "node", "args": ["${__dirname}/i.js", "${user_config.dirs}", "--at=${user_config.at}", "${HOME}${/}x"],
 "env": {"KEY": "Bearer ${user_config.key}"}, "platform_overrides": {"win32": {"command": "node.exe", "args": []}}}},
"compatibility": {"platforms": ["linux", "win32"], "runtimes": {"node": ">=18"}},
"user_config": {"dirs": {"type": "directory", "title": "D", "description": "d", "multiple": true, "default": ["${HOME}/a", "${DESKTOP}"]},
 "at": {"type": "number", "title": "A", "description": "a", "default": 3, "min": 1, "max": 4},
 "data": {"type": "boolean", "title": "B", "description": "b", "default": true},
 "key": {"type": "string", "title": "K", "description": "k", "sensitive": true, "required": true}}}`

func TestParseManifest(t *testing.T) {
	e, err := ParseManifest([]byte(someManifest), Machine{OS: "linux", Home: "/home/u"})
	e.Package, e.Hashes = "/x.mcpb", []string{"sha256:" + strings.Repeat("a", 64)}
	if err != nil || e.Unusable != "" || e.Check() != nil {
		t.Fatal(err, e.Unusable, e.Check())
	}
	if e.ShortName() != "some" || e.Version != "1.2.3" || e.Runtimes["node"] != ">=18" {
		t.Errorf("%+v", e)
	}
	plan, err := e.At("/home/u/copy").mustFill(t, Values{"key": {"secret"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/home/u/copy/i.js", "/home/u/a", "/home/u/Desktop", "--at=3", "/home/u/x"}
	if !slices.Equal(plan.Args, want) || plan.Env["KEY"] != "Bearer secret" || !plan.Secret["KEY"] {
		t.Errorf("%q %+v", plan.Args, plan)
	}
	if len(plan.Allow) != 2 || plan.Allow[0].String() != "filesystem:write:/home/u/a" {
		t.Errorf("%v", plan.Allow)
	}
	if _, known := e.Setting("config-data"); !known {
		t.Error("a setting that is called data is not there by another name")
	}
	for text, ok := range map[string]bool{"1": true, "4": true, "0.5": false, "5": false, "NaN": false, "x": false} {
		s, _ := e.Setting("at")
		if _, err := s.Read(text, "/"); (err == nil) != ok {
			t.Errorf("at=%s: %v", text, err)
		}
	}
	win, err := ParseManifest([]byte(someManifest), Machine{OS: "windows", Home: `C:\Users\u`})
	if err != nil || win.Program != "node.exe" || len(win.Args) != 0 {
		t.Errorf("%+v, %v", win, err)
	}
}

func (e Entry) mustFill(t *testing.T, v Values) (*Plan, error) {
	t.Helper()
	return e.Fill(v, nil, "/data")
}

// TestManifestUnusable: what cannot be installed says why.
func TestManifestUnusable(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`["linux", "win32"]`, `["darwin"]`, "it is for darwin, and this is linux"},
		{`"type": "node"`, `"type": "uv"`, "type uv"},
		{`"type": "node"`, `"type": "odd"`, "which is not known"},
		{`"command": "node",`, ``, "no command"},
		{`"command": "node",`, `"command": "${user_config.key}",`, "depends on a setting"},
		{`${user_config.at}`, `${user_config.none}`, "not declared"},
		{`${user_config.at}`, `${nothing}`, "not known"},
		{`${user_config.at}`, `${user_config.at`, "no end"},
		{`--at=`, `{at}`, "cannot tell from a setting"},
		{`"type": "number"`, `"type": "object"`, "which is not known"},
		{`"default": 3`, `"default": {}`, "the default is not known"},
		{`"${user_config.dirs}",`, `"x${user_config.dirs}",`, "several defaults"},
	} {
		e, err := ParseManifest([]byte(strings.Replace(someManifest, c.old, c.new, 1)), Machine{OS: "linux", Home: "/home/u"})
		if err != nil || !strings.Contains(e.Unusable, c.want) {
			t.Errorf("%s: %v, %q; want %q", c.new, err, e.Unusable, c.want)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"manifest_version": "0.9", "name": "a", "version": "1"}`, `{"dxt_version": "0.1"}`, "{\"name\": \"\xff\"}"} {
		if _, err := ParseManifest([]byte(bad), Machine{OS: "linux"}); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(someManifest))
	f.Add([]byte(`{"dxt_version":"0.1","name":"a","version":"1","server":{"type":"binary","entry_point":"a","mcp_config":{"command":"a"}},"user_config":{"a":{"type":"file"}}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		e, err := ParseManifest(doc, Machine{OS: "linux", Home: "/home/u"})
		if err != nil || e.Unusable != "" {
			return
		}
		e.Package, e.Hashes = "/x.mcpb", []string{"sha256:" + strings.Repeat("a", 64)}
		if e.Check() != nil {
			return
		}
		at := e.At("/d")
		if strings.Contains(strings.Join(append(at.Args, at.Program), " "), Dirname) {
			t.Fatalf("%q %q", at.Program, at.Args)
		}
		_, _ = at.Fill(nil, nil, "/data")
	})
}

func TestInRange(t *testing.T) {
	for _, c := range []struct {
		version, in string
		ok, known   bool
	}{
		{"20.20.2", ">=18.0.0", true, true}, {"16.1.0", ">=18.0.0", false, true}, {"20.1.0", "^18 || ^20", true, true}, {"19.0.0", "^18 || ^20", false, true},
		{"3.11.2", ">=3.8,<4", true, true}, {"3.7.9", ">= 3.8, < 4", false, true}, {"3.11.2", "~=3.8", true, true}, {"4.0.0", "~=3.8", false, true},
		{"18.3.1", "18.x", true, true}, {"18.3.1", "*", true, true}, {"1.2.9", "~1.2.3", true, true}, {"1.3.0", "~1.2.3", false, true}, {"0.3.0", "^0.2.3", false, true},
		{"18.0.0", ">18", false, true}, {"19.0.0", ">18", true, true}, {"18.9.9", "<=18", true, true}, {"3.12.1", "!=3.12", false, true},
		{"20.1.0", "lts", false, false}, {"next", ">=1", false, false}, {"1.2.3", ">=", false, false}, {"1.2.3", "=>1", false, false},
	} {
		if ok, known := InRange(c.version, c.in); ok != c.ok || known != c.known {
			t.Errorf("%s in %q: %v, %v", c.version, c.in, ok, known)
		}
	}
}
