package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/settings"
)

// What is written for each client is read as that client reads it.
func TestEveryLinkIsRead(t *testing.T) {
	t.Setenv(tokenVariable, "berth_x")
	for _, c := range clients.All() {
		if len(c.Files) == 0 {
			continue
		}
		read := func(e settings.Entry) linkSaid {
			t.Helper()
			f := c.Files[0]
			doc, _, err := settings.Set(f.Format, nil, f.Place("berth"), e)
			if err != nil {
				t.Fatal(c.ID, err)
			}
			value, _, err := settings.Get(f.Format, doc, f.Place("berth"))
			if err != nil {
				t.Fatal(c.ID, err)
			}
			said, err := readLink(c.ID, value)
			if err != nil {
				t.Fatal(c.ID, err)
			}
			return said
		}
		p := clients.Program{Name: "berth", Path: "/bin/berth", Args: []string{"proxy", "--as", c.ID}, Env: settings.Entry{{Key: "BERTH_HOME", Value: "/srv/berth"}}}
		if got := read(c.Stdio(p)); got.Command != p.Path || !slices.Equal(got.Args, p.Args) || !maps.Equal(got.Env, map[string]string{"BERTH_HOME": "/srv/berth"}) {
			t.Errorf("%s: %+v", c.ID, got)
		}
		if c.HTTP == nil {
			continue
		}
		for _, r := range []clients.Remote{{Token: "berth_x"}, {Variable: tokenVariable}} {
			if r.Variable != "" && !c.Refer {
				continue
			}
			r.Name, r.URL = "berth", "http://127.0.0.1:7077/mcp"
			if got := read(c.HTTP(r)); got.URL != r.URL || got.Headers["Authorization"] != "Bearer berth_x" || got.unset != "" {
				t.Errorf("%s: %+v", c.ID, got)
			}
		}
	}
}
