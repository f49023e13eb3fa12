package home

import (
	"context"
	"errors"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

func TestProfile(t *testing.T) {
	h := openTestHome(t)
	if _, _, err := h.ReadProfile("work"); !errors.Is(err, ErrNoProfile) {
		t.Fatalf("a profile that nobody made: %v", err)
	}
	if names, strays, err := h.Profiles(); err != nil || names != nil || strays != nil {
		t.Fatalf("%v %v %v", names, strays, err)
	}
	want := Profile{
		Name: "work", Description: "for \"work\"", Servers: []string{"b", "a"}, AllowTools: []string{"@read-only", "a/*"},
		DenyTools: []string{"b/delete_*"}, ReadOnly: true, Mode: ModeSearch,
	}
	if err := h.CreateProfile(want); err != nil {
		t.Fatal(err)
	}
	if err := h.CreateProfile(Profile{Name: "work"}); !errors.Is(err, ErrProfileExists) {
		t.Errorf("a second one: %v", err)
	}
	path, err := h.ProfilePath("work")
	if err != nil {
		t.Fatal(err)
	}
	const text = `description = "for \"work\""
servers = ["b", "a"]
allow-tools = ["@read-only", "a/*"]
deny-tools = ["b/delete_*"]
read-only = true
mode = "search"
`
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("%v\n%s", err, got)
	}
	if runtime.GOOS != "windows" {
		for path, mode := range map[string]os.FileMode{path: 0o600, h.path(profilesDir): 0o700 | os.ModeDir} {
			if info, err := os.Stat(path); err != nil || info.Mode() != mode {
				t.Errorf("%s: %v %v", path, info.Mode(), err)
			}
		}
	}
	got, warnings, err := h.ReadProfile("work")
	if got.doc = nil; err != nil || warnings != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v %v", got, warnings, err)
	}
	if err := h.CreateProfile(Profile{Name: "all"}); err != nil {
		t.Fatal(err)
	}
	if p, _, err := h.ReadProfile("all"); err != nil || p.Mode != ModeAll || p.Servers != nil {
		t.Errorf("%+v %v", p, err)
	}
	putFile(t, h, "", profilesDir, "Not A Name.toml")
	names, strays, err := h.Profiles()
	if err != nil || !slices.Equal(names, []string{"all", "work"}) || len(strays) != 1 {
		t.Errorf("%v %v %v", names, strays, err)
	}
	if err := h.RemoveProfile("work"); err != nil {
		t.Error(err)
	}
	if err := h.RemoveProfile("work"); !errors.Is(err, ErrNoProfile) {
		t.Errorf("removed twice: %v", err)
	}
	for _, name := range []string{"../work", "", "a/b", "A"} {
		_, _, err := h.ReadProfile(name)
		if !errors.Is(err, berth.ErrInvalidName) || !strings.HasPrefix(err.Error(), "invalid profile name ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestProfileMissing(t *testing.T) {
	p := Profile{Servers: []string{"a", "gone"}}
	if got := p.Missing([]string{"a", "b"}); !slices.Equal(got, []string{"gone"}) {
		t.Error(got)
	}
	if got := p.Servers; !slices.Equal(got, []string{"a", "gone"}) {
		t.Errorf("Missing changed it: %v", got)
	}
}

// A file that a user wrote and that says what cannot be names its place; what is
// not known is a warning, unless it is likely to be a denial.
func TestBrokenProfilesAndClients(t *testing.T) {
	h := openTestHome(t)
	for _, dir := range []string{profilesDir, clientsDir} {
		if err := os.Mkdir(h.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ dir, doc, want string }{
		{profilesDir, "servers = [\n", ":1:"},
		{profilesDir, "\nservers = 'a'\n", ":2:11: servers: the value is of type string, but a list of strings is needed"},
		{profilesDir, "servers = ['../a']\n", `:1: servers: invalid server name "../a"`},
		{profilesDir, "# x\nmode = 'fast'\n", `:2: mode: "fast" is neither all nor search`},
		{profilesDir, "allow-tools = ['a', '[']\n", `:1: allow-tools: "[" is no pattern of tools`},
		{profilesDir, "allow-tools = ['a']\ndeny-tools = ['@x']\n", `:2: deny-tools: "@x" is no pattern of tools`},
		{profilesDir, "deny_tools = ['a']\n", `:1: deny_tools: write it deny-tools`},
		{profilesDir, "deny-tools = ['a']\nDeny-Tools = []\n", `:2: Deny-Tools: write it deny-tools`},
		{clientsDir, "profile = '../x'\n", `:1: profile: invalid profile name "../x"`},
		{clientsDir, "deny-tools = ['[']\n", `:1: deny-tools: "[" is no pattern of tools`},
		{clientsDir, "read_only = true\n", `:1: read_only: write it read-only`},
		{clientsDir, "read-only = 'yes'\n", ":1:"},
	} {
		path := putFile(t, h, tt.doc, tt.dir, "x.toml")
		var err error
		if tt.dir == profilesDir {
			var p Profile
			p, _, err = h.ReadProfile("x")
			if !reflect.DeepEqual(p, Profile{}) {
				t.Errorf("%q: an error together with %+v", tt.doc, p)
			}
			if e := h.UpdateProfile("x", func(*Profile) error { return nil }); !errors.Is(e, berth.ErrBadConfig) {
				t.Errorf("%q is changed: %v", tt.doc, e)
			}
		} else {
			_, _, err = h.ReadClient("x")
			if e := h.UpdateClient("x", func(*Client) error { return nil }); !errors.Is(e, berth.ErrBadConfig) {
				t.Errorf("%q is changed: %v", tt.doc, e)
			}
		}
		if !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), path+tt.want) {
			t.Errorf("%q: %v, not %s", tt.doc, err, tt.want)
		}
	}
	path := putFile(t, h, "mode = 'all'\ncolour = 'red'\n[x]\ny = 1\n", profilesDir, "x.toml")
	_, warnings, err := h.ReadProfile("x")
	if want := []string{path + ":2: unknown key colour", path + ":3: unknown key x"}; err != nil || !slices.Equal(warnings, want) {
		t.Errorf("%q %v", warnings, err)
	}
}

