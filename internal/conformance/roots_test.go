//go:build linux

package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// rooted is what a client with a root of its own found: how often it was asked
// for its roots, and what it could read, each time that it tried.
type rooted struct {
	Asked   int
	Allowed string
	Reads   []reads
}

// reads says whether files were read: of the client's own root, of the other
// client's, of the directory that the server was started with.
type reads struct{ Own, Other, Common bool }

// only says whether every try had the same outcome.
func (r rooted) only(want reads) bool {
	return len(r.Reads) > 0 && !slices.ContainsFunc(r.Reads, func(got reads) bool { return got != want })
}

// TestRootsStayApart: of two clients with different roots on server-filesystem,
// none ever sees the other's files. On a shared process the roots of clients
// count for nothing; with a process for each session they do.
func TestRootsStayApart(t *testing.T) {
	o := switchedOn(t)
	script, err := filepath.Abs("testdata/roots.cjs")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	common, a, b := filepath.Join(dir, "common"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{common, a, b} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "file.txt"), []byte("of "+d), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func(t *testing.T, wait string, target ...string) []rooted {
		t.Helper()
		out, err := speak(t.Context(), o.node, append([]string{script, wait, common, a, b}, target...)...)
		if err != nil {
			t.Fatal(err)
		}
		var both []rooted
		if err := json.Unmarshal(out, &both); err != nil || len(both) != 2 {
			t.Fatalf("%s: %v", out, err)
		}
		return both
	}
	ownRoots := func(t *testing.T, both []rooted) {
		t.Helper()
		for i, r := range both {
			if r.Asked == 0 || !r.only(reads{Own: true}) || !strings.Contains(r.Allowed, []string{a, b}[i]) {
				t.Errorf("client %d has not its own root, and nothing else: %+v", i, r)
			}
		}
	}
	argv := []string{o.node, o.script(t, "@modelcontextprotocol/server-filesystem/dist/index.js"), common}

	// This is what each client would have with a server of its own.
	t.Run("direct", func(t *testing.T) { ownRoots(t, look(t, "own", argv...)) })

	bin := released.Build(t)
	for _, isolation := range []string{"shared", "session"} {
		t.Run(isolation, func(t *testing.T) {
			s := released.NewSite(t, bin)
			c := count(t, argv...)
			s.Berth(slices.Concat([]string{"add", "files", "--profile", "off", "--"}, c.argv)...)
			if isolation == "session" {
				s.Berth("config", "files", "--set", "berth.isolation=session")
			}
			defer s.Logs("files")
			w := watchServer(t, s, "files", c)
			url := s.Up().URL
			for how, target := range map[string][]string{
				"http":  {url + "/servers/files/mcp"},
				"proxy": {s.Bin, "--home", s.Home, "proxy", "files"},
			} {
				t.Run(how, func(t *testing.T) {
					if isolation == "session" {
						ownRoots(t, look(t, "own", target...))
						return
					}
					for i, r := range look(t, "none", target...) {
						if r.Asked > 0 || !r.only(reads{Common: true}) || !strings.Contains(r.Allowed, common) {
							t.Errorf("client %d has not what the server was started with, and nothing else: %+v", i, r)
						}
					}
				})
			}
			if isolation == "shared" {
				w.unharmed(t, 1)
			}
		})
	}
}
