package team_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth/internal/team"
)

func sample() team.File {
	return team.File{Version: 1, Servers: map[string]team.Server{
		"notes": {
			Description: "what \"we\" know", Entry: "filesystem", From: "berth", Package: "npm:@scope/pkg", Version: "1.0.0",
			Command: []string{"npx", "-y", "@scope/pkg", "{here}/notes"}, Allow: []string{"filesystem:write:{here}/notes", "network:api.example.com:443"},
			Env: map[string]string{"TOKEN": "secret://notes/TOKEN", "A": "1"}, Settings: map[string]string{"berth.sandbox": "standard", "directory": "a\nb"},
		},
		"docs": {URL: "https://docs.example.com/mcp", Headers: map[string]string{"Authorization": "Bearer secret://docs/header-authorization"}},
		"a.b":  {Command: []string{"x"}},
	}}
}

const text = `version = 1

[servers.'a.b']
command = ['x']

[servers.docs]
url = 'https://docs.example.com/mcp'

[servers.docs.headers]
Authorization = 'Bearer secret://docs/header-authorization'

[servers.notes]
description = 'what "we" know'
entry = 'filesystem'
from = 'berth'
package = 'npm:@scope/pkg'
version = '1.0.0'
command = ['npx', '-y', '@scope/pkg', '{here}/notes']
allow = [
  'filesystem:write:{here}/notes',
  'network:api.example.com:443'
]

[servers.notes.env]
A = '1'
TOKEN = 'secret://notes/TOKEN'

[servers.notes.settings]
'berth.sandbox' = 'standard'
directory = "a\nb"
`

func TestEncode(t *testing.T) {
	out, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(out), "version")
	if body = "version" + body; body != text {
		t.Errorf("%s\nwant\n%s", body, text)
	}
	back, err := team.Parse("f", out)
	if err != nil || !reflect.DeepEqual(back, sample()) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestParseFaults(t *testing.T) {
	for doc, want := range map[string]string{
		"version = 1\n[servers.a]\ncommand = ['x']\ncomand = 1\n": "f:4: there is no key servers.a.comand",
		"version = 1\nextra = 1\n":                                "f:2: there is no key extra",
		"version = 1\n[servers.a\n":                               "f:2:",
		"version = 2\n":                                           "version 2 is not one that this Berth reads",
		"":                                                        "version 0",
		"version = 1\n\n[servers.a]\nallow = []\n":                              `f:3: server "a": it has a command or a url`,
		"version = 1\n[servers.a]\ncommand = ['x']\nurl = 'u'\n":                "a command or a url",
		"version = 1\n[servers.a]\ncommand = ['']\n":                            "the command is empty",
		"version = 1\n[servers.a]\ncommand = 'x'\n":                             "f:3:",
		"version = 1\n[servers.\"../a\"]\ncommand = ['x']\n":                    "invalid",
		"version = 1\n[servers.a]\ncommand = ['x']\npackage = 'oci:x'\n":        "neither npm:NAME nor pypi:NAME",
		"version = 1\n[servers.a]\ncommand = ['x']\nversion = '1'\n":            "a package has a version",
		"version = 1\n[servers.a]\ncommand = ['x']\ntransport = 'smoke'\n":      "neither stdio nor http",
		"version = 1\n[servers.a]\ncommand = ['x']\nallow = ['all']\n":          "all",
		"version = 1\n[servers.a]\ncommand = ['x']\n[servers.a.headers]\nA='b'": "headers are of a url",
		"version = 1\n[servers.a]\nurl = 'u'\ncwd = '/x'\n":                     "are of a command",
	} {
		if _, err := team.Parse("f", []byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", doc, err, want)
		}
	}
	for doc, want := range map[string]string{
		"{\"version\": 1,\n \"servers\": {\"a\": {\"x\": 1}}}": "l:2: json: unknown field \"x\"",
		"{\"version\": 1,\n":                            "l:2: unexpected EOF",
		"{\"version\": 1} 2":                            "more follows",
		"{\"version\": 3}":                              "version 3",
		"{\"version\": 1, \"servers\": {\"../a\": {}}}": "invalid",
	} {
		if _, err := team.ParseLock("l", []byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", doc, err, want)
		}
	}
}