func TestEditsOfAProfileKeepTheUsersText(t *testing.T) {
	h := openTestHome(t)
	if err := os.Mkdir(h.path(profilesDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, before string
		change       func(*Profile)
		after        string
	}{
		{"nothing", "# mine\nservers = [ 'a' ] # one\n", func(*Profile) {}, "# mine\nservers = [ 'a' ] # one\n"},
		{"a new key", "# mine\nservers = ['a'] # one\n\n[x]\ny = 1\n", func(p *Profile) { p.ReadOnly = true },
			"# mine\nservers = ['a'] # one\nread-only = true\n\n[x]\ny = 1\n"},
		{"a changed list", "servers = [\n  'a', # why\n] # these\nmode = 'search'\n", func(p *Profile) { p.Servers = []string{"b", "c"} },
			"servers = [\"b\", \"c\"] # these\nmode = 'search'\n"},
		{"an emptied list", "servers = ['a']\ndeny-tools = ['x']\n", func(p *Profile) { p.DenyTools = nil }, "servers = ['a']\n"},
		{"comments alone", "# mine", func(p *Profile) { p.Mode = ModeSearch }, "# mine\nmode = \"search\"\n"},
		{"a table alone", "[x]\ny = 1\n", func(p *Profile) { p.Mode = ModeSearch }, "mode = \"search\"\n[x]\ny = 1\n"},
		{"nothing at all", "", func(p *Profile) { p.Description = "d" }, "description = \"d\"\n"},
	} {
		path := putFile(t, h, c.before, profilesDir, "p.toml")
		if err := h.UpdateProfile("p", func(p *Profile) error { c.change(p); return nil }); err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != c.after {
			t.Errorf("%s: %v\n got %q\nwant %q", c.what, err, got, c.after)
		}
	}
	before := errors.New("mine")
	if err := h.UpdateProfile("p", func(*Profile) error { return before }); !errors.Is(err, before) {
		t.Error(err)
	}
	for _, bad := range []Profile{{Mode: "x"}, {Servers: []string{"A"}}, {AllowTools: []string{"["}}, {DenyTools: []string{""}}} {
		if err := h.UpdateProfile("p", func(p *Profile) error { bad.doc = p.doc; *p = bad; return nil }); !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%+v is written: %v", bad, err)
		}
		bad.Name = "new"
		if err := h.CreateProfile(bad); !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%+v is created: %v", bad, err)
		}
	}
}

