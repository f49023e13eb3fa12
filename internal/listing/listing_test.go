package listing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// TestBuiltIn: the catalogue is well formed, and as large and as well known as it is said
// to be. What is in it is compared with the registries by `make catalog-check`.
func TestBuiltIn(t *testing.T) {
	all, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	ran, names, packages := 0, map[string]bool{}, map[string]bool{}
	npmHash := regexp.MustCompile(`^sha512-[A-Za-z0-9+/]{86}==$`)
	pypiHash := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	for _, e := range all {
		if err := e.Check(); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if e.ShortName() != e.Name || names[e.Name] {
			t.Errorf("%q is no name, or another's", e.Name)
		}
		if packages[string(e.Kind)+e.Package] {
			t.Errorf("%s: %s is another's, too", e.Name, e.Package)
		}
		names[e.Name], packages[string(e.Kind)+e.Package] = true, true
		if e.Version == "" || e.Title == "" || e.About == "" || len(e.Tags) == 0 || len(e.Hashes) == 0 {
			t.Errorf("%s: without a version, a title, a description, tags or hashes", e.Name)
		}
		for _, h := range e.Hashes {
			if e.Kind == NPM && !npmHash.MatchString(h) || e.Kind == PyPI && !pypiHash.MatchString(h) {
				t.Errorf("%s: %q is no hash", e.Name, h)
			}
		}
		if (e.Ran == "") != (len(e.Tools) == 0) {
			t.Errorf("%s: ran %q, and listed %d tools", e.Name, e.Ran, len(e.Tools))
		}
		if e.Ran != "" {
			ran++
		}
		for _, s := range e.Settings {
			if s.About == "" || s.Env == "" && len(s.Arg) == 0 && !uses(e, s.Key) {
				t.Errorf("%s: nobody knows what the setting %s is for", e.Name, s.Key)
			}
			if len(s.Choices) > 0 && s.Default != "" && !slices.Contains(s.Choices, s.Default) {
				t.Errorf("%s: %s is not one of its choices", e.Name, s.Key)
			}
		}
		if _, _, err := e.Needs("/data"); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		got, found, err := OfPackage(e.Kind, e.Package)
		if err != nil || !found || got.Name != e.Name {
			t.Errorf("of the package %s is %q, %v", e.Package, got.Name, err)
		}
		if (e.Ran == "") != (e.NotRun != "") {
			t.Errorf("%s: it ran on %q, and did not because %q", e.Name, e.Ran, e.NotRun)
		}
		if hits, _ := Search(e.Name, 9, Catalogue(all)); len(hits) == 0 || hits[0].Entry.Name != e.Name {
			t.Errorf("%s is not what is found first by its name", e.Name)
		}
	}
	if len(all) < 40 || ran < 50 {
		t.Errorf("%d servers, of which %d ran", len(all), ran)
	}
	for _, name := range []string{"memory", "filesystem", "everything", "fetch", "git", "github", "playwright", "sequential-thinking", "time"} {
		if !names[name] {
			t.Errorf("there is no %s", name)
		}
	}
	for _, c := range []struct {
		kind  Kind
		name  string
		found bool
	}{{PyPI, "MCP_server.time", true}, {PyPI, "@modelcontextprotocol/server-memory", false}, {NPM, "mcp-server-time", false}} {
		if _, found, _ := OfPackage(c.kind, c.name); found != c.found {
			t.Errorf("%s %s: found is %v", c.kind, c.name, found)
		}
	}
}

func uses(e Entry, key string) bool {
	for _, text := range append(append([]string{}, e.Args...), e.Allow...) {
		if strings.Contains(text, "{"+key+"}") {
			return true
		}
	}
	for _, text := range e.Env {
		if strings.Contains(text, "{"+key+"}") {
			return true
		}
	}
	return false
}

func TestMistyped(t *testing.T) {
	for _, c := range []struct {
		a, b string
		yes  bool
	}{
		{"memory", "memroy", true}, {"memory", "memry", true}, {"memory", "memoryy", true}, {"memory", "nenory", false},
		{"kubernetes", "kuberntes", true}, {"kubernetes", "kubernets", true}, {"playwright", "plawrigt", true},
		{"time", "lime", true}, {"time", "to", false}, {"memory", strings.Repeat("x", 40), false},
	} {
		if got := mistyped(c.a, c.b); got != c.yes {
			t.Errorf("%s for %s: %v", c.b, c.a, got)
		}
	}
}

