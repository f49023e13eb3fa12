package home

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

const wholeConfig = `[registry]
url = "https://registry.example/index"
cache_ttl = 3600

[runtime]
auto_restart = true
health_check_interval = "30s"
log_level = "debug"
max_servers = 20

[security]
default_trust_level = "community"
audit_enabled = false
sandbox_enabled = true

[clients]
auto_link = true
`

func TestReadConfig(t *testing.T) {
	h := openTestHome(t)
	if c, warnings, err := h.ReadConfig(); err != nil || len(warnings) > 0 || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("of none: %+v, %q, %v", c, warnings, err)
	}
	putFile(t, h, wholeConfig, "berth.toml")
	got, warnings, err := h.ReadConfig()
	if err != nil || len(warnings) != 6 {
		t.Fatalf("%q, %v", warnings, err)
	}
	for i, want := range []string{"7: [runtime] health_check_interval", "8: [runtime] log_level", "12: [security] default_trust_level",
		"14: [security] sandbox_enabled", "13: [security] audit_enabled", "17: [clients] auto_link"} {
		if !strings.Contains(warnings[i], "berth.toml:"+want+" has no effect: ") {
			t.Errorf("%q, want %s", warnings[i], want)
		}
	}
	yes := true
	var want Config
	want.Registry.URL, want.Registry.CacheTTL = "https://registry.example/index", time.Hour
	want.Runtime.AutoRestart, want.Runtime.MaxServers = &yes, 20
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestUnknownKeysAreWarnings(t *testing.T) {
	c, warnings, err := decodeConfig("file", []byte("top = 1\n[runtime]\nauto_restrat = true\nmax_servers = 3\n\n[colour]\nx = 1\n\n[[list]]\n"))
	want := []string{"file:1: unknown key top", "file:3: unknown key runtime.auto_restrat", "file:6: unknown key colour", "file:9: unknown key list"}
	if err != nil || c.Runtime.MaxServers != 3 || !slices.Equal(warnings, want) {
		t.Errorf("%+v, %v\n got %q\nwant %q", c, err, warnings, want)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"[runtime]\nauto_restart = \"yes\"\n", "file:2:16: runtime.auto_restart: the value is of type string, but true or false is needed"},
		{"[runtime]\nmax_servers = -1\n", "file:2:15: runtime.max_servers: negative integer value -1 is out of range"},
		{"[runtime]\n\nhealth_check_interval = \"soon\"\n", "file:3: [runtime] health_check_interval is neither"},
		{"[registry]\ncache_ttl = -1\n", "file:2: [registry] cache_ttl is neither"},
		{"[registry]\ncache_ttl = 1.5\n", "file:2: [registry] cache_ttl is neither"},
		{"[registry]\ncache_ttl = 9223372036854775807\n", "file:2: [registry] cache_ttl is neither"},
		{"registry = 1\n", "file:1:12: registry: the value is of type integer, but a table is needed"},
	} {
		_, _, err := decodeConfig("file", []byte(c.doc))
		if !errors.Is(err, berth.ErrBadConfig) || !strings.HasPrefix(err.Error(), "bad configuration: "+c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.doc, err, c.want)
		}
	}
	for text, want := range map[any]time.Duration{int64(0): 0, int64(60): time.Minute, "60": time.Minute, "1h30m": 90 * time.Minute, nil: 0} {
		if got, ok := duration(text); !ok || got != want {
			t.Errorf("%v: %v, %v", text, got, ok)
		}
	}
}

func TestReadPermissions(t *testing.T) {
	h := openTestHome(t)
	if p, warnings, err := h.ReadPermissions("s"); err != nil || len(warnings) > 0 || len(p.Grant)+len(p.Revoke) > 0 {
		t.Errorf("of none: %+v, %q, %v", p, warnings, err)
	}
	path := putFile(t, h, "grant = [\"env:TOKEN\"]\nother = 1\nrevoke = [\n  \"network:*\",\n  \"exec:git\",\n]\n", permissionsDir, "s.toml")
	p, warnings, err := h.ReadPermissions("s")
	if err != nil || !slices.Equal(p.Grant, []string{"env:TOKEN"}) || !slices.Equal(p.Revoke, []string{"network:*", "exec:git"}) ||
		!slices.Equal(warnings, []string{path + ":2: unknown key other"}) {
		t.Errorf("%+v, %q, %v", p, warnings, err)
	}
	// A revocation that was mistyped must not be passed over.
	for doc, want := range map[string]string{
		"grant = []\nrevoke = [\"netwrok:*\"]\n": ":2: revoke: \"netwrok:*\" is not a permission",
		"grant = [\"env:lower\"]\n":              ":1: grant: \"env:lower\" is not a permission",
		"grant = \"env:*\"\n":                    ":1:9: grant: the value is of type string, but a list of strings is needed",
	} {
		_, _, err := decodePermissions("file", []byte(doc))
		if !errors.Is(err, berth.ErrBadConfig) || !strings.HasPrefix(err.Error(), "bad configuration: file"+want) {
			t.Errorf("%q:\n got %v\nwant %s", doc, err, want)
		}
	}
}

// FuzzConfig reads a document as each of the files that a user writes and
// nobody rewrites.
func FuzzConfig(f *testing.F) {
	for _, doc := range []string{wholeConfig, "", "grant = [\"env:A\"]\nrevoke = ['x']", "[registry]\ncache_ttl = \"1h\"", "x.y.z = 1\n[[x2]]",
		"[runtime]\nmax_servers = 4294967296", "[registry]\ncache_ttl = {a = [nan]}", "\"\" = 0\n[\"\"]\n[\"\".\"a.b\"]", "grant=[[]]"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		_, warnings, err := decodeConfig("file", doc)
		_, more, perr := decodePermissions("file", doc)
		for _, err := range []error{err, perr} {
			if err != nil && (!errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), "file:")) {
				t.Fatalf("error without its kind or place: %v", err)
			}
		}
		for _, w := range append(warnings, more...) {
			if !strings.HasPrefix(w, "file:") || strings.HasPrefix(w, "file:0") {
				t.Fatalf("warning without its place: %q", w)
			}
		}
	})
}
