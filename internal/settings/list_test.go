package settings_test

import (
	"reflect"
	"testing"

	"github.com/berth-run/berth/internal/settings"
)

func TestList(t *testing.T) {
	for _, c := range []struct {
		name   string
		format settings.Format
		doc    string
		within []string
		id     string
		want   []settings.Named
		bad    bool
	}{
		{"nothing", settings.JSON, " \n", []string{"mcpServers"}, "", nil, false},
		{"none", settings.JSON, `{"theme": "dark"}`, []string{"mcpServers"}, "", nil, false},
		{"comments", settings.JSON, "\ufeff{ // all\r\n \"mcpServers\": {\"b\": {\"command\": \"x\",}, \"a\": 1,},}", []string{"mcpServers"}, "",
			[]settings.Named{{Name: "a", Value: 1.0}, {Name: "b", Value: map[string]any{"command": "x"}}}, false},
		{"a dotted key", settings.JSON, `{"amp.mcpServers": {"a": {}}}`, []string{"amp.mcpServers"}, "", []settings.Named{{Name: "a", Value: map[string]any{}}}, false},
		{"deep", settings.JSON, `{"projects": {"/p": {"mcpServers": {"a": {}}}}}`, []string{"projects", "/p", "mcpServers"}, "", []settings.Named{{Name: "a", Value: map[string]any{}}}, false},
		{"not a table", settings.JSON, `{"mcpServers": []}`, []string{"mcpServers"}, "", nil, true},
		{"not entries", settings.JSON, `{"mcpServers": 3}`, []string{"mcpServers"}, "", nil, true},
		{"broken", settings.JSON, `{"mcpServers": {`, []string{"mcpServers"}, "", nil, true},
		{"toml", settings.TOML, "[mcp_servers.a]\ncommand = 'x'\nn = 3\n", []string{"mcp_servers"}, "",
			[]settings.Named{{Name: "a", Value: map[string]any{"command": "x", "n": 3.0}}}, false},
		{"a list", settings.TOML, "[[mcp_servers]]\nname = 'b'\n[[mcp_servers]]\nurl = 'u'\n", []string{"mcp_servers"}, "name",
			[]settings.Named{{Name: "b", Value: map[string]any{"name": "b"}}, {Name: "", Value: map[string]any{"url": "u"}}}, false},
		{"not a list", settings.TOML, "[mcp_servers.a]\ncommand = 'x'\n", []string{"mcp_servers"}, "name", nil, true},
		{"yaml", settings.YAML, "extensions: # mine\n  a: &x\n    cmd: x\n  b: *x\n", []string{"extensions"}, "",
			[]settings.Named{{Name: "a", Value: map[string]any{"cmd": "x"}}, {Name: "b", Value: map[string]any{"cmd": "x"}}}, false},
		{"empty yaml", settings.YAML, "extensions:\n", []string{"extensions"}, "", nil, false},
		{"a list of yaml", settings.YAML, "mcpServers:\n- name: a\n  url: u\n", []string{"mcpServers"}, "name",
			[]settings.Named{{Name: "a", Value: map[string]any{"name": "a", "url": "u"}}}, false},
	} {
		got, err := settings.List(c.format, []byte(c.doc), c.within, c.id)
		for i := range got {
			if got[i].Name != "" {
				_, sum, err := settings.Get(c.format, []byte(c.doc), settings.Place{Path: append(c.within[:len(c.within):len(c.within)], got[i].Name), ID: c.id})
				if err != nil || sum != got[i].Sum {
					t.Errorf("%s: the hash of %s is not that of Get: %v", c.name, got[i].Name, err)
				}
			}
			got[i].Sum = ""
		}
		if (err != nil) != c.bad || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}
