package settings_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/berth-run/berth/internal/settings"
)

// entry is what is put into the files of these tests.
func entry() settings.Entry {
	return settings.Entry{
		{Key: "command", Value: "/usr/local/bin/berth"},
		{Key: "args", Value: []string{"proxy", "--as", "test"}},
		{Key: "env", Value: settings.Entry{{Key: "BERTH_HOME", Value: "/srv/my \"berth\""}}},
		{Key: "enabled", Value: true},
		{Key: "timeout", Value: 60},
	}
}

func small() settings.Entry { return settings.Entry{{Key: "command", Value: "berth"}} }

// TestEdits compares what is made of documents, in testdata/FORMAT-NAME.txtar, with
// what should be: "before", "after", and "gone" if it is not as before when the entry
// is removed from what the comment of the archive makes of it.
func TestEdits(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, file := range archives {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		format, _, _ := strings.Cut(name, "-")
		f := settings.Format(format)
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			place := placeOf(t, string(archive.Comment))
			parts := map[string]string{}
			for _, part := range archive.Files {
				parts[part.Name] = string(part.Data)
			}
			for _, crlf := range []bool{false, true} {
				before, after := parts["before"], parts["after"]
				if crlf {
					before = "\xef\xbb\xbf" + strings.ReplaceAll(before, "\n", "\r\n")
					after = "\xef\xbb\xbf" + strings.ReplaceAll(after, "\n", "\r\n")
					if !strings.Contains(before, "\n") {
						continue // nothing tells how its lines end
					}
				}
				out, mark, err := settings.Set(f, []byte(before), place, small())
				if err != nil {
					t.Fatal(err)
				}
				if string(out) != after {
					if os.Getenv("BERTH_TEST_UPDATE") != "" && !crlf {
						for i := range archive.Files {
							if archive.Files[i].Name == "after" {
								archive.Files[i].Data = out
							}
						}
						if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
							t.Fatal(err)
						}
						return
					}
					t.Fatalf("crlf %v: it became\n%s\nnot\n%s", crlf, out, after)
				}
				back, err := settings.Remove(f, out, place, mark)
				if err != nil || string(back) != before {
					t.Fatalf("crlf %v: it went back to\n%q, not\n%q (%v)", crlf, back, before, err)
				}
			}
		})
	}
}

// placeOf reads a place such as "path/to/entry" or "path/entry by id".
func placeOf(t *testing.T, text string) settings.Place {
	path, id, _ := strings.Cut(strings.TrimSpace(text), " by ")
	if path == "" {
		t.Fatal("no place")
	}
	return settings.Place{Path: strings.Split(path, "/"), ID: id}
}

// TestWholeEntries: what is written says what was meant, in each format and shape.
func TestWholeEntries(t *testing.T) {
	for _, c := range []struct {
		f    settings.Format
		doc  string
		path string
	}{
		{settings.JSON, "", "mcpServers/berth"},
		{settings.JSON, " \n", "a/b/c/berth"},
		{settings.JSON, `{}`, "mcpServers/berth"},
		{settings.JSON, `{"a":1}`, "mcpServers/berth"},
		{settings.JSON, "{\n\t\"a\": 1\n}\n", "amp.mcpServers/berth"},
		{settings.JSON, "{\"mcpServers\": {} // none\n}", "mcpServers/berth"},
		{settings.TOML, "", "mcp_servers/berth"},
		{settings.TOML, "a = 1", "mcp_servers/berth"},
		{settings.TOML, "mcp_servers = {}\n", "mcp_servers/berth"},
		{settings.TOML, "mcp_servers = { x = { command = 'y' } } # c\n", "mcp_servers/berth"},
		{settings.TOML, "mcp_servers.x.command = 'y'\n", "mcp_servers/berth"},
		{settings.TOML, "", "mcp_servers/berth by name"},
		{settings.TOML, "mcp_servers = []\n", "mcp_servers/berth by name"},
		{settings.TOML, "mcp_servers = [ {name='x'} ]\n", "mcp_servers/berth by name"},
		{settings.TOML, "[[mcp_servers]]\nname = 'x'\n[mcp_servers.env]\nA='1'\n\n[z]\n", "mcp_servers/berth by name"},
		{settings.YAML, "", "extensions/berth"},
		{settings.YAML, "# nothing\n", "extensions/berth"},
		{settings.YAML, "---\na: 1", "extensions/berth"},
		{settings.YAML, "extensions:\nb: 1\n", "extensions/berth"},
		{settings.YAML, "extensions: {}\nb: 1\n", "extensions/berth"},
		{settings.YAML, "{a: 1}\n", "extensions/berth"},
		{settings.YAML, "extensions:\n        x: {}\n", "extensions/berth"},
		{settings.YAML, "", "mcpServers/berth by name"},
		{settings.YAML, "{}", "mcpServers/berth by name"},
		{settings.YAML, "mcpServers: []", "mcpServers/berth by name"},
		{settings.YAML, "mcpServers:\n- name: x\n- name: z\n", "mcpServers/berth by name"},
		{settings.YAML, "mcpServers:\n  -   name: x\n", "mcpServers/berth by name"},
	} {
		place := placeOf(t, c.path)
		out, mark, err := settings.Set(c.f, []byte(c.doc), place, entry())
		if err != nil {
			t.Errorf("%s %q: %v", c.f, c.doc, err)
			continue
		}
		want := entry()
		if place.ID != "" {
			want = append(settings.Entry{{Key: place.ID, Value: "berth"}}, want...)
		}
		value, sum, err := settings.Get(c.f, out, place)
		if err != nil || sum != settings.Sum(want) || sum != mark.Value {
			t.Errorf("%s %q became %q, which says %v (%v)", c.f, c.doc, out, value, err)
		}
		if _, _, err := settings.Set(c.f, out, place, entry()); !errors.Is(err, settings.ErrThere) {
			t.Errorf("%s %q: a second time: %v", c.f, c.doc, err)
		}
		back, err := settings.Remove(c.f, out, place, mark)
		if err != nil || string(back) != c.doc {
			t.Errorf("%s %q went back to %q (%v)", c.f, c.doc, back, err)
		}
		if _, err := settings.Remove(c.f, back, place, mark); !errors.Is(err, settings.ErrMissing) {
			t.Errorf("%s %q: removed twice: %v", c.f, c.doc, err)
		}
	}
}

