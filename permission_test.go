package berth

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePermission(t *testing.T) {
	for entry, want := range map[string]Permission{
		"env:*":                     {Kind: "env", Target: "*"},
		"env:_A9":                   {Kind: "env", Target: "_A9"},
		"network:*":                 {Kind: "network", Target: "*"},
		"network:*:*":               {Kind: "network", Target: "*", Port: "*"},
		"network:*:80":              {Kind: "network", Target: "*", Port: "80"},
		"network:Example.ORG.:443":  {Kind: "network", Target: "example.org", Port: "443"},
		"network:*.Example.org:443": {Kind: "network", Target: "*.example.org", Port: "443"},
		"network:::1:80":            {Kind: "network", Target: "::1", Port: "80"},
		"network:[::1]:80":          {Kind: "network", Target: "::1", Port: "80"},
		"network:[0:0::1]:80":       {Kind: "network", Target: "::1", Port: "80"},
		"network:::ffff:10.1.2.3:1": {Kind: "network", Target: "10.1.2.3", Port: "1"},
		"network:h:65535":           {Kind: "network", Target: "h", Port: "65535"},
		"network:my_host:*":         {Kind: "network", Target: "my_host", Port: "*"},
		"filesystem:*":              {Kind: "filesystem", Target: "*"},
		"filesystem:read:/a b":      {Kind: "filesystem", Access: "read", Target: filepath.Clean("/a b")},
		"filesystem:write:/a/../b/": {Kind: "filesystem", Access: "write", Target: filepath.Clean("/b")},
		"filesystem:write:/a:b":     {Kind: "filesystem", Access: "write", Target: filepath.Clean("/a:b")},
		"filesystem:read:~/x":       {Kind: "filesystem", Access: "read", Target: filepath.Clean("~/x")},
		"exec:*":                    {Kind: "exec", Target: "*"},
		"exec:a:b":                  {Kind: "exec", Target: "a:b"},
	} {
		got, err := ParsePermission(entry)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", entry, got, err)
		}
	}
	for _, bad := range []string{
		"", "env", "env:", "env:9A", "env:a", "env:A-B", "env:**", "network:", "network:h", "network:h:", "network::80", "network:h:0",
		"network:h:65536", "network:h:-1", "network:h:+1", "network:h:080", "network:h h:80", "network:https://h:80", "network:h/x:80",
		"network:1.2.3:80", "network:0x7f000001:80", "network:fe80::1%eth0:80", "network:a..b:80", "network:*.:80", "network:a*:80",
		"network:b\u00fccher.example:80", "network:h\n:80", "filesystem:", "filesystem:read", "filesystem:read:", "filesystem:read:\x00",
		"filesystem:exec:/x", "filesystem:/x", "exec:", "exec:a\x00", "Env:A", " env:A", "tool:x",
	} {
		if got, err := ParsePermission(bad); !errors.Is(err, ErrBadConfig) || !strings.Contains(err.Error(), "is not a permission such as") {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func parsed(t interface{ Fatal(...any) }, entries ...string) (list []Permission) {
	for _, entry := range entries {
		p, err := ParsePermission(entry)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		wide, narrow string
		covers       bool
	}{
		{"env:*", "env:A", true}, {"env:A", "env:*", false}, {"env:A", "env:AB", false}, {"env:*", "exec:git", false},
		{"network:*", "network:h:1", true}, {"network:*:*", "network:h:1", true}, {"network:*:*", "network:*", false},
		{"network:h:*", "network:h:1", true}, {"network:h:1", "network:h:*", false}, {"network:*:1", "network:h:2", false},
		{"network:*.h.org:1", "network:a.h.org:1", true}, {"network:*.h.org:1", "network:h.org:1", false},
		{"network:*.h.org:1", "network:xh.org:1", false}, {"network:*.h.org:1", "network:*.a.h.org:1", true},
		{"filesystem:*", "filesystem:write:/", true}, {"filesystem:read:/", "filesystem:read:/a", true},
		{"filesystem:read:/a", "filesystem:read:/a/b", true}, {"filesystem:read:/a", "filesystem:read:/ab", false},
		{"filesystem:read:/a", "filesystem:write:/a", false}, {"filesystem:write:/a", "filesystem:read:/a", false},
		{"exec:*", "exec:git", true}, {"exec:git", "exec:gitk", false},
	} {
		if p := parsed(t, tt.wide, tt.narrow); p[0].Covers(p[1]) != tt.covers {
			t.Errorf("%s covers %s: %v", tt.wide, tt.narrow, !tt.covers)
		}
	}
}

func TestExpandHome(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths of this test are those of Unix")
	}
	for entry, want := range map[string]string{
		"filesystem:read:~/a":   "filesystem:read:/u/a",
		"filesystem:read:~":     "filesystem:read:/u",
		"filesystem:read:~a":    "filesystem:read:~a",
		"filesystem:read:/~/a":  "filesystem:read:/~/a",
		"filesystem:*":          "filesystem:*",
		"exec:~/a":              "exec:~/a",
		"filesystem:read:~/../": "filesystem:read:.", // not below the home: nothing of it is meant
	} {
		if got := parsed(t, entry)[0].ExpandHome("/u").String(); got != want {
			t.Errorf("%s: %s", entry, got)
		}
	}
}

func TestEffectivePermissions(t *testing.T) {
	declared := func(entries ...string) (list []EffectivePermission) {
		for _, p := range parsed(t, entries...) {
			list = append(list, EffectivePermission{p, OriginDeclared})
		}
		return list
	}
	list := func(entries ...string) []Permission { return parsed(t, entries...) }
	for _, tt := range []struct {
		declared      []EffectivePermission
		grant, revoke []Permission
		want          string
	}{
		{nil, nil, nil, ""},
		{declared("env:A", "network:h:1"), nil, nil, "declared env:A, declared network:h:1"},
		{declared("env:A"), list("env:B", "env:A", "env:B"), nil, "declared env:A, granted env:B"},
		{declared("env:A", "env:B"), nil, list("env:A"), "declared env:B"},
		{nil, list("env:A"), list("env:A"), ""},
		{declared("network:H.:1"), nil, list("network:h:1"), ""}, // by its meaning, not its letters
		{declared("filesystem:read:/a/"), nil, list("filesystem:read:/a"), ""},
		{declared("network:*"), nil, list("network:h:1"), "declared network:*"},
		{declared("env:A"), nil, list("env:*"), "declared env:A"},
	} {
		var got []string
		for _, p := range EffectivePermissions(tt.declared, tt.grant, tt.revoke) {
			got = append(got, p.Origin+" "+p.String())
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	wide := EffectivePermissions(declared("network:*", "env:*"), nil, nil)
	if by, found := Unrevoked(wide, list("network:h:1")[0]); !found || by.String() != "network:*" {
		t.Errorf("%v, %v", by, found)
	}
	for _, entry := range list("env:A", "exec:git") {
		if by, found := Unrevoked(wide, entry); found {
			t.Errorf("%v is said to be covered by %v", entry, by)
		}
	}
}

var anyPermission = rapid.OneOf(
	rapid.StringMatching(`env:([AB]{1,2}|\*)`),
	rapid.StringMatching(`network:(\*|[abAB]{1,2}\.?|\*\.[ab]|::1):(\*|[12])`),
	rapid.SampledFrom([]string{"network:*", "filesystem:*", "exec:*"}),
	rapid.StringMatching(`filesystem:(read|write):(/[ab.]{1,2}){1,3}/?`),
	rapid.StringMatching(`exec:[ab]{1,2}`),
)

// TestPermissionProperties: the form is stable; the effective set is the declared and
// granted without the revoked, computed here in another way; covering is an order.
func TestPermissionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := [3][]Permission{}
		for i := range lists {
			lists[i] = parsed(t, rapid.SliceOfN(anyPermission, 0, 5).Draw(t, "list")...)
		}
		var declared []EffectivePermission
		for _, p := range lists[0] {
			declared = append(declared, EffectivePermission{p, OriginDeclared})
		}
		effective := EffectivePermissions(declared, lists[1], lists[2])
		var got []string
		for _, p := range effective {
			got = append(got, p.String())
			want := OriginGranted
			if slices.Contains(lists[0], p.Permission) {
				want = OriginDeclared
			}
			if p.Origin != want {
				t.Fatalf("%v is %s", p, p.Origin)
			}
		}
		words := map[string]bool{}
		for i, list := range lists {
			for _, p := range list {
				words[p.String()] = i < 2
			}
		}
		n := 0
		for word, in := range words {
			if in {
				n++
			}
			if in != slices.Contains(got, word) {
				t.Fatalf("%s of %v: %v", word, lists, got)
			}
		}
		if n != len(got) {
			t.Fatalf("%d of %v", n, got)
		}
		all := slices.Concat(lists[0], lists[1], lists[2])
		for _, a := range all {
			if again, err := ParsePermission(a.String()); err != nil || again != a {
				t.Fatalf("%v is read as %v, %v", a, again, err)
			}
			for _, b := range all {
				if a != b && a.Covers(b) && b.Covers(a) {
					t.Fatalf("%v and %v cover each other", a, b)
				}
				for _, c := range all {
					if a.Covers(b) && b.Covers(c) && !a.Covers(c) {
						t.Fatalf("%v covers %v, this %v", a, b, c)
					}
				}
			}
		}
	})
}

func FuzzParsePermission(f *testing.F) {
	for _, seed := range []string{"env:A", "network:*.a.b:443", "network:[::1]:80", "network:::ffff:1.2.3.4:1", "filesystem:read:/a/..", "exec:git", "filesystem:write:~/x", "network:*:*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		p, err := ParsePermission(entry)
		if err != nil {
			if p != (Permission{}) || !errors.Is(err, ErrBadConfig) {
				t.Fatalf("%+v, %v", p, err)
			}
			return
		}
		again, err := ParsePermission(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %+v, and that is %+v, %v", entry, p, again, err)
		}
		if !p.Covers(p) || p.Kind == PermissionNetwork && strings.ContainsAny(p.Target, " /@%\n\x00") {
			t.Fatalf("%q is %+v", entry, p)
		}
	})
}
