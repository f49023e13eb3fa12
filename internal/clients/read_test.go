package clients_test

import (
	"reflect"
	"testing"

	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/settings"
)

// What is written for each client is read again.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, c := range clients.All() {
		if len(c.Files) == 0 {
			continue
		}
		read := func(e settings.Entry) clients.Said {
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
			said, err := clients.Read(value)
			if err != nil {
				t.Fatal(c.ID, err)
			}
			return said
		}
		p := clients.Program{Name: "berth", Path: "/bin/berth", Args: []string{"proxy", "--as", c.ID}, Env: settings.Entry{{Key: "BERTH_HOME", Value: "/srv/berth"}}}
		want := clients.Said{Program: p.Path, Args: p.Args, Env: map[string]string{"BERTH_HOME": "/srv/berth"}}
		if got := read(c.Stdio(p)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", c.ID, got)
		}
		if c.HTTP == nil {
			continue
		}
		for _, r := range []clients.Remote{{URL: "http://127.0.0.1:7077/mcp", Token: "berth_x"}, {URL: "http://127.0.0.1:7077/mcp", Variable: "BERTH_TOKEN"}, {URL: "http://127.0.0.1:7077/mcp"}} {
			if r.Variable != "" && !c.Refer {
				continue
			}
			r.Name = "berth"
			if got, want := read(c.HTTP(r)), (clients.Said{URL: r.URL, Token: r.Token, Variable: r.Variable}); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, not %+v", c.ID, got, want)
			}
		}
	}
}

func TestWhatIsNoEntry(t *testing.T) {
	for _, v := range []any{nil, "x", []any{}, map[string]any{}, map[string]any{"command": 1}} {
		if said, err := clients.Read(v); err == nil {
			t.Errorf("%v: %+v", v, said)
		}
	}
}
