package home

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

// changed writes doc as a server's file, changes it, and returns the new file.
func changed(t *testing.T, doc string, change func(*Server)) string {
	t.Helper()
	h := openTestHome(t)
	path := putFile(t, h, doc, serversDir, "s.toml")
	if err := h.UpdateServer("s", func(s *Server) error { change(s); return nil }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	demandAll(t, got)
	return string(got)
}

// header has the tables that the documents of the tests below leave out, as a
// rewrite adds them.
const header = `[server]
name = "s"
display_name = ""
version = ""
description = ""
category = ""
maintainer = ""
trust_level = ""

[source]
type = ""
package = ""
repository = ""

[runtime]
type = ""
command = "x"
args = []
transport = ""

[permissions]
network = []
env = []
filesystem = []
exec = []

[config_meta]
required_keys = []
optional_keys = []

`

func TestEditsKeepTheUsersText(t *testing.T) {
	set := func(key, value string) func(*Server) {
		return func(s *Server) {
			if s.Config == nil {
				s.Config = map[string]string{}
			}
			s.Config[key] = value
		}
	}
	unset := func(key string) func(*Server) { return func(s *Server) { delete(s.Config, key) } }
	for _, c := range []struct {
		what, before string
		change       func(*Server)
		after        string
	}{
		{"nothing", "# mine\n[config]\na = 'b'\n", func(*Server) {}, "# mine\n[config]\na = 'b'\n"},
		{"a new key", "[config]\n# why\na = 'b' # b\n\n# next\n[other]\nx = 1\n", set("c", "d"),
			"[config]\n# why\na = 'b' # b\nc = \"d\"\n\n# next\n[other]\nx = 1\n"},
		{"a changed key", "[config] # all\n  a  =  'b'   # b is \"b\" # really\nc = 'd'\n", set("a", "#e"),
			"[config] # all\na = \"#e\" # b is \"b\" # really\nc = 'd'\n"},
		{"a quoted key", "[config]\n\"berth.max-restarts\" = \"1\" # few\n'x y' = 'z'\n", set("berth.max-restarts", "2"),
			"[config]\n\"berth.max-restarts\" = \"2\" # few\n'x y' = 'z'\n"},
		{"a removed key", "[config]\na = '1'\nb = '2'\nc = '3'\n", unset("b"), "[config]\na = '1'\nc = '3'\n"},
		{"a key of several lines", "[config]\na = '''\n[x]\nb = 2\n'''\nb = '3'\n", set("b", "4"), "[config]\na = '''\n[x]\nb = 2\n'''\nb = \"4\"\n"},
		{"several lines removed", "[config]\na = \"\"\"\nb = 2\n\"\"\"\nb = '3'\n", unset("a"), "[config]\nb = '3'\n"},
		{"no newline at the end", "[config]\na = 'b'", set("c", "d"), "[config]\na = 'b'\nc = \"d\"\n"},
		{"an empty table", "[config]\n[x]\n", set("c", "d"), "[config]\nc = \"d\"\n[x]\n"},
		{"an unknown array of tables", "[config]\n[[x]]\ny = 1\n[[x]]\n", set("c", "d"), "[config]\nc = \"d\"\n[[x]]\ny = 1\n[[x]]\n"},
	} {
		if got := changed(t, header+c.before, c.change); got != header+c.after {
			t.Errorf("%s:\n got %q\nwant %q", c.what, strings.TrimPrefix(got, header), c.after)
		}
	}
}

func TestEditsOfListsAndSettings(t *testing.T) {
	doc := strings.Replace(header, "args = []", "args = [ # these\n  \"a\",\n  \"b\", # b\n]", 1) + "[config]\n"
	got := changed(t, doc, func(s *Server) { s.Runtime.Args = []string{"c"}; s.Settings.Autostart = true })
	want := strings.Replace(header, "args = []", "args = [\"c\"]", 1) + "[config]\n\n[berth]\nautostart = true\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
	// And back: a table of ours may stay, empty.
	if got := changed(t, want, func(s *Server) { s.Settings.Autostart = false }); strings.Contains(got, "autostart") {
		t.Errorf("got\n%s", got)
	}
}

// What cannot be edited by lines is written anew, and says the same.
func TestEditsOfUnusualDocuments(t *testing.T) {
	for what, doc := range map[string]string{
		"inline table":   "config = { a = 'b' }\nunknown = { x = [1, 2.5, 1979-05-27, 07:32:00, 1979-05-27T07:32:00, 1979-05-27T07:32:00+01:00, inf, -inf, true] }\n[runtime]\ncommand = 'x'\n",
		"dotted keys":    "config.a = 'b'\nruntime.command = 'x'\nunknown.x.y = 'z'\n[unknown.x.z]\nw = []\n",
		"spaced header":  "[ config ]\na = 'b'\n[ runtime ]\ncommand = 'x'\n[unknown]\nx = {}\n[[unknown.list]]\na = 1\n",
		"quoted header":  "['config']\na = 'b'\n[\"runtime\"]\ncommand = 'x'\n[\"un known\"]\n\"\" = 1e40\n",
		"header in text": "[unknown]\nx = '''\n[config]\nb = 1\n'''\n[config]\na = 'b'\n[runtime]\ncommand = 'x'\n",
		"CRLF":           "[config]\r\na = 'b'\r\n[runtime]\r\ncommand = 'x'\r\n[unknown]\r\nx = 1\r\n",
		"minimal":        "[runtime]\ncommand = 'x'\n",
		"empty":          "",
	} {
		var before, after map[string]any
		if err := toml.Unmarshal([]byte(doc), &before); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got := changed(t, doc, func(s *Server) {
			if s.Config == nil {
				s.Config = map[string]string{}
			}
			s.Config["new"] = "value"
		})
		if err := toml.Unmarshal([]byte(got), &after); err != nil {
			t.Errorf("%s: %v\n%s", what, err, got)
			continue
		}
		config, _ := after["config"].(map[string]any)
		if config["new"] != "value" || strings.Contains(doc, "a = 'b'") && config["a"] != "b" {
			t.Errorf("%s: config is %v", what, config)
		}
		for key, value := range before {
			if strings.HasPrefix(key, "un") && !sameValue(value, after[key]) {
				t.Errorf("%s: %s was %v, is %v", what, key, value, after[key])
			}
		}
	}
}

// genDocument draws a server's file as a person may have written it, with keys
// and tables that nobody knows.
func genDocument(t *rapid.T) string {
	value := rapid.SampledFrom([]string{`"s"`, `'l'`, "1", "0x1F", "2.5", "true", "1979-05-27T07:32:00Z", "07:32:00",
		"[]", "[1, [2]]", "[\n  'a', # one\n  'b',\n]", "{ x = 1, y = { z = 'w' } }", "\"\"\"\n[config]\na = 1\n\"\"\""})
	text := rapid.SampledFrom([]string{`"s"`, `'l'`, `""`, "'''\n[env]\n'''", `"# no comment"`, `"\u00e9"`})
	comment := rapid.SampledFrom([]string{"", "", " # why", "\t#[config]"})
	line := rapid.SampledFrom([]string{"", "\n", "# a comment\n", "#[config]\n", "  \n"})
	var b strings.Builder
	keys := func(from []string, value *rapid.Generator[string]) {
		for _, key := range rapid.SliceOfDistinct(rapid.SampledFrom(from), rapid.ID[string]).Draw(t, "keys") {
			indent := rapid.SampledFrom([]string{"", "", "  ", "\t"}).Draw(t, "indent")
			fmt.Fprintf(&b, "%s%s%s = %s%s\n", line.Draw(t, "line"), indent, key, value.Draw(t, "value"), comment.Draw(t, "comment"))
		}
	}
	keys([]string{"top", `"top quoted"`}, value)
	tables := []string{"server", "source", "runtime", "config", "env", "berth", "unknown", "unknown.sub", `"other table"`}
	for _, table := range rapid.SliceOfDistinct(rapid.SampledFrom(tables), rapid.ID[string]).Draw(t, "tables") {
		fmt.Fprintf(&b, "%s[%s]%s\n", line.Draw(t, "line"), table, comment.Draw(t, "comment"))
		if table == "config" || table == "env" {
			keys([]string{"a", `"b c"`, "'berth.x'", "d-e", "F_G"}, text)
		} else {
			keys([]string{"u1", `"u 2"`, "u-3", "u4.x"}, value)
		}
	}
	doc := b.String()
	if rapid.Bool().Draw(t, "cut") {
		doc = strings.TrimSuffix(doc, "\n")
	}
	return doc
}

// Whatever is set and unset, everything else says what it said, and a comment
// that had a line is still there.
func TestConfigKeepsTheUnknown(t *testing.T) {
	h := openTestHome(t)
	path, err := h.ServerPath("s")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		doc := genDocument(t)
		var want map[string]any
		if err := toml.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatalf("the test's document: %v\n%s", err, doc)
		}
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := h.ReadServer("s")
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		config := maps.Clone(first.Config)
		if config == nil {
			config = map[string]string{}
		}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			key := rapid.SampledFrom([]string{"a", "b c", "d-e", "new", `q"uote`, "berth.max-restarts"}).Draw(t, "key")
			if rapid.Bool().Draw(t, "set") {
				value := "7"
				if key != "berth.max-restarts" {
					value = rapid.String().Draw(t, "value")
				}
				value = strings.ReplaceAll(value, "\x00", "")
				config[key] = value
				err = h.SetConfig("s", key, value)
			} else {
				var found bool
				_, was := config[key]
				delete(config, key)
				if found, err = h.UnsetConfig("s", key); found != was {
					t.Fatalf("UnsetConfig(%q) said %v", key, found)
				}
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.ReadServer("s")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !maps.Equal(s.Config, config) || !maps.Equal(s.Env, first.Env) {
			t.Fatalf("config %q, want %q\n%s\n%s", s.Config, config, doc, text)
		}
		var got map[string]any
		if err := toml.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for key, before := range want {
			table, isTable := before.(map[string]any)
			if !isTable || !slices.Contains(serverTables(), key) {
				if !sameValue(got[key], before) {
					t.Fatalf("%s was %v, is %v\n%s\n%s", key, before, got[key], doc, text)
				}
				continue
			}
			for sub, value := range table {
				if now, _ := got[key].(map[string]any); key != "config" && key != "env" && !sameValue(now[sub], value) {
					t.Fatalf("%s.%s was %v, is %v\n%s\n%s", key, sub, value, now[sub], doc, text)
				}
			}
		}
	})
}

