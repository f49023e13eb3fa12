package home

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func parseServer(t *testing.T, doc string) Server {
	t.Helper()
	s, err := decodeServer("s", "file", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const runX = "[runtime]\ncommand = 'x'\n"

func TestSpecOfTheReferencesServer(t *testing.T) {
	s := parseServer(t, string(readTestdata(t, "reference-server.toml")))
	spec, warnings, err := s.Spec([]string{"PATH=/bin", "SECRET=1"}, Permissions{})
	if err != nil {
		t.Fatal(err)
	}
	want := berth.ProcessSpec{
		Command: "npx", Args: []string{"-y", "@modelcontextprotocol/server-everything"}, Env: map[string]string{},
		AutoRestart:    &berth.RestartPolicy{Enabled: true, MaxRestarts: 5},
		MaxMemoryBytes: 512 << 20, MaxFileDescriptors: 1024, Transport: "stdio",
		// What it declares is known, and nothing keeps it to that: it was added before.
		Confine: &berth.Confinement{Profile: berth.ProfileOff, Require: berth.RequireEnforce, Allow: []string{"network:api.example.org:443", "env:API_KEY"}},
	}
	if !reflect.DeepEqual(spec, want) {
		t.Errorf("\n got %+v\nwant %+v", spec, want)
	}
	// A key of its own is nobody's business but the user should know.
	if len(warnings) != 1 || !strings.Contains(warnings[0], "API_KEY") || !strings.HasPrefix(warnings[0], "file: ") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestSpecDefaults(t *testing.T) {
	s := parseServer(t, runX)
	spec, warnings, err := s.Spec(nil, Permissions{})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if want := (berth.ProcessSpec{Command: "x", Env: map[string]string{}, Transport: "stdio"}); !reflect.DeepEqual(spec, want) {
		t.Errorf("\n got %+v\nwant %+v", spec, want)
	}
	s = parseServer(t, runX+"[config]\n\"berth.auto-restart\" = \"true\"\n")
	if spec, _, err := s.Spec(nil, Permissions{}); err != nil || spec.AutoRestart == nil || spec.AutoRestart.MaxRestarts != 3 {
		t.Errorf("three restarts are the default: %+v, %v", spec.AutoRestart, err)
	}
	s = parseServer(t, runX+"[config]\n\"berth.max-restarts\" = \"5\"\n")
	if spec, _, err := s.Spec(nil, Permissions{}); err != nil || spec.AutoRestart != nil {
		t.Errorf("auto-restart is off by default: %+v, %v", spec.AutoRestart, err)
	}
}

func TestSpecOfEverything(t *testing.T) {
	command := filepath.Join(t.TempDir(), "found")
	if err := os.WriteFile(command, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	s := fullServer()
	delete(s.Config, "own key")
	s.Settings.CommandPath = command
	spec, warnings, err := s.Spec([]string{"PATH=/bin" + string(os.PathListSeparator) + "/mine"}, Permissions{})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	path := "/usr/bin:/bin" + string(os.PathListSeparator) + "/mine"
	if !onUnix {
		path = spec.Env["PATH"] // its separator is another
	}
	want := berth.ProcessSpec{
		Command: command, Args: s.Runtime.Args, Env: map[string]string{"TOKEN": "t0ken", "EMPTY": "", "PATH": path},
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10, Window: berth.Duration(time.Minute),
			MinDelay: berth.Duration(time.Millisecond), MaxDelay: berth.Duration(2 * time.Second), Healthy: berth.Duration(3 * time.Second)},
		Dir: "/srv", Grace: berth.Duration(7 * time.Second), Transport: "stdio", TreeKill: berth.TreeSubreaper,
		Confine: &berth.Confinement{Profile: berth.ProfileOff, Require: berth.RequireEnforce,
			Allow: []string{"network:a.example:443", "network:*:80", "env:EMPTY", "env:TOKEN"}},
	}
	if !reflect.DeepEqual(spec, want) {
		t.Errorf("\n got %+v\nwant %+v", spec, want)
	}
	// The spec is nobody else's.
	spec.Args[0] = "changed"
	if s.Runtime.Args[0] == "changed" {
		t.Error("the spec shares its arguments with the server")
	}
	// Where the command was is gone: an update of node, say.
	if err := os.Remove(command); err != nil {
		t.Fatal(err)
	}
	spec, warnings, err = s.Spec(nil, Permissions{})
	if err != nil || spec.Command != "npx" || len(warnings) != 1 || !strings.Contains(warnings[0], command) {
		t.Errorf("%s, %q, %v", spec.Command, warnings, err)
	}
	// A PATH of the server's own wins.
	s.Env["PATH"] = "/own"
	if spec, _, err := s.Spec([]string{"PATH=/bin"}, Permissions{}); err != nil || spec.Env["PATH"] != "/own" {
		t.Errorf("PATH=%s, %v", spec.Env["PATH"], err)
	}
}

func TestBadValuesNameFileAndKey(t *testing.T) {
	config := func(key, value string) string {
		return runX + "[config]\n# a comment\n\"" + key + "\" = '" + value + "'\n"
	}
	for _, c := range []struct{ doc, want string }{
		{config("berth.auto-restart", "yes"), `file:5: [config] "berth.auto-restart": "yes" is neither true nor false`},
		{config("berth.max-restarts", "-1"), `file:5: [config] "berth.max-restarts": "-1" is not`},
		{config("berth.max-restarts", "1.5"), `file:5: [config] "berth.max-restarts": "1.5" is not`},
		{config("berth.max-restarts", "99999999999"), `file:5: [config] "berth.max-restarts": `},
		{config("berth.max-memory", "lots"), `file:5: [config] "berth.max-memory": "lots" is not a size`},
		{config("berth.max-memory", "0"), `file:5: [config] "berth.max-memory": "0" is not a size`},
		{config("berth.max-memory", "99999999999G"), `file:5: [config] "berth.max-memory": `},
		{config("berth.max-file-descriptors", "0"), `file:5: [config] "berth.max-file-descriptors": "0" is not`},
		{config("berth.max-processes", "0"), `file:5: [config] "berth.max-processes": "0" is not`},
		{config("berth.max-cpu", "-5%"), `file:5: [config] "berth.max-cpu": "-5" is not`},
		{config("berth.sandbox", "on"), `file:5: [config] "berth.sandbox": "on" is none of off, standard, strict and basic`},
		{config("berth.sandbox-network", "none"), `file:5: [config] "berth.sandbox-network": "none" is neither deny-all nor inherit`},
		{config("berth.require", "ask"), `file:5: [config] "berth.require": "ask" is neither enforce nor prefer`},
		{runX + "transport = 'smoke'\n", `file:3: [runtime] transport: "smoke" is neither`},
		{runX + "[berth]\ngrace = '5'\n", `file:4: [berth] grace: "5" is not a duration`},
		{runX + "[berth]\ngrace = '-5s'\n", `file:4: [berth] grace: -5s is less than nothing`},
		{runX + "[berth]\nrestart_window = 'x'\n", `file:4: [berth] restart_window: `},
		{runX + "[berth]\ntree_kill = 'x'\n", `file: invalid spec: tree_kill "x" is not a mechanism`},
		{runX + "[env]\n\"A=B\" = ''\n", `file: invalid spec: the variable "A=B"`},
		{"[runtime]\ncommand = ' '\n", `file:2: [runtime] command: the command is missing`},
		{"", `file: [runtime] command: the command is missing`},
		{runX + "[env]\nA = 'b'\nTOKEN = 'Bearer ${TOKEN}'\n", `file:5: [env] TOKEN: the value stands for a variable`},
	} {
		s := parseServer(t, c.doc)
		_, _, err := s.Spec(nil, Permissions{})
		if !errors.Is(err, berth.ErrBadConfig) || !strings.HasPrefix(err.Error(), "bad configuration: "+c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.doc, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "Bearer") {
			t.Errorf("a value is shown: %v", err)
		}
	}
	var hint *berth.Hinted
	s := parseServer(t, runX+"[env]\nTOKEN = '${TOKEN}'\n")
	if _, _, err := s.Spec(nil, Permissions{}); !errors.As(err, &hint) {
		t.Errorf("no hint: %v", err)
	}
}

func TestStandsForVariable(t *testing.T) {
	for value, want := range map[string]bool{
		"${A}": true, "x${A_b.c:d/e-1}y": true, "${ ${A}": true,
		"": false, "secret://a/B": false, "$A": false, "${}": false, "${A": false, "${a b}": false, "x secret://a/B": false, "a$b{c}": false, "${\"}": false,
	} {
		if got := standsForVariable(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestSpecWarnings(t *testing.T) {
	for doc, want := range map[string]string{
		"\"berth.sandbox\" = 'basic'\n":            "",
		"\"berth.sandbox-network\" = 'deny-all'\n": "has no effect without berth.sandbox",
		"\n\"berth.max-memroy\" = '1'\n":           `:5: [config] "berth.max-memroy" is not a key of Berth's`,
		"OTHER = '1'\nKEY = '2'\n":                 "KEY, OTHER: not passed to the server",
		"\"berth.sandbox\" = 'off'\n":              "",
		"\"berth.sandbox-network\" = 'inherit'\n":  "",
	} {
		s := parseServer(t, runX+"[config]\n"+doc)
		spec, warnings, err := s.Spec(nil, Permissions{})
		if err != nil || len(spec.Env) > 0 {
			t.Errorf("%q: env %v, %v", doc, spec.Env, err)
		}
		if want == "" && len(warnings) > 0 || want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], want)) {
			t.Errorf("%q: warnings %q", doc, warnings)
		}
	}
}

// A key that was mistyped is not passed over, whatever table it is in.
func TestSpecWarnsOfUnknownKeys(t *testing.T) {
	s := parseServer(t, `[server]
name = "s"
nmae = "s"

[runtime]
command = "x"
comand = "y"

[berth]
garce = "5s"

[config]
own = "1"

[env]
OWN = "1"

[colour]
red = 1
`)
	spec, warnings, err := s.Spec(nil, Permissions{})
	want := []string{
		"file:3: unknown key server.nmae", "file:7: unknown key runtime.comand", "file:10: unknown key berth.garce", "file:18: unknown key colour",
		"file: [config] own: not passed to the server; what it needs in its environment belongs in [env]",
	}
	slices.Sort(warnings)
	slices.Sort(want)
	if err != nil || spec.Command != "x" || spec.Env["OWN"] != "1" || !slices.Equal(warnings, want) {
		t.Errorf("%+v, %v\n got %q\nwant %q", spec, err, warnings, want)
	}
}

func TestValidateConfig(t *testing.T) {
	for _, k := range ConfigKeys() {
		if k.Help == "" || k.Default == "" || strings.ContainsAny(k.Help, "\n") {
			t.Errorf("%+v", k)
		}
		if err := ValidateConfig(k.Key, "non[sense"); !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), k.Key) {
			t.Errorf("%s = non[sense: %v", k.Key, err)
		}
		if k.Default != "no limit" && k.Default != "its name" && k.Default != "as permitted" {
			if err := ValidateConfig(k.Key, k.Default); err != nil {
				t.Errorf("the default: %v", err)
			}
		}
	}
	for key, value := range map[string]string{
		"berth.max-restarts": "1", "berth.max-memory": "1", "berth.max-file-descriptors": "1",
		"berth.max-processes": "64", "berth.max-cpu": "150%",
		"API_KEY": "any\nthing", "x": "",
	} {
		if err := ValidateConfig(key, value); err != nil {
			t.Error(err)
		}
	}
	// The reference takes 1 and more, and must be able to read what is written;
	// that a file has 0 is no reason not to read it.
	var hint *berth.Hinted
	if err := ValidateConfig("berth.max-restarts", "0"); !errors.Is(err, berth.ErrBadConfig) || !errors.As(err, &hint) ||
		!strings.Contains(hint.Hint, "berth.auto-restart=false") {
		t.Errorf("berth.max-restarts=0: %v", err)
	}
	never := parseServer(t, runX+"[config]\n\"berth.auto-restart\" = \"true\"\n\"berth.max-restarts\" = \"0\"\n")
	if spec, _, err := never.Spec(nil, Permissions{}); err != nil || spec.AutoRestart == nil || spec.AutoRestart.MaxRestarts != 0 {
		t.Errorf("a file with berth.max-restarts = 0: %+v, %v", spec.AutoRestart, err)
	}
	if err := ValidateConfig("berth.max-memroy", "1"); !errors.Is(err, berth.ErrBadConfig) || !errors.As(err, &hint) ||
		!strings.Contains(hint.Hint, "berth.max-memory") {
		t.Errorf("a key that is not Berth's: %v", err)
	}
	if err := ValidateConfig("", "x"); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("an empty key: %v", err)
	}
	h := openTestHome(t)
	if err := h.WriteServer(NewServer("s", "true", nil), false); err != nil {
		t.Fatal(err)
	}
	if err := h.SetConfig("s", "berth.max-memory", "lots"); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("SetConfig: %v", err)
	}
	if s, err := h.ReadServer("s"); err != nil || len(s.Config) > 0 {
		t.Errorf("%v, %v", s.Config, err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"1": 1, "1024": 1024, "1K": 1 << 10, "2k": 2 << 10, "512M": 512 << 20, "3g": 3 << 30, "8589934591G": 8589934591 << 30,
		"": 0, "K": 0, "0": 0, "0M": 0, "-1": 0, "+1": 0, "1.5G": 0, "1T": 0, "1 G": 0, "1MB": 0, "8589934592G": 0,
		"9223372036854775808": 0, "99999999999999999999": 0,
	} {
		got, err := ParseSize(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}
