package main

import (
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
)

// TestSettingsArePutInAnew: what the old value of a setting had made goes, what its user
// added stays.
func TestSettingsArePutInAnew(t *testing.T) {
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "1")
	dir := t.TempDir()
	h, err := home.Open(filepath.Join(dir, "home"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{home: h, ui: newUI(io.Discard, io.Discard)}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	e := listing.Entry{
		Name: "x", Kind: listing.NPM, Package: "x", Args: []string{"--root", "{root}", "{more}"}, Env: map[string]string{"WHERE": "{root}/db"},
		Settings: []listing.Setting{
			{Key: "root", Type: "string", Required: true, Access: "write"}, {Key: "more", Repeated: true},
			{Key: "at", Type: "url", Env: "AT"}, {Key: "on", Type: "boolean", Arg: []string{"--on"}},
		},
		Allow: []string{"filesystem:write:{root}"},
	}
	doc, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	server := home.NewServer("x", "node", []string{"copy/bin.js", "--root", a, "one"})
	server.Source.Entry, server.Source.Declaration = "x", string(doc)
	server.Source.Copy, server.Source.Typed = "c", []string{"npx", "-y", "x", "--root", a, "one"}
	server.Env = map[string]string{"WHERE": a + "/db", "AT": "https://one.example", "MINE": "1"}
	server.Config = map[string]string{"root": a, "more": "one", "at": "https://one.example", "berth.max-restarts": "5"}
	server.Permissions = home.Declared{Network: []string{"one.example:443", "mine.example:443"}, Filesystem: []string{"write:" + a, "read:/mine"}}
	if _, err := s.setConfig(&server, []pair{{"root", b}, {"more", "two"}, {"more", "three"}, {"at", "https://two.example:8443"}, {"on", "yes"}}, nil); err != nil {
		t.Fatal(err)
	}
	equal := func(what string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	equal("args", server.Runtime.Args, []string{"copy/bin.js", "--root", b, "two", "three", "--on"})
	equal("typed", server.Source.Typed, []string{"npx", "-y", "x", "--root", b, "two", "three", "--on"})
	equal("network", server.Permissions.Network, []string{"mine.example:443", "two.example:8443"})
	equal("files", server.Permissions.Filesystem, []string{"read:/mine", "write:" + b})
	if server.Env["WHERE"] != b+"/db" || server.Env["AT"] != "https://two.example:8443" || server.Env["MINE"] != "1" || server.Config["more"] != "two\nthree" || server.Config["berth.max-restarts"] != "5" {
		t.Errorf("%v, %v", server.Env, server.Config)
	}
	// What may be left out goes everywhere it was.
	if _, err := s.setConfig(&server, nil, []string{"at", "on", "more"}); err != nil {
		t.Fatal(err)
	}
	equal("args", server.Runtime.Args, []string{"copy/bin.js", "--root", b})
	equal("network", server.Permissions.Network, []string{"mine.example:443"})
	if _, there := server.Env["AT"]; there {
		t.Error("the variable of a setting that is unset is still there")
	}
	// A variable that was edited by hand is not passed over.
	server.Env["WHERE"] = "/elsewhere"
	if _, err := s.setConfig(&server, []pair{{"root", a}}, nil); err == nil {
		t.Error("a variable that was edited was replaced")
	}
}