func TestClient(t *testing.T) {
	h := openTestHome(t)
	if _, _, err := h.ReadClient("cursor"); !errors.Is(err, ErrNoClient) {
		t.Fatal(err)
	}
	want := Client{Name: "cursor", Profile: "work", AllowTools: []string{"a"}, DenyTools: []string{"b"}, ReadOnly: true}
	set := func(c *Client) error {
		c.Profile, c.AllowTools, c.DenyTools, c.ReadOnly = want.Profile, want.AllowTools, want.DenyTools, want.ReadOnly
		return nil
	}
	if err := h.UpdateClient("cursor", set); err != nil {
		t.Fatal(err)
	}
	got, warnings, err := h.ReadClient("cursor")
	if got.doc = nil; err != nil || warnings != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v %v", got, warnings, err)
	}
	if names, _, err := h.Clients(); err != nil || !slices.Equal(names, []string{"cursor"}) {
		t.Errorf("%v %v", names, err)
	}
	if err := h.RemoveClient("cursor"); err != nil {
		t.Error(err)
	}
	if err := h.RemoveClient("cursor"); !errors.Is(err, ErrNoClient) {
		t.Error(err)
	}
	if err := h.UpdateClient("../x", set); !errors.Is(err, berth.ErrInvalidName) {
		t.Error(err)
	}
}

