package clients_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/settings"
)

func systems() []string { return []string{"linux", "darwin", "windows"} }

func system(goos string, env map[string]string) clients.System {
	return clients.System{OS: goos, Home: "/home/me", Project: "/work", Getenv: func(key string) string { return env[key] }}
}

func TestTheTableIsInOrder(t *testing.T) {
	var ids []string
	for _, c := range clients.All() {
		ids = append(ids, c.ID)
		if err := berth.CheckName(c.ID); err != nil {
			t.Error(err)
		}
		if c.Title == "" || c.Reload == "" || c.Stdio == nil || !strings.HasPrefix(c.Source, "https://") {
			t.Errorf("%s: something is missing", c.ID)
		}
		if _, err := time.Parse(time.DateOnly, c.Checked); c.Checked != "" && err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		if (c.Manual == "") == (len(c.Files) == 0) {
			t.Errorf("%s: it has a file, or else instructions", c.ID)
		}
		if (c.HTTP == nil) != (c.Field == "") {
			t.Errorf("%s: where the token is, and no address, or the other way round", c.ID)
		}
		for _, f := range c.Files {
			if len(f.Within) == 0 || len(f.On) == 0 {
				t.Errorf("%s: a file without a path, or keys", c.ID)
			}
			for goos, paths := range f.On {
				if !slices.Contains(systems(), goos) || len(paths) == 0 {
					t.Errorf("%s: paths on %q", c.ID, goos)
				}
				for _, p := range paths {
					if in := strings.HasPrefix(p, "./"); in != (f.Scope == clients.Project) {
						t.Errorf("%s: %s of the %s", c.ID, p, f.Scope)
					}
				}
			}
		}
		if c.HTTP != nil {
			named := settings.Line(c.HTTP(clients.Remote{Name: "berth", URL: "http://x/mcp", Variable: "BERTH_TOKEN"}))
			if strings.Contains(named, "BERTH_TOKEN") != c.Refer {
				t.Errorf("%s: by address: %s", c.ID, named)
			}
			clear := settings.Line(c.HTTP(clients.Remote{Name: "berth", URL: "http://x/mcp", Token: "berth_secret"}))
			if !strings.Contains(clear, "Bearer berth_secret") {
				t.Errorf("%s: with the token: %s", c.ID, clear)
			}
			if none := settings.Line(c.HTTP(clients.Remote{Name: "berth", URL: "http://x/mcp"})); strings.Contains(none, "earer") {
				t.Errorf("%s: without a token: %s", c.ID, none)
			}
		}
		if c.Own != nil {
			if args := c.Own.Args("berth", "{}"); !slices.Contains(args, "{}") {
				t.Errorf("%s: its own command is not told the entry", c.ID)
			}
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("not in order, or twice: %q", ids)
	}
	if _, found := clients.Find("nobody"); found {
		t.Error("nobody was found")
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		id, goos string
		scope    clients.Scope
		env      map[string]string
		want     string
	}{
		{"claude-code", "linux", clients.User, nil, "/home/me/.claude.json"},
		{"claude-code", "linux", clients.User, map[string]string{"CLAUDE_CONFIG_DIR": "/etc/c"}, "/etc/c/.claude.json"},
		{"claude-code", "darwin", clients.Project, nil, "/work/.mcp.json"},
		{"codex", "windows", clients.User, map[string]string{"CODEX_HOME": "rel"}, "/work/rel/config.toml"},
		{"zed", "linux", clients.User, map[string]string{"XDG_CONFIG_HOME": "/x"}, "/x/zed/settings.json"},
		{"zed", "linux", clients.User, map[string]string{"XDG_CONFIG_HOME": "rel"}, "/home/me/.config/zed/settings.json"},
		{"zed", "darwin", clients.User, map[string]string{"XDG_CONFIG_HOME": "/x"}, "/home/me/.config/zed/settings.json"},
		{"vscode", "windows", clients.User, map[string]string{"APPDATA": "/a"}, "/a/Code/User/mcp.json"},
		{"vscode", "windows", clients.User, nil, "/home/me/AppData/Roaming/Code/User/mcp.json"},
		{"goose", "windows", clients.User, nil, "/home/me/AppData/Roaming/Block/goose/config/config.yaml"},
		{"cursor", "linux", clients.Project, nil, "/work/.cursor/mcp.json"},
	} {
		client, _ := clients.Find(c.id)
		s := system(c.goos, c.env)
		f, ok := client.File(s, c.scope)
		if got := filepath.ToSlash(s.Path(f)); !ok || got != c.want {
			t.Errorf("%s on %s for the %s with %v: %s, not %s", c.id, c.goos, c.scope, c.env, got, c.want)
		}
	}
	desktop, _ := clients.Find("claude-desktop")
	if _, ok := desktop.File(system("linux", nil), clients.User); ok {
		t.Error("a file of Claude Desktop on Linux")
	}
}

// TestTheFileThatIsThere: of several names, the one that is there is meant.
func TestTheFileThatIsThere(t *testing.T) {
	s := system("linux", nil)
	s.Home = t.TempDir()
	amp, _ := clients.Find("amp")
	f, _ := amp.File(s, clients.User)
	if got := s.Path(f); filepath.Base(got) != "settings.json" {
		t.Error(got)
	}
	nobody := func(string) (string, error) { return "", os.ErrNotExist }
	if amp.Installed(s, nobody) {
		t.Error("it is installed")
	}
	dir := filepath.Join(s.Home, ".config", "amp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "settings.jsonc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.Path(f); filepath.Base(got) != "settings.jsonc" {
		t.Error(got)
	}
	if !amp.Installed(s, nobody) {
		t.Error("it is not installed")
	}
}

// before is a file of a client as a careful user has it: comments, odd indentation,
// other entries.
func before(f clients.File) string {
	switch {
	case f.Format == settings.TOML && f.ID != "":
		return "# mine\ntheme = \"dark\"  # at night\n\n  [[" + f.Within[0] + "]]\n  name = \"fetch\" # pages\n  command = 'uvx'\n\n[other]\nx = 1 # the end\n"
	case f.Format == settings.TOML:
		return "# mine\ntheme = \"dark\"  # at night\n\n  [" + f.Within[0] + ".fetch] # pages\n  command = 'uvx'\n\n[other]\nx = 1 # the end"
	case f.Format == settings.YAML && f.ID != "":
		return "# mine\ntheme: dark   # at night\n" + f.Within[0] + ":\n   # pages\n   - name: fetch\n     command: 'uvx'\nother:  [1,\n   2]  # the end\n"
	case f.Format == settings.YAML:
		return "# mine\ntheme: dark   # at night\n" + f.Within[0] + ":\n   # pages\n   fetch:\n      cmd: 'uvx'\nother:  [1,\n   2]  # the end\n"
	}
	return "{\n   // mine\n   \"theme\" : \"dark\",   /* at night */\n   \"" + f.Within[0] + "\" : { // my servers\n\t \"fetch\" : {\"command\": \"uvx\"}   // pages\n   },\n   \"other\" : [1,\n     2]   // the end\n}\n"
}

// TestEveryClient: an entry goes into each client's file, and out of it again, and
// nothing else in it changes. testdata/ID.txtar has the file before and after.
func TestEveryClient(t *testing.T) {
	for _, c := range clients.All() {
		t.Run(c.ID, func(t *testing.T) {
			program := clients.Program{Name: "berth", Path: "/usr/local/bin/berth", Args: []string{"proxy", "--as", c.ID}, Env: settings.Entry{{Key: "BERTH_HOME", Value: "/srv/berth"}}}
			if c.Manual != "" {
				return
			}
			f := c.Files[0]
			golden := filepath.Join("testdata", c.ID+".txtar")
			doc := before(f)
			out, _, err := settings.Set(f.Format, []byte(doc), f.Place("berth"), c.Stdio(program))
			if err != nil {
				t.Fatal(err)
			}
			archive := &txtar.Archive{Comment: []byte(c.Title + ", " + c.Source + "\n"), Files: []txtar.File{{Name: "before", Data: []byte(doc)}, {Name: "after", Data: out}}}
			if c.HTTP != nil {
				entry := c.HTTP(clients.Remote{Name: "berth", URL: "http://127.0.0.1:7077/mcp", Variable: map[bool]string{true: "BERTH_TOKEN"}[c.Refer], Token: map[bool]string{false: "berth_token"}[c.Refer]})
				http, _, err := settings.Set(f.Format, nil, f.Place("berth"), entry)
				if err != nil {
					t.Fatal(err)
				}
				archive.Files = append(archive.Files, txtar.File{Name: "address", Data: http})
			}
			text := txtar.Format(archive)
			if os.Getenv("BERTH_TEST_UPDATE") != "" {
				if err := os.WriteFile(golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || string(want) != string(text) {
				t.Errorf("it is %s now, not as in %s (BERTH_TEST_UPDATE=1 writes it): %v", text, golden, err)
			}
			for name, form := range map[string]func(string) string{
				"as it is": func(s string) string { return s },
				"with CRLF and a byte order mark": func(s string) string {
					return "\xef\xbb\xbf" + strings.ReplaceAll(s, "\n", "\r\n")
				},
				"empty": func(string) string { return "" },
			} {
				doc, want := form(doc), form(string(out))
				got, mark, err := settings.Set(f.Format, []byte(doc), f.Place("berth"), c.Stdio(program))
				if err != nil || doc != "" && string(got) != want {
					t.Errorf("%s: %v\n%q, not\n%q", name, err, got, want)
					continue
				}
				if back, err := settings.Remove(f.Format, got, f.Place("berth"), mark); err != nil || string(back) != doc {
					t.Errorf("%s: it went back to %q (%v)", name, back, err)
				}
			}
		})
	}
}

// TestTheDocumentIsTheTable: docs/clients.md says what the table says.
func TestTheDocumentIsTheTable(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "clients.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- from the table -->\n", "<!-- to here -->\n"
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/clients.md has lost its marks")
	}
	want := head + begin + document() + end + tail
	if os.Getenv("BERTH_TEST_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Error("docs/clients.md is not what the table says; BERTH_TEST_UPDATE=1 writes it")
	}
}

func document() string {
	var b strings.Builder
	b.WriteString("\n| client | settings file of the user | of a project | entries in | reload | compared |\n|---|---|---|---|---|---|\n")
	for _, c := range clients.All() {
		checked := c.Checked
		if checked == "" {
			checked = "no"
		}
		fmt.Fprintf(&b, "| [`%s`](%s) %s | %s | %s | %s | %s | %s |\n", c.ID, c.Source, c.Title, files(c, clients.User), files(c, clients.Project), keys(c), c.Reload, checked)
	}
	b.WriteString("\n| client | address | token | tools | names | worth knowing |\n|---|---|---|---|---|---|\n")
	for _, c := range clients.All() {
		address, token := "no", ""
		if c.HTTP != nil {
			address, token = "yes", "`"+c.Field+"`"
			if c.Refer {
				token += ", from a variable"
			} else {
				token += ", in clear"
			}
		}
		note := c.Note
		if c.Rewrites {
			note = strings.TrimPrefix(note+"; it writes its file while it runs", "; ")
		}
		if c.Own != nil {
			note = strings.TrimPrefix(note+"; `"+c.Own.Program+"` adds entries itself", "; ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", c.ID, address, token, limit(c.Tools), limit(c.Name), note)
	}
	return b.String()
}

func limit(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint("≤ ", n)
}

func keys(c clients.Client) string {
	if len(c.Files) == 0 {
		return ""
	}
	f := c.Files[0]
	text := "`" + strings.Join(f.Within, "`, `") + "`, " + strings.ToUpper(string(f.Format))
	if f.ID != "" {
		text += ", a list"
	}
	return text
}

func files(c clients.Client, scope clients.Scope) string {
	if c.Manual != "" {
		if scope == clients.User {
			return c.Manual
		}
		return ""
	}
	for _, f := range c.Files {
		if f.Scope != scope {
			continue
		}
		var parts []string
		byPath := map[string][]string{}
		for _, goos := range systems() {
			for _, p := range f.On[goos] {
				if !slices.Contains(parts, p) {
					parts = append(parts, p)
				}
				byPath[p] = append(byPath[p], map[string]string{"linux": "Linux", "darwin": "macOS", "windows": "Windows"}[goos])
			}
		}
		for i, p := range parts {
			text := "`" + strings.TrimPrefix(p, "./") + "`"
			if len(byPath[p]) < len(systems()) {
				text += " (" + strings.Join(byPath[p], ", ") + ")"
			}
			parts[i] = text
		}
		return strings.Join(parts, "<br>")
	}
	return ""
}
