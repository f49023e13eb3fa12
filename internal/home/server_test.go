package home

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// referenceServer is the reference's: it demands every table and every key, and
// passes over what it does not know.
type referenceServer struct {
	Server *struct {
		Name        *string `toml:"name"`
		DisplayName *string `toml:"display_name"`
		Version     *string `toml:"version"`
		Description *string `toml:"description"`
		Category    *string `toml:"category"`
		Maintainer  *string `toml:"maintainer"`
		TrustLevel  *string `toml:"trust_level"`
	} `toml:"server"`
	Source *struct {
		Type       *string `toml:"type"`
		Package    *string `toml:"package"`
		Repository *string `toml:"repository"`
	} `toml:"source"`
	Runtime *struct {
		Type      *string   `toml:"type"`
		Command   *string   `toml:"command"`
		Args      *[]string `toml:"args"`
		Transport *string   `toml:"transport"`
	} `toml:"runtime"`
	Permissions *struct {
		Network    *[]string `toml:"network"`
		Env        *[]string `toml:"env"`
		Filesystem *[]string `toml:"filesystem"`
		Exec       *[]string `toml:"exec"`
	} `toml:"permissions"`
	Config     *map[string]string `toml:"config"`
	ConfigMeta *struct {
		RequiredKeys *[]string `toml:"required_keys"`
		OptionalKeys *[]string `toml:"optional_keys"`
	} `toml:"config_meta"`
}

// demandAll fails the test for each key that the reference would miss.
func demandAll(t testing.TB, doc []byte) referenceServer {
	t.Helper()
	var s referenceServer
	if err := toml.Unmarshal(doc, &s); err != nil {
		t.Fatalf("the reference cannot read this: %v\n%s", err, doc)
	}
	top := reflect.ValueOf(s)
	for i := range top.NumField() {
		table, name := top.Field(i), top.Type().Field(i).Tag.Get("toml")
		if table.IsNil() {
			t.Errorf("the table %s is missing\n%s", name, doc)
			continue
		}
		if table = table.Elem(); table.Kind() != reflect.Struct {
			continue
		}
		for j := range table.NumField() {
			if table.Field(j).IsNil() {
				t.Errorf("the key %s.%s is missing\n%s", name, table.Type().Field(j).Tag.Get("toml"), doc)
			}
		}
	}
	return s
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(doc, []byte("\r\n"), []byte("\n"))
}

// putFile writes a file of the home as a user would.
func putFile(t testing.TB, h *Home, doc string, elem ...string) string {
	t.Helper()
	path := h.path(elem...)
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerAsTheReferenceWritesIt(t *testing.T) {
	h := openTestHome(t)
	putFile(t, h, string(readTestdata(t, "reference-server.toml")), serversDir, "everything.toml")
	s, err := h.ReadServer("everything")
	if err != nil {
		t.Fatal(err)
	}
	s.file, s.doc = "", nil
	want := Server{
		Name: "everything",
		Info: Info{Name: "everything", DisplayName: "Everything", Version: "1.2.3", Description: "All of it",
			Category: "demo", Maintainer: "someone", TrustLevel: "community"},
		Source:      Source{Type: "npm", Package: "@modelcontextprotocol/server-everything", Repository: "https://example.org/servers"},
		Runtime:     Runtime{Type: "node", Command: "npx", Args: []string{"-y", "@modelcontextprotocol/server-everything"}, Transport: "stdio"},
		Permissions: Declared{Network: []string{"api.example.org:443"}, Env: []string{"API_KEY"}, Filesystem: []string{}, Exec: []string{}},
		Config: map[string]string{"API_KEY": "secret://everything/API_KEY", "berth.auto-restart": "true",
			"berth.max-file-descriptors": "1024", "berth.max-memory": "512M", "berth.max-restarts": "5"},
		ConfigMeta: ConfigMeta{RequiredKeys: []string{"API_KEY"}, OptionalKeys: []string{}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("\n got %+v\nwant %+v", s, want)
	}
	// Written anew it is the same file, byte for byte.
	doc, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "reference-server.toml", doc)
}

func fullServer() Server {
	s := NewServer("mine", "npx", []string{"-y", `quo"te`})
	s.Config = map[string]string{"berth.auto-restart": "true", "berth.max-restarts": "10", "own key": "välue\n2"}
	s.Env = map[string]string{"TOKEN": "t0ken", "EMPTY": ""}
	s.Permissions.Network = []string{"a.example:443", "*:80"}
	s.Settings = Settings{
		Autostart: true, Cwd: "/srv", CommandPath: "/usr/bin/npx", Path: "/usr/bin:/bin", Grace: "7s",
		Window: "1m0s", MinDelay: "1ms", MaxDelay: "2s", Healthy: "3s", TreeKill: "subreaper",
	}
	return s
}

func TestReferenceReadsOurServers(t *testing.T) {
	h := openTestHome(t)
	for _, s := range []Server{fullServer(), NewServer("mine", "true", nil), {Name: "mine", Runtime: Runtime{Command: "x"}}} {
		if err := h.WriteServer(s, true); err != nil {
			t.Fatal(err)
		}
		doc, err := os.ReadFile(h.path(serversDir, "mine.toml"))
		if err != nil {
			t.Fatal(err)
		}
		r := demandAll(t, doc)
		if *r.Server.Name != "mine" || *r.Runtime.Command != s.Runtime.Command ||
			!slices.Equal(*r.Runtime.Args, s.Runtime.Args) || len(*r.Config) != len(s.Config) {
			t.Errorf("the reference reads\n%s", doc)
		}
		if info, err := os.Stat(h.path(serversDir, "mine.toml")); err != nil || onUnix && info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		got, err := h.ReadServer("mine")
		if err != nil {
			t.Fatal(err)
		}
		again, err := got.encode()
		if err != nil || !bytes.Equal(again, doc) {
			t.Errorf("nothing was changed, but the file was: %v\n%s\n%s", err, doc, again)
		}
	}
}

func TestServerGolden(t *testing.T) {
	s := fullServer()
	doc, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "server.toml", doc)
	got, err := decodeServer("mine", "file", doc)
	if err != nil {
		t.Fatal(err)
	}
	got.doc, got.file = nil, ""
	s.Permissions.Env, s.Permissions.Filesystem, s.Permissions.Exec = []string{}, []string{}, []string{}
	s.ConfigMeta = ConfigMeta{RequiredKeys: []string{}, OptionalKeys: []string{}}
	if !reflect.DeepEqual(got, s) {
		t.Errorf("\n got %+v\nwant %+v", got, s)
	}
}

