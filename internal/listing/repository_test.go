package listing_test

import (
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/listing"
)

func TestOfRepository(t *testing.T) {
	for _, c := range []struct{ file, doc, want string }{
		{"package.json", `{"name": "@s/x", "version": "1.2.3", "bin": "x.js", "description": "a\u001bb"}`, "repo npm @s/x 1.2.3 "},
		{"package.json", `{"name": "x", "private": true, "bin": "x"}`, "private"},
		{"package.json", `{"name": "x"}`, "no program"},
		{"package.json", `{"name": "../x", "bin": "x"}`, "no package of npm"},
		{"package.json", `[]`, "no package.json"},
		{"pyproject.toml", "[project]\nname = 'x'\nversion = '1'\n[project.scripts]\nrun = 'x:main'\n", "repo pypi x 1 run"},
		{"pyproject.toml", "[project]\nname = 'x'\n[project.scripts]\na = 'x'\nb = 'x'\n", "several programs: a, b"},
		{"pyproject.toml", "[project]\nname = 'x'\n", "no program"},
		{"pyproject.toml", "[tool]\n", "no [project] name"},
		{"berth.toml", "[server]\nname = 'mine'\nversion = '1.0.0'\n[source]\ntype = 'npm'\npackage = 'x'\n[permissions]\nnetwork = ['api.example.com:443']\nenv = ['A_TOKEN']\n", "mine npm x 1.0.0 "},
		{"berth.toml", "[registry]\nurl = 'https://x'\n", "no [source] package"},
		{"berth.toml", "[source]\ntype = 'docker'\npackage = 'x'\n", "docker"},
		{"server.json", `{"name": "a.b/c", "version": "1.0.0", "packages": [{"registryType": "npm", "identifier": "c", "version": "1.0.0", "transport": {"type": "stdio"}}]}`, "a.b/c npm c 1.0.0 "},
		{"README.md", "x", "says nothing"},
	} {
		list, err := listing.OfRepository("repo", c.file, []byte(c.doc))
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case list[0].Unusable != "":
			got = list[0].Unusable
		default:
			got = strings.Join([]string{list[0].Name, string(list[0].Kind), list[0].Package, list[0].Version, list[0].Program}, " ")
		}
		if (c.want == "" || !strings.Contains(got, c.want)) || strings.Contains(got, "\x1b") {
			t.Errorf("%s %s: %q, want %q", c.file, c.doc, got, c.want)
		}
	}
	list, err := listing.OfRepository("repo", "berth.toml", []byte("[source]\ntype = 'npm'\npackage = 'x'\n[permissions]\nnetwork = ['api.example.com:443']\nenv = ['A_TOKEN']\n"))
	if err != nil || len(list[0].Allow) != 1 || list[0].Allow[0] != "network:api.example.com:443" || len(list[0].Settings) != 1 || !list[0].Settings[0].Secret {
		t.Errorf("%+v, %v", list, err)
	}
}

// FuzzOfRepository: whatever a file says, what can be installed of it has been checked.
func FuzzOfRepository(f *testing.F) {
	f.Add(1, []byte("[source]\ntype = 'npm'\npackage = 'x'\n[permissions]\nenv = ['A']\n"))
	f.Add(2, []byte(`{"name": "x", "version": "1.0.0", "bin": {"x": "y"}}`))
	f.Add(3, []byte("[project]\nname = 'x'\n[project.scripts]\nx = 'y'\n"))
	f.Fuzz(func(t *testing.T, file int, doc []byte) {
		files := listing.RepositoryFiles()
		list, err := listing.OfRepository("repo", files[uint(file)%uint(len(files))], doc)
		if err != nil {
			return
		}
		for _, e := range list {
			if err := e.Check(); err != nil && e.Unusable == "" {
				t.Errorf("%q: %v", doc, err)
			}
		}
	})
}