// TestRemoved: where others changed the file around the entry, it alone goes.
func TestRemoved(t *testing.T) {
	for _, c := range []struct {
		f            settings.Format
		before, path string
		change       func(string) string
		after        string
	}{
		{settings.JSON, `{}`, "m/berth", after("\"command\": \"berth\"\n    }", ",\n    \"x\": 1"), "{\n  \"m\": {\n    \"x\": 1\n  }\n}"},
		{settings.JSON, "{\n  \"m\": {\n    \"a\": 1\n  }\n}\n", "m/berth", instead(",\n    \"a\": 1", ""), "{\n  \"m\": {\n  }\n}\n"},
		{settings.JSON, "{\n  \"m\": {\n    \"a\": 1\n  }\n}\n", "m/berth", reorder, "{\n  \"m\": {\n    \"a\": 1\n  }\n}\n"},
		{settings.JSON, "{\"m\":{\"a\":1}}", "m/berth", after(`"berth":{"command":"berth"}`, " /* mine */"), "{\"m\":{ /* mine */\"a\":1}}"},
		{settings.JSON, "{}", "m/berth", instead("\n", ""), "{  \n}"},
		{settings.JSON, "", "m/berth", instead("  ", "\t"), "{\n}\n"},
		{settings.JSON, "{ // c\n\"a\": 1}", "berth", after("\"command\": \"berth\"\n}", " // mine\n"), "{ // c\n// mine\n\n\"a\": 1}"},
		{settings.TOML, "a = 1\n", "m/berth", after("[m.berth]", " # mine"), "a = 1\n"},
		{settings.TOML, "a = 1\n", "m/berth", func(s string) string { return s + "\n[z]\nb = 1\n" }, "a = 1\n\n[z]\nb = 1\n"},
		{settings.TOML, "m = { x = 1 }\n", "m/berth", instead("berth = {", "berth =  {"), "m = { x = 1 }\n"},
		{settings.TOML, "m = [ ]\n", "m/berth by name", func(string) string {
			return "[[m]]\nname = 'x'\n\n[[m]]\nname = 'berth'\ncommand = 'berth'\n\n[[m]]\nname = 'z'\n"
		}, "[[m]]\nname = 'x'\n\n[[m]]\nname = 'z'\n"},
		{settings.YAML, "a: 1\n", "m/berth", func(s string) string { return s + "  x: 1\n" }, "a: 1\nm:\n  x: 1\n"},
		{settings.YAML, "a: 1\n", "m/berth", after("berth:", " # mine"), "a: 1\n"},
		{settings.YAML, "m:\n  x: 1\n", "m/berth", instead("berth: ", "'berth':"), "m:\n  x: 1\n"},
		{settings.YAML, "m:\n- name: x\n", "m/berth by name", instead("command: berth", "command: 'berth'\n\n  # of the entry"), "m:\n- name: x\n"},
	} {
		place := placeOf(t, c.path)
		out, mark, err := settings.Set(c.f, []byte(c.before), place, small())
		if err != nil {
			t.Errorf("%q: %v", c.before, err)
			continue
		}
		changed := c.change(string(out))
		back, err := settings.Remove(c.f, []byte(changed), place, mark)
		if err != nil || string(back) != c.after {
			t.Errorf("%q became %q, then %q, and then %q (%v), not %q", c.before, out, changed, back, err, c.after)
		}
	}
}