func TestWriteServerRefuses(t *testing.T) {
	h := openTestHome(t)
	if err := h.WriteServer(NewServer("s", "one", nil), false); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteServer(NewServer("s", "two", nil), false); !errors.Is(err, berth.ErrExists) {
		t.Errorf("error %v", err)
	}
	if s, err := h.ReadServer("s"); err != nil || s.Runtime.Command != "one" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := h.WriteServer(NewServer("s", "two", nil), true); err != nil {
		t.Error(err)
	}
	if s, err := h.ReadServer("s"); err != nil || s.Runtime.Command != "two" {
		t.Errorf("%+v, %v", s, err)
	}
	// What TOML cannot hold must not become something else.
	for what, change := range map[string]func(*Server){
		"command":   func(s *Server) { s.Runtime.Command = "\xff" },
		"argument":  func(s *Server) { s.Runtime.Args = []string{"ok", "a\x00"} },
		"directory": func(s *Server) { s.Settings.Cwd = "/\xfe" },
		"PATH":      func(s *Server) { s.Settings.Path = "/\xfe" },
		"variable":  func(s *Server) { s.Env = map[string]string{"A": "\xff"} },
		"configur":  func(s *Server) { s.Config = map[string]string{"\xff": "a"} },
	} {
		s := NewServer("x", "true", nil)
		change(&s)
		if err := h.WriteServer(s, true); !errors.Is(err, berth.ErrInvalidSpec) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := h.ReadServer("x"); !errors.Is(err, berth.ErrNoServer) {
		t.Errorf("error %v", err)
	}
	if err := h.RemoveServer("x"); !errors.Is(err, berth.ErrNoServer) {
		t.Errorf("error %v", err)
	}
	if err := h.UpdateServer("x", func(*Server) error { return nil }); !errors.Is(err, berth.ErrNoServer) {
		t.Errorf("error %v", err)
	}
	if err := h.RemoveServer("s"); err != nil {
		t.Error(err)
	}
	if names, _, err := h.Servers(); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// Of many that add the same server exactly one succeeds.
func TestAddServerRace(t *testing.T) {
	h := openTestHome(t)
	var group sync.WaitGroup
	won := make(chan string, 8)
	for n := range 8 {
		group.Go(func() {
			command := string(rune('a' + n))
			err := h.WriteServer(NewServer("s", command, nil), false)
			if err == nil {
				won <- command
			} else if !errors.Is(err, berth.ErrExists) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	close(won)
	winner := <-won
	if _, more := <-won; more || winner == "" {
		t.Errorf("not one winner")
	}
	if s, err := h.ReadServer("s"); err != nil || s.Runtime.Command != winner {
		t.Errorf("%s won, but the command is %s, %v", winner, s.Runtime.Command, err)
	}
}

// No change of a key is lost to another that is made at the same time.
func TestSetConfigConcurrently(t *testing.T) {
	h := openTestHome(t)
	if err := h.WriteServer(NewServer("s", "true", nil), false); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for i := range 10 {
				if err := h.SetConfig("s", string(rune('a'+n))+string(rune('0'+i)), "v"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if s, err := h.ReadServer("s"); err != nil || len(s.Config) != 40 {
		t.Errorf("%d keys, %v", len(s.Config), err)
	}
}

func TestUpdateServerKeepsErrors(t *testing.T) {
	h := openTestHome(t)
	if err := h.WriteServer(NewServer("s", "true", nil), false); err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	if err := h.UpdateServer("s", func(s *Server) error { s.Runtime.Command = "x"; return why }); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	if s, err := h.ReadServer("s"); err != nil || s.Runtime.Command != "true" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestBrokenFilesNameTheirPlace(t *testing.T) {
	h := openTestHome(t)
	read := map[string]func() error{
		"servers/s.toml":     func() error { _, err := h.ReadServer("s"); return err },
		"permissions/s.toml": func() error { _, _, err := h.ReadPermissions("s"); return err },
		"berth.toml":         func() error { _, _, err := h.ReadConfig(); return err },
		"runtime/s.toml":     func() error { _, _, err := h.ReadState("s"); return err },
	}
	broken := []struct{ doc, where string }{
		{"x = [1\n", ":"},
		{"# a comment\n\n[server\n", ":3:"},
		{"a = 1\na = 2\n", ":2:"},
		{"a = \"\xff\"\n", ":1:"},
		{"[a]\n\n[a]\n", ":3:"},
		{"\x00", ":1:"},
		{"[config]\n[x]\nunknown = 1979-13-27\n", ":3:"},
	}
	for file, f := range read {
		for _, b := range broken {
			if strings.Contains(b.doc, "unknown") && strings.HasPrefix(file, "runtime") {
				continue // a state's unknown keys are not looked at
			}
			path := putFile(t, h, b.doc, file)
			err := f()
			kind := berth.ErrBadConfig
			if strings.HasPrefix(file, "runtime") {
				kind = berth.ErrBadState
			}
			if !errors.Is(err, kind) || !strings.Contains(err.Error(), path+b.where) {
				t.Errorf("%s %q: %v", file, b.doc, err)
			}
		}
		if err := os.Remove(h.path(file)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(h.path(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := f(); err == nil || errors.Is(err, berth.ErrNoServer) {
			t.Errorf("%s, a directory: %v", file, err)
		}
	}
}

func TestServerValuesOfTheWrongType(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"[config]\n\"berth.max-restarts\" = 5\n", "f:2:24: config.\"berth.max-restarts\": the value is of type integer, but a string in quotes is needed"},
		{"[runtime]\nargs = \"-y\"\n", "f:2:8: runtime.args: the value is of type string, but a"},
		{"[runtime]\nargs = [\"-y\", 7]\n", "f:2:15: runtime.args: the value is of type integer, but a string in quotes is needed"},
		{"[berth]\nautostart = \"yes\"\n", "f:2:13: berth.autostart: the value is of type string, but true or false is needed"},
		{"runtime = 3\n", "f:1:11: runtime: the value is of type integer, but a table is needed"},
		{"[env]\nA = true\n", "f:2:5: env.A: "},
		{"[env.B]\nA = \"x\"\n", "f:"},
	} {
		_, err := decodeServer("s", "f", []byte(c.doc))
		if !errors.Is(err, berth.ErrBadConfig) || !strings.HasPrefix(err.Error(), "bad configuration: "+c.want) || strings.Contains(err.Error(), "struct") {
			t.Errorf("%q: %v", c.doc, err)
		}
	}
}

func TestUnknownKeysOfAServer(t *testing.T) {
	s := parseServer(t, "[runtime]\ncommand = 'x'\n[config]\nown = '1'\n[env]\nK = 'v'\n[berth]\ngracee = '1s'\n[more]\nx = 1\n")
	if got, want := unknownKeys(s.file, s.doc, &Server{}), []string{"file:8: unknown key berth.gracee", "file:9: unknown key more"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, doc := range []string{string(readTestdata(t, "reference-server.toml")), string(newServerDoc(t))} {
		if s := parseServer(t, doc); len(unknownKeys(s.file, s.doc, &Server{})) > 0 {
			t.Errorf("%q of\n%s", unknownKeys(s.file, s.doc, &Server{}), doc)
		}
	}
}

// newServerDoc is the file of a server that was added.
func newServerDoc(t *testing.T) []byte {
	h := openTestHome(t)
	if err := h.WriteServer(NewServer("s", "true", nil), false); err != nil {
		t.Fatal(err)
	}
	s, err := h.ReadServer("s")
	if err != nil {
		t.Fatal(err)
	}
	return s.doc
}
