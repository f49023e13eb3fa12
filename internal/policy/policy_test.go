package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

const file = "/home/u/.berth/policy.toml"

func TestZeroPolicyAllowsAll(t *testing.T) {
	for _, p := range []Policy{{}, mustParse(t, ""), mustParse(t, "# nothing\n")} {
		if err := p.Server(Subject{Name: "github"}); err != nil {
			t.Error(err)
		}
		if p.Permissions != (Permissions{}) {
			t.Errorf("an empty policy forbids %+v", p.Permissions)
		}
	}
}

func mustParse(t *testing.T, text string) Policy {
	t.Helper()
	p, _, err := Parse(file, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestServer(t *testing.T) {
	for _, tt := range []struct {
		deny, name string
		denied     bool
	}{
		{`[]`, "github", false},
		{`["github"]`, "github", true},
		{`["github"]`, "gitlab", false},
		{`["github"]`, "github2", false},
		{`["github"]`, "githu", false},
		{`["GitHub"]`, "github", true},
		{`["gitlab", "  github\t"]`, "github", true},
		{`["*"]`, "anything", true},
		{`[" * "]`, "anything", true},
		{`["git*"]`, "github", false}, // no patterns
		{`["**"]`, "github", false},
		{`[""]`, "github", false},
		{`["   "]`, "github", false},
		{`["K"]`, "k", true},
		{`["` + "\u212a" + `"]`, "k", false}, // the Kelvin sign folds to k in Unicode
		{"[\n  'a',\n  \"g\\u0069thub\",\n]", "github", true},
	} {
		t.Run(tt.deny+" "+tt.name, func(t *testing.T) {
			err := mustParse(t, "[servers]\ndeny = "+tt.deny+"\n").Server(Subject{Name: tt.name})
			if (err != nil) != tt.denied {
				t.Fatalf("Server(%q) = %v", tt.name, err)
			}
			if err == nil {
				return
			}
			if !errors.Is(err, berth.ErrDenied) {
				t.Errorf("%v does not wrap ErrDenied", err)
			}
			for _, part := range []string{file, tt.name} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
			if h := new(berth.Hinted); !errors.As(err, &h) || h.Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestServerNamesTheEntry(t *testing.T) {
	err := mustParse(t, `servers.deny = ["x", " GitHub "]`).Server(Subject{Name: "github"})
	want := `server "github": denied by policy: ` + file + ` lists "GitHub" under [servers] deny`
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

func TestPermissions(t *testing.T) {
	p := mustParse(t, `[permissions]
deny_network_wildcard = true
deny_env_wildcard = false
deny_filesystem_write = true
`)
	if want := (Permissions{DenyNetworkWildcard: true, DenyFilesystemWrite: true}); p.Permissions != want {
		t.Errorf("got %+v", p.Permissions)
	}
	p = mustParse(t, "[permissions]\ndeny_env_wildcard = true\ndeny_exec_wildcard = true\n")
	if want := (Permissions{DenyEnvWildcard: true, DenyExecWildcard: true}); p.Permissions != want {
		t.Errorf("got %+v", p.Permissions)
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
		parts      []string
	}{
		{"not TOML", "[servers]\n\ndeny = [\"a\"\n", 3, []string{"array is incomplete"}},
		{"key twice", "[servers]\ndeny = []\ndeny = []\n", 3, []string{"deny is already"}},
		{"a string", "[servers]\ndeny = \"a\"\n", 2, []string{`"servers.deny"`, "array of strings"}},
		{"a number in the array", "[servers]\ndeny = ['a', 3]\n", 2, []string{`"servers.deny"`, "array of strings"}},
		{"not a boolean", "\n[permissions]\ndeny_env_wildcard = \"yes\"\n", 3, []string{`"permissions.deny_env_wildcard"`, "true or false"}},
		{"not a table", "servers = 3\n", 1, []string{`"servers"`, "a table"}},
		{"an array of tables", "\n[[servers]]\ndeny = []\n", 2, []string{`"servers"`, "a table"}},
		{"invalid UTF-8", "[servers]\ndeny = ['\xff']\n", 2, []string{"UTF-8"}},
		{"NUL", "[servers]\ndeny = ['\x00']\n", 2, nil},
		{"twins in case", "[servers]\ndeny = ['a']\nDeny = []\n", 3, []string{`"Deny"`, "write it deny"}},
		{"tables in case", "# Servers\n[Servers]\ndeny = ['a']\n", 2, []string{`"Servers"`, "write it servers"}},
		{"permission in case", "[permissions]\nDENY_ENV_WILDCARD = true\n", 2, []string{"write it deny_env_wildcard"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _, err := Parse(file, []byte(tt.text))
			if !errors.Is(err, berth.ErrBadConfig) {
				t.Fatalf("got %v and %+v", err, p)
			}
			for _, part := range append(tt.parts, fmt.Sprintf("%s:%d: ", file, tt.line)) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			for _, leak := range []string{"struct", "Go", "[]string", " toml:"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("%q speaks of %q", err, leak)
				}
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	_, warnings, err := Parse(file, []byte(`
[servers]
deny = [
  "git*",
  "fine",
]
alow = ["x"]
[extra]
x = 1
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		file + `:7: unknown key "servers.alow" has no effect`,
		file + `:8: unknown key "extra" has no effect`,
		file + `:4: the entry "git*" denies nothing: no server can have that name`,
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestByteOrderMark(t *testing.T) {
	if mustParse(t, "\ufeff[servers]\r\ndeny = ['a']\r\n").Server(Subject{Name: "a"}) == nil {
		t.Error("the policy is not read")
	}
}

// TestDenyProperty: a name is denied exactly if the list holds it or "*", as
// the contract says it, computed here in another way.
func TestDenyProperty(t *testing.T) {
	name := rapid.StringMatching(`[a-c][a-c0-1.-]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		denied := false
		subject := name.Draw(t, "subject")
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			entry := name.Draw(t, "entry")
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				entry = "*"
			case 1:
				entry = subject
			case 2:
				entry += "*"
			}
			denied = denied || entry == "*" || entry == subject
			if rapid.Bool().Draw(t, "upper") {
				entry = strings.ToUpper(entry)
			}
			pad := rapid.StringMatching(`[ \t]{0,2}`)
			list = append(list, fmt.Sprintf("%q", pad.Draw(t, "before")+entry+pad.Draw(t, "after")))
		}
		p, _, err := Parse(file, []byte("[servers]\ndeny = ["+strings.Join(list, ", ")+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Server(Subject{Name: subject}) != nil; got != denied {
			t.Fatalf("%s, %q: denied is %v", list, subject, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "[servers]\ndeny = ['a', \"*\"]\n", "servers.deny=[]\r\n", "[permissions]\ndeny_env_wildcard=true",
		"[servers]\nDeny=['a']\ndeny=[]", "\ufeff", "[[servers]]", "servers={deny=['x']}", "a.b.c=1\n[a]\nb=2", "deny = [\n", "x=\"\\u0000\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, warnings, err := Parse(file, data)
		if err != nil {
			if !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), file) {
				t.Fatalf("%v", err)
			}
			if len(p.deny) != 0 || warnings != nil {
				t.Fatal("an error together with a policy")
			}
			return
		}
		for _, w := range warnings {
			if w.Line < 0 || w.Line > strings.Count(string(data), "\n")+1 {
				t.Fatalf("%v", w)
			}
		}
		for _, entry := range p.deny {
			if p.Server(Subject{Name: entry}) == nil {
				t.Fatalf("%q is listed and allowed", entry)
			}
		}
	})
}