// A stamp that is settled and equal stands for the same file.
func TestStampsOfProfileAndClient(t *testing.T) {
	h := openTestHome(t)
	none := h.ProfileStamp("p")
	if !none.Settled || none != h.ProfileStamp("p") || h.ClientStamp("p") != none {
		t.Errorf("%+v", none)
	}
	if err := h.CreateProfile(Profile{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	one := h.ProfileStamp("p")
	if one == none || h.ClientStamp("p") != none {
		t.Errorf("%+v", one)
	}
	if err := h.UpdateProfile("p", func(p *Profile) error { p.Mode = ModeSearch; return nil }); err != nil {
		t.Fatal(err)
	}
	if two := h.ProfileStamp("p"); two.Settled && two == one {
		t.Error("a change leaves a settled stamp as it was")
	}
	if err := h.UpdateClient("p", func(*Client) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if h.ClientStamp("p") == none {
		t.Error("a client's file has the stamp of none")
	}
}

func TestToolsOfAServer(t *testing.T) {
	s := Server{Name: "s", Config: map[string]string{"berth.allow-tools": "get_*, @read-only", "berth.deny-tools": "x/y"}}
	sharing, err := s.Sharing()
	if err != nil || !slices.Equal(sharing.AllowTools, []string{"get_*", "@read-only"}) || !slices.Equal(sharing.DenyTools, []string{"x/y"}) {
		t.Errorf("%+v %v", sharing, err)
	}
	for value, want := range map[string]string{
		"a,[":   `bad configuration: berth.deny-tools: "[" is no pattern of tools: a [ is not closed, or a \ ends it`,
		"@typo": `bad configuration: berth.deny-tools: "@typo" is no pattern of tools: what an @ begins is not known`,
		"":      `bad configuration: berth.deny-tools: "" is no pattern of tools: it is empty, before or after the /`,
		"a,,b":  `bad configuration: berth.deny-tools: "" is no pattern of tools: it is empty, before or after the /`,
	} {
		if err := ValidateConfig("berth.deny-tools", value); !errors.Is(err, berth.ErrBadConfig) || err.Error() != want {
			t.Errorf("%q: %v", value, err)
		}
		s.Config["berth.deny-tools"] = value
		if _, err := s.Sharing(); !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if h := new(berth.Hinted); !errors.As(ValidateConfig("berth.deny-tools", "@typo"), &h) || !strings.Contains(h.Hint, "@destructive") {
		t.Error("no hint")
	}
}

// What is written over any document is read, and the rest of it is kept.
func TestEditFlatProperty(t *testing.T) {
	texts := rapid.SliceOfN(rapid.StringMatching(`[a-z"\\#\n=\[\]]{0,4}`), 0, 3)
	line := rapid.OneOf(rapid.StringMatching(`#[a-z\[]{0,3}`), rapid.Just(""),
		rapid.SampledFrom([]string{"z1 = 1", "z2 = [\n 'x',\n]", "z3 = '''\n[t]\nservers = 1\n'''", "z4.a = {b = 'c'}"}))
	rapid.Check(t, func(t *rapid.T) {
		above := rapid.SliceOfNDistinct(line, 0, 4, rapid.ID).Draw(t, "above")
		if rapid.Bool().Draw(t, "servers") {
			above = slices.Insert(above, rapid.IntRange(0, len(above)).Draw(t, "at"), "servers = ['old', 'list'] # old")
		}
		doc := strings.Join(above, "\n")
		if rapid.Bool().Draw(t, "table") {
			doc += "\n[t]\nservers = 'not this'\n"
		}
		var before, after map[string]any
		if err := toml.Unmarshal([]byte(doc), &before); err != nil {
			t.Skip(err)
		}
		list := texts.Draw(t, "list")
		edited, err := editFlat([]byte(doc), []field{listField("servers", list), flagField("read-only", true)})
		if err != nil {
			t.Fatal(err)
		}
		if err := toml.Unmarshal(edited, &after); err != nil {
			t.Fatalf("%v\n%s", err, edited)
		}
		if len(list) == 0 {
			delete(before, "servers")
		} else {
			before["servers"] = list
		}
		before["read-only"] = true
		if !sameValue(before, after) {
			t.Fatalf("of\n%s\nbecame\n%s", doc, edited)
		}
		for _, l := range above {
			if strings.HasPrefix(l, "#") && !strings.Contains(string(edited), l) {
				t.Fatalf("the comment %q is gone:\n%s", l, edited)
			}
		}
	})
}

func BenchmarkReadProfile(b *testing.B) {
	h := openTestHome(b)
	err := h.CreateProfile(Profile{Name: "p", Servers: []string{"a", "b"}, AllowTools: []string{"@read-only"}, DenyTools: []string{"a/x_*"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := h.ReadProfile("p"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stamp", func(b *testing.B) {
		for b.Loop() {
			h.ProfileStamp("p")
		}
	})
}

// A change of a profile or of a client is noticed, also of the first one.
func TestProfilesAndClientsAreWatched(t *testing.T) {
	h := openTestHome(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("no change was noticed"))
	defer cancel()
	noticed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- h.WatchSettings(ctx, func() {
			select {
			case noticed <- struct{}{}:
			default:
			}
		}, func() {})
	}()
	wait := func(change func() error) {
		t.Helper()
		for { // the first may come before the watch
			if err := change(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-noticed:
				return
			case <-time.After(100 * time.Millisecond):
			case err := <-ended:
				t.Fatal(err)
			}
		}
	}
	n := 0
	change := func() error {
		n++
		return h.UpdateClient("c", func(c *Client) error { c.AllowTools = []string{strconv.Itoa(n)}; return nil })
	}
	wait(change)
	wait(change) // the directory is there by now
	wait(func() error { _ = h.RemoveProfile("p"); return h.CreateProfile(Profile{Name: "p"}) })
	wait(func() error {
		return h.UpdateProfile("p", func(p *Profile) error { p.ReadOnly = !p.ReadOnly; return nil })
	})
	stop := errors.New("enough")
	done, end := context.WithCancelCause(ctx)
	end(stop)
	if err := h.WatchSettings(done, func() {}, func() {}); !errors.Is(err, stop) {
		t.Error(err)
	}
	cancel()
	<-ended
}