func TestDifferences(t *testing.T) {
	a, b := sample().Servers["notes"], sample().Servers["notes"]
	b.Version, b.Env = "1.0.1", map[string]string{"TOKEN": "secret://notes/TOKEN", "B": "2"}
	b.Allow = []string{b.Allow[1], b.Allow[0]} // no difference
	want := []team.Difference{{"version", "1.0.0", "1.0.1"}, {"env.A", "1", ""}, {"env.B", "", "2"}}
	if got := a.Differences(b); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	b.Env["A"] = ""
	a.Env = map[string]string{"TOKEN": "secret://notes/TOKEN", "B": "2"}
	if got := a.Differences(b); len(got) != 2 {
		t.Errorf("a variable that is empty is none: %+v", got)
	}
}

func TestLockText(t *testing.T) {
	l := team.Lock{Servers: map[string]team.Locked{"b": {Packages: []json.RawMessage{json.RawMessage(`{"v":">=1 <2"}`)}}, "a": {}}}
	out, err := l.Encode()
	if err != nil || !strings.Contains(string(out), ">=1 <2") || strings.Index(string(out), `"a"`) > strings.Index(string(out), `"b"`) {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := team.ParseLock("l", out); err != nil {
		t.Error(err)
	}
}

func TestPlaces(t *testing.T) {
	p := team.Places{Data: "/home/u/.berth/data/s", Here: "/home/u/work", Home: "/home/u"}
	for in, want := range map[string]string{
		"/home/u": "~", "/home/u/x": "~/x", "/home/uu": "/home/uu", "/home/u/work/n": "{here}/n", "--root=/home/u/work": "--root={here}",
		"/home/u/.berth/data/s/m.json": "{data}/m.json", "~": `\~`, "~/x": `\~/x`, "{here}": `\{here}`, `\~/x`: `\\~/x`, `\x`: `\x`, "~x": "~x", "a": "a", "": "",
	} {
		if got := p.Out(in); got != want || p.In(got) != in {
			t.Errorf("Out(%q) = %q, want %q; back %q", in, got, want, p.In(got))
		}
	}
	// On another machine.
	if got := (team.Places{Here: "/srv/w", Home: "/Users/v"}).In("--root={here}/n"); got != "--root=/srv/w/n" {
		t.Error(got)
	}
	// In the home directory itself, and below the root.
	if got := (team.Places{Here: "/home/u", Home: "/home/u"}).Out("/home/u/x"); got != "~/x" {
		t.Error(got)
	}
	if got := (team.Places{Here: "/", Home: "/root"}).Out("/etc"); got != "/etc" {
		t.Error(got)
	}
}

// TestPlacesComeBack: what is written is read as what it was, whatever it is.
func TestPlacesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`(/[a-c]){1,3}`)
		p := team.Places{Data: path.Draw(t, "data"), Here: path.Draw(t, "here"), Home: path.Draw(t, "home")}
		word := rapid.StringMatching(`(-x=)?\\{0,2}(~|\{here\}|\{data\}|/a|/b|x|=){0,3}(/[a-c]){0,4}`).Draw(t, "word")
		if got := p.In(p.Out(word)); got != word {
			t.Errorf("%+v: %q is written as %q and read as %q", p, word, p.Out(word), got)
		}
	})
}

// FuzzParse: what is read is written as what it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte("version = 1\n[servers.a]\nurl = \"u\\u0000\"\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		file, err := team.Parse("f", doc)
		if err != nil {
			return
		}
		out, err := file.Encode()
		if err != nil {
			t.Fatalf("%q cannot be written: %v", doc, err)
		}
		if back, err := team.Parse("f", out); err != nil || !back.Equal(file) {
			t.Errorf("%q is written as %q: %v", doc, out, err)
		}
	})
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{"version": 1, "servers": {"a": {"packages": [{"x": ">"}], "declaration": {}}}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := team.ParseLock("l", doc)
		if err != nil {
			return
		}
		out, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := team.ParseLock("l", out); err != nil {
			t.Errorf("%q is written as %q: %v", doc, out, err)
		}
	})
}