func FuzzServer(f *testing.F) {
	f.Add(readTestdata(f, "reference-server.toml"))
	f.Add(readTestdata(f, "server.toml"))
	for _, doc := range []string{"", "[config]", "config.a='b'\n", "[config]\na='''\n[config]\n'''", "[[x]]\n[runtime]\ncommand='x'",
		"[config]\n\"\"=''\n", "[ config ]\r\na='b'", "x=[1979-05-27,{a=nan}]", "x=1979-05-27-0", "[runtime]\ncommand=\"\\u0000\"", "[berth]\ngrace='1y'"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := decodeServer("s", "file", doc)
		if err != nil {
			if !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), "file:") {
				t.Fatalf("error without its kind or place: %v", err)
			}
			return
		}
		if _, _, err := s.Spec(nil, Permissions{}); err != nil && !errors.Is(err, berth.ErrBadConfig) {
			t.Fatalf("Spec: %v", err)
		}
		if s.checkText() != nil {
			return
		}
		if s.Config == nil {
			s.Config = map[string]string{}
		}
		s.Config["set.by the fuzzer"] = "\"v\""
		s.Settings.Autostart = !s.Settings.Autostart
		text, err := s.encode()
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		demandAll(t, text)
		got, err := decodeServer("s", "file", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !maps.Equal(got.Config, s.Config) || !maps.Equal(got.Env, s.Env) || got.Runtime.Command != s.Runtime.Command ||
			!slices.Equal(got.Runtime.Args, s.Runtime.Args) || !sameSettings(got.Settings, s.Settings) {
			t.Fatalf("\n got %+v\nwant %+v\n%s\n%s", got, s, doc, text)
		}
		again, err := got.encode()
		if err != nil || string(again) != string(text) {
			t.Fatalf("%v\n%s\n%s", err, text, again)
		}
	})
}

// sameSettings compares settings; no headers are no headers.
func sameSettings(a, b Settings) bool {
	same := slices.Equal(a.Headers, b.Headers)
	a.Headers, b.Headers = nil, nil
	return same && reflect.DeepEqual(a, b)
}