func after(text, more string) func(string) string { return instead(text, text+more) }

func instead(text, other string) func(string) string {
	return func(s string) string { return strings.Replace(s, text, other, 1) }
}

func reorder(string) string {
	return "{\n  \"m\": {\n    \"a\": 1,\n    \"berth\": {\"command\": \"berth\"}\n  }\n}\n"
}

// TestRefused: what cannot be read, or not be edited, is refused with its place.
func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 2000)
	for _, c := range []struct {
		f    settings.Format
		doc  string
		path string
		want string
	}{
		{settings.JSON, "{\n  \"a\": 1,\n  oops\n}", "m/berth", "line 3, column 3: "},
		{settings.JSON, "{\"a\": tru}", "m/berth", "line 1, column 7: invalid literal"},
		{settings.JSON, "{\"a\": 1", "m/berth", "line "},
		{settings.JSON, "[]", "m/berth", "line 1, column 1: it is not an object"},
		{settings.JSON, "{\"m\": null}", "m/berth", "line 1, column 7: m is not an object"},
		{settings.JSON, "{\"m\": {},\n \"m\": {}}", "m/berth", "line 2, column 2: m is there twice"},
		{settings.JSON, "{\"a\": " + deep, "m/berth", "line 1, column 1006: it is nested too deeply"},
		{settings.JSON, "{\"a\": \"\xff\"}", "m/berth", "line 1, column 8: it is not UTF-8"},
		{settings.JSON, "\xff\xfe{\x00}\x00", "m/berth", "line 1, column 1: it is not UTF-8"},
		{settings.TOML, "a = 1\nb = = 2\n", "m/berth", "line 2, column 5: "},
		{settings.TOML, "m = 1\n", "m/berth", "m is not a table"},
		{settings.TOML, "m = {}\n", "m/berth by name", "m is not a list"},
		{settings.YAML, "a: 1\n b: 2\n", "m/berth", "line 2, column 3: "},
		{settings.YAML, "a: 1\n---\nb: 1\n", "m/berth", "it has more than one document"},
		{settings.YAML, "- a\n", "m/berth", "line 1, column 1: it is not a table of keys"},
		{settings.YAML, "m: null\n", "m/berth", "line 1, column 4: m is null"},
		{settings.YAML, "x: &a {y: 1}\nm: *a\n", "m/berth", "line 2, column 4: m is shared by an anchor"},
		{settings.YAML, "m: &a\n  y: 1\nx: *a\n", "m/berth", "m is shared by an anchor"},
		{settings.YAML, "m: [1]\n", "m/berth", "line 1, column 4: m is not a table"},
		{settings.YAML, "m:\n  x: 1\nm:\n  y: 1\n", "m/berth", "line 3, column 1: "},
	} {
		_, _, err := settings.Set(c.f, []byte(c.doc), placeOf(t, c.path), small())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.40q: %v, not %s", c.f, c.doc, err, c.want)
		}
	}
}

func TestBigFiles(t *testing.T) {
	var b strings.Builder
	b.WriteString("{\n  \"projects\": {\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "    \"/home/me/project-%d\": {\"history\": [\"one\", \"two\"], \"n\": %d},\n", i, i)
	}
	b.WriteString("    \"last\": {}\n  },\n  \"mcpServers\": {}\n}")
	place := placeOf(t, "mcpServers/berth")
	out, mark, err := settings.Set(settings.JSON, []byte(b.String()), place, entry())
	if err != nil {
		t.Fatal(err)
	}
	back, err := settings.Remove(settings.JSON, out, place, mark)
	if err != nil || string(back) != b.String() {
		t.Fatal("a big file did not go back to what it was:", err)
	}
	if _, _, err := settings.Set(settings.JSON, make([]byte, 65<<20), place, entry()); err == nil {
		t.Error("65 MiB were taken")
	}
}

func TestEmpty(t *testing.T) {
	if !settings.Empty([]byte("\xef\xbb\xbf \r\n")) || settings.Empty([]byte("{}")) {
		t.Error("what is empty is not known")
	}
}
