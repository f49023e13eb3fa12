package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

func denialsOf(entries ...string) (all []berth.Denial) {
	for _, entry := range entries {
		what, grant, _ := strings.Cut(entry, " | ")
		all = append(all, berth.Denial{What: what, Grant: grant, Times: 1})
	}
	return all
}

// TestLesson: what is proposed of what was refused, and what is not.
func TestLesson(t *testing.T) {
	user, err := os.UserHomeDir()
	if err != nil {
		t.Skip("this is run by other tests") // who have a home
	}
	has := home.Rights{Profile: berth.ProfileStandard, Effective: []berth.EffectivePermission{
		{Permission: berth.Permission{Kind: berth.PermissionNetwork, Target: "*.example.com", Port: "443"}},
	}}
	in := func(name string) string { return filepath.Join(user, name) }
	for _, c := range []struct {
		name        string
		found       []string
		grant, kept []string
	}{
		{"nothing", nil, nil, nil},
		{"each once, the network first", []string{"read /b | filesystem:read:/b", "read /b/c | filesystem:read:/b/c", "h:1 | network:h:1", "H:1 | network:H:1"}, []string{"network:h:1", "filesystem:read:/b"}, nil},
		{"who may change it may read it", []string{"read /b/c | filesystem:read:/b/c", "write /b | filesystem:write:/b"}, []string{"filesystem:write:/b"}, nil},
		{"a look on the way", []string{"look at /a | filesystem:read:/a", "look at /a/b | filesystem:read:/a/b", "write /a/b/c | filesystem:write:/a/b/c"}, []string{"filesystem:write:/a/b/c"}, nil},
		{"a look alone", []string{"look at /a | filesystem:read:/a"}, []string{"filesystem:read:/a"}, nil},
		{"what it may by now", []string{"api.example.com:443 | network:api.example.com:443"}, nil, nil},
		{"what no permission allows", []string{"read /x | ", "name.example | "}, nil, nil},
		{"programs", []string{"run /usr/bin/git | exec:/usr/bin/git"}, []string{"exec:/usr/bin/git"}, nil},
		{"keys", []string{"read k | filesystem:read:" + in(".ssh/id"), "read k | filesystem:read:" + in(".config/gcloud/x"), "look at c | filesystem:read:" + in(".config")},
			nil, []string{"filesystem:read:" + in(".config/gcloud/x"), "filesystem:read:" + in(".ssh/id")}},
		{"settings", []string{"read k | filesystem:read:" + in(".config/app/x")}, []string{"filesystem:read:" + in(".config/app/x")}, nil},
		{"what a shell remembers", []string{"read k | filesystem:read:" + in(".bash_history")}, nil, []string{"filesystem:read:" + in(".bash_history")}},
	} {
		l := newLesson("a", denialsOf(c.found...), has)
		if !slices.Equal(l.Grants, c.grant) || !slices.Equal(l.Kept, c.kept) || len(l.grants) != len(l.Grants) {
			t.Errorf("%s: proposed %q, not %q; kept %q, not %q", c.name, l.Grants, c.grant, l.Kept, c.kept)
		}
	}
}

func TestParseCalls(t *testing.T) {
	a := newApp(strings.NewReader(""), os.Stdout, os.Stderr)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "[]"},
		{[]string{"a", "b", `{"x":1}`, "c"}, `[{a {}} {b {"x":1}} {c {}}]`},
		{[]string{`{"x":1}`}, "error"},
		{[]string{"a", `{"x":1}`, `{"x":2}`}, "error"},
		{[]string{"a", `{"x":`}, "error"},
		{[]string{""}, "error"},
	} {
		calls, err := a.parseCalls(c.args)
		got := "error"
		if err == nil {
			var texts []string
			for _, call := range calls {
				texts = append(texts, fmt.Sprintf("{%s %s}", call.tool, call.input))
			}
			got = "[" + strings.Join(texts, " ") + "]"
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s (%v)", c.args, got, c.want, err)
		}
	}
}

func TestDeniedLines(t *testing.T) {
	now := time.Now()
	all := []berth.Denial{
		{What: "a.example:443", Grant: "network:a.example:443", Why: "it was not granted", Times: 3, At: now.Add(-5 * time.Minute)},
		{What: "read /x y", Grant: "filesystem:read:/x y", Times: 1, At: now.Add(-time.Second)},
		{What: "b.example", Why: "it was not granted", Times: 1, At: now},
	}
	want := []string{
		"refused: a.example:443, it was not granted (3 times, the last 5m ago); to allow it: berth permissions s --grant network:a.example:443",
		"refused: read /x y (1s ago); to allow it: berth permissions s --grant 'filesystem:read:/x y'",
		"refused: b.example, it was not granted (0ms ago)",
	}
	if got := deniedLines("s", all, now, "see there"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := deniedLines("s", slices.Repeat(all, 2), now, "see there"); len(got) != shownDenials+1 || got[shownDenials] != "refused: 1 other things, see there" {
		t.Errorf("%q", got)
	}
	if left := stillDenied(all, []string{"network:*.example:443", "filesystem:read:/x y"}); len(left) != 1 || left[0].What != "b.example" {
		t.Errorf("left are %+v", left)
	}
}