// sample is an entry with a setting of each kind.
func sample() Entry {
	return Entry{
		Name: "sample", Kind: NPM, Package: "sample", Version: "1.0.0",
		Args:  []string{"--stdio", "{flag}", "x={plain}", "{unknown}", "{positional}"},
		Env:   map[string]string{"FIXED": "1", "AUTH": "Bearer {token}", "FILE": "{data}/f", "MAYBE": "a{plain}"},
		Allow: []string{"network:{plain}:443", "exec:git"},
		Settings: []Setting{
			{Key: "flag", Type: "boolean", Arg: []string{"--flag"}},
			{Key: "plain"},
			{Key: "positional", Repeated: true},
			{Key: "token", Secret: true, Required: true},
			{Key: "also", Env: "ALSO", Default: "d"},
			{Key: "dir", Type: "directory", Access: "read", Repeated: true, Arg: []string{"--dir", "{}"}},
			{Key: "url", Type: "url", Env: "URL"},
			{Key: "db", Type: "file", Access: "write", Arg: []string{"--db={}"}},
		},
	}
}

func TestFill(t *testing.T) {
	e := sample()
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	plan, err := e.Fill(Values{
		"flag": {"true"}, "plain": {"p.example"}, "positional": {"one; rm -rf /", "$(two)"}, "token": {"s3cret"}, "dir": {"/a", "/b"},
		"url": {"postgres://u@db.example/x"}, "db": {"/srv/x/y.db"},
	}, nil, "/data")
	if err != nil {
		t.Fatal(err)
	}
	wantArgs := []string{"--stdio", "--flag", "x=p.example", "{unknown}", "one; rm -rf /", "$(two)", "--dir", "/a", "--dir", "/b", "--db=/srv/x/y.db"}
	if !slices.Equal(plan.Args, wantArgs) {
		t.Errorf("arguments %q\nwant %q", plan.Args, wantArgs)
	}
	env, _ := json.Marshal(plan.Env)
	if want := `{"ALSO":"d","AUTH":"Bearer s3cret","FILE":"/data/f","FIXED":"1","MAYBE":"ap.example","URL":"postgres://u@db.example/x"}`; string(env) != want {
		t.Errorf("environment %s\nwant %s", env, want)
	}
	if !plan.Secret["AUTH"] || plan.Secret["ALSO"] || len(plan.Kept) > 0 {
		t.Errorf("secret %v, kept %v", plan.Secret, plan.Kept)
	}
	var allow []string
	for _, p := range plan.Allow {
		allow = append(allow, p.String())
	}
	want := []string{"network:p.example:443", "exec:git", "filesystem:read:/a", "filesystem:read:/b", "network:db.example:5432", "filesystem:write:/srv/x"}
	if !slices.Equal(allow, want) {
		t.Errorf("permissions %q\nwant %q", allow, want)
	}

	// What has no value is left out, and a secret may stay as it is.
	plan, err = e.Fill(nil, map[string]bool{"token": true}, "/data")
	if err != nil || !slices.Equal(plan.Args, []string{"--stdio", "{unknown}"}) || !plan.Kept["AUTH"] || plan.Env["MAYBE"] != "" || len(plan.Allow) != 1 {
		t.Errorf("%+v, %v", plan, err)
	}
	var missing *MissingError
	if _, err := e.Fill(nil, nil, ""); err == nil || !asMissing(err, &missing) || missing.Setting.Key != "token" {
		t.Errorf("without the token: %v", err)
	}
	if _, err := e.Fill(Values{"token": {"a", "b"}}, nil, ""); err == nil {
		t.Error("two tokens were taken")
	}
	if _, err := e.Fill(Values{"token": {"a"}, "none": {"b"}}, nil, ""); err == nil {
		t.Error("a setting that is not there was taken")
	}
}

func asMissing(err error, to **MissingError) bool {
	type many interface{ Unwrap() []error }
	if all, ok := err.(many); ok {
		for _, one := range all.Unwrap() {
			if m, ok := one.(*MissingError); ok {
				*to = m
				return true
			}
		}
	}
	return false
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s          Setting
		text, want string // "" is an error
	}{
		{Setting{}, "x y", "x y"}, {Setting{}, "x\ny", ""}, {Setting{}, "x\x00", ""},
		{Setting{Type: "number"}, "1.5", "1.5"}, {Setting{Type: "number"}, "one", ""},
		{Setting{Type: "boolean"}, "Yes", "true"}, {Setting{Type: "boolean"}, "off", "false"}, {Setting{Type: "boolean"}, "2", ""},
		{Setting{Choices: []string{"a", "b"}}, "b", "b"}, {Setting{Choices: []string{"a", "b"}}, "c", ""},
		{Setting{Type: "url"}, "https://x.example/y", "https://x.example/y"}, {Setting{Type: "url"}, "x.example", ""},
		{Setting{Type: "directory"}, dir, dir}, {Setting{Type: "directory"}, file, ""}, {Setting{Type: "directory"}, "nowhere", ""},
		{Setting{Type: "file"}, "file", file}, {Setting{Type: "file"}, dir, ""}, {Setting{Type: "file"}, "new", filepath.Join(dir, "new")},
		{Setting{Type: "file", Access: "read"}, "new", ""},
	} {
		c.s.Key = "k"
		got, err := c.s.Read(c.text, dir)
		if (err == nil) != (c.want != "") || got != c.want && err == nil {
			t.Errorf("%+v reads %q as %q, %v", c.s, c.text, got, err)
		}
	}
	if _, err := (Setting{Key: "k", Type: "number", Secret: true}).Read("hush", ""); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a secret that is no number: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for what, change := range map[string]func(*Entry){
		"a name that is a path":      func(e *Entry) { e.Name = "../x" },
		"a package that is a path":   func(e *Entry) { e.Package = "../x" },
		"a package with a flag":      func(e *Entry) { e.Package = "--registry=x" },
		"a kind":                     func(e *Entry) { e.Kind = "oci" },
		"a version that is a tag":    func(e *Entry) { e.Version = "latest" },
		"a version that is a range":  func(e *Entry) { e.Version = "^1" },
		"a variable":                 func(e *Entry) { e.Env["A=B"] = "x" },
		"a secret argument":          func(e *Entry) { e.Settings[3].Arg = []string{"{}"} },
		"a secret in an argument":    func(e *Entry) { e.Args = []string{"--t={token}"} },
		"a setting of Berth's":       func(e *Entry) { e.Settings[1].Key = "berth.sandbox" },
		"a setting that is twice":    func(e *Entry) { e.Settings[1].Key = "flag" },
		"a setting called data":      func(e *Entry) { e.Settings[1].Key = "data" },
		"a permission":               func(e *Entry) { e.Allow = []string{"everything"} },
		"an argument with an escape": func(e *Entry) { e.Args = []string{"\x1b[2J"} },
		"a type":                     func(e *Entry) { e.Settings[1].Type = "filepath" },
	} {
		e := sample()
		change(&e)
		if e.Check() == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

func TestNeeds(t *testing.T) {
	e, _, err := OfPackage(NPM, "@modelcontextprotocol/server-memory")
	if err != nil {
		t.Fatal(err)
	}
	allow, env, err := e.Needs("/data")
	if err != nil || len(allow) > 0 || len(env) != 1 || env["MEMORY_FILE_PATH"] != "/data/memory.jsonl" {
		t.Errorf("%v, %v, %v", allow, env, err)
	}
	e, _, err = OfPackage(PyPI, "mcp-server-git")
	if err != nil {
		t.Fatal(err)
	}
	if allow, _, err := e.Needs("/data"); err != nil || !slices.Contains(allow, berth.Permission{Kind: berth.PermissionExec, Target: "git"}) {
		t.Errorf("%v, %v", allow, err)
	}
	dir := t.TempDir()
	list, err := e.ArgPermissions([]string{"--repository", dir, "-v", "", "none", "--x=" + dir}, "")
	if err != nil || len(list) != 2 || list[0].String() != "filesystem:write:"+dir {
		t.Errorf("%v, %v", list, err)
	}
}

const serverJSON = `{
  "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
  "name": "io.github.someone/sample", "title": "Sample \u001b[31mred", "description": "What it does", "version": "1.2.3",
  "repository": {"url": "https://github.com/someone/sample", "source": "github"},
  "packages": [
    {"registryType": "oci", "identifier": "docker.io/x/y:1", "transport": {"type": "stdio"}},
    {"registryType": "npm", "identifier": "@someone/sample", "version": "1.2.3", "transport": {"type": "stdio"},
     "packageArguments": [
       {"type": "positional", "value": "serve"},
       {"type": "named", "name": "--root", "format": "filepath", "isRequired": true, "isRepeated": true, "description": "a directory"},
       {"type": "named", "name": "--mode", "value": "{mode}", "variables": {"mode": {"default": "fast", "choices": ["fast", "slow"]}}},
       {"type": "positional", "valueHint": "target"}
     ],
     "environmentVariables": [
       {"name": "API_KEY", "isRequired": true, "isSecret": true, "description": "the key"},
       {"name": "LEVEL", "value": "info"}
     ]}
  ],
  "remotes": [
    {"type": "streamable-http", "url": "https://{tenant}.example.com/mcp", "variables": {"tenant": {"isRequired": true}},
     "headers": [{"name": "Authorization", "value": "Bearer {token}", "variables": {"token": {"isSecret": true, "isRequired": true}}}]}
  ]
}`

func TestParseServerJSON(t *testing.T) {
	list, err := ParseServerJSON([]byte(serverJSON))
	if err != nil || len(list) != 3 {
		t.Fatalf("%d, %v", len(list), err)
	}
	npm, remote, oci := list[0], list[1], list[2]
	if npm.Kind != NPM || remote.Kind != Remote || oci.Kind != "oci" || oci.Package != "docker.io/x/y" || oci.Version != "1" || oci.Unusable != "" || npm.Unusable != "" || remote.Unusable != "" {
		t.Fatalf("%+v", list)
	}
	if npm.Title != "Sample [31mred" || npm.ShortName() != "sample" {
		t.Errorf("title %q, name %q", npm.Title, npm.ShortName())
	}
	plan, err := npm.Fill(Values{"root": {"/a", "/b"}, "API_KEY": {"k"}, "target": {"t"}}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"serve", "--root", "/a", "--root", "/b", "--mode", "fast", "t"}; !slices.Equal(plan.Args, want) {
		t.Errorf("%q, want %q", plan.Args, want)
	}
	if plan.Env["API_KEY"] != "k" || !plan.Secret["API_KEY"] || plan.Env["LEVEL"] != "info" {
		t.Errorf("%v, %v", plan.Env, plan.Secret)
	}
	if got := npm.Command(); !slices.Equal(got, []string{"npx", "-y", "@someone/sample@1.2.3"}) {
		t.Errorf("%q", got)
	}
	plan, err = remote.Fill(Values{"tenant": {"t"}, "token": {"secret"}}, nil, "")
	if err != nil || plan.URL != "https://t.example.com/mcp" || plan.Headers["Authorization"] != "Bearer secret" || !plan.Secret["Authorization"] {
		t.Errorf("%+v, %v", plan, err)
	}
	for _, bad := range []string{"", "[]", `{"name":"x"}`, `{"name":"a/b"}`, `{"name":"../x","packages":[{}]}`, `{"name":"a/b","packages":7}`} {
		if _, err := ParseServerJSON([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// FuzzParseServerJSON: whatever is read can be shown, checked and filled without harm.
func FuzzParseServerJSON(f *testing.F) {
	f.Add(serverJSON, "x")
	f.Add(`{"name":"a/b","packages":[{"registryType":"npm","identifier":"--x","version":"1"}]}`, "{y}")
	f.Add(`{"name":"a/b","packages":[{"registryType":"pypi","identifier":"x","version":"1","packageArguments":[{"type":"named","name":"{","value":"{a}{b"}]}]}`, "\x00")
	f.Fuzz(func(t *testing.T, doc, value string) {
		list, err := ParseServerJSON([]byte(doc))
		if err != nil {
			return
		}
		for _, e := range list {
			if strings.ContainsAny(e.Title+e.About, "\x1b\n\x00") {
				t.Fatalf("%q, %q", e.Title, e.About)
			}
			if e.Unusable != "" {
				continue
			}
			if err := e.Check(); err != nil {
				t.Fatalf("usable, and %v", err)
			}
			if short := e.ShortName(); short != "" && berth.CheckName(short) != nil {
				t.Fatalf("%q is no name", short)
			}
			values := Values{}
			for _, s := range e.Settings {
				if read, err := s.Read(value, "/"); err == nil {
					values[s.Key] = []string{read}
				}
			}
			if plan, err := e.Fill(values, nil, "/data"); err == nil {
				for _, set := range e.Settings {
					if set.Secret && len(values[set.Key]) > 0 && value != "" && len(value) > 3 && slices.Contains(plan.Args, value) && !strings.Contains(doc, value) && len(values) == 1 {
						t.Fatalf("the secret %s is an argument", set.Key)
					}
				}
			}
		}
	})
}
