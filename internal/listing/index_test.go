package listing

import (
	"slices"
	"strings"
	"testing"
)

const indexDoc = `[
 {"name": "github", "displayName": "GitHub", "description": "Issues \u001b[31mred", "version": "1.2.0",
  "source": {"type": "npm", "package": "@x/server-github", "repository": "https://example.com"},
  "runtime": {"type": "node", "command": "npx", "args": ["-y", "@x/server-github", "--flag"]}, "transport": "stdio",
  "permissions": {"network": ["api.github.com:443", "no port"], "env": ["GITHUB_TOKEN"], "filesystem": ["read:/srv"], "exec": ["git"]},
  "config": {"required": [{"key": "token", "env": "GITHUB_TOKEN", "description": "the token", "sensitive": true}],
   "optional": [{"key": "host", "env": "GITHUB_HOST", "description": "where", "default": "github.com"}]},
  "quality": {"downloads": 1}, "category": "developer-tools", "tags": ["git"], "maintainer": "X", "trustLevel": "official"},
 {"name": "../x"},
 17,
 {"name": "github", "source": {"type": "npm", "package": "other"}},
 {"name": "image", "source": {"type": "docker", "package": "mcp/time:1.2"}, "runtime": {"command": "docker", "args": ["run", "-i", "mcp/time:1.2"]}},
 {"name": "bin", "source": {"type": "binary", "package": "/usr/bin/x"}},
 {"name": "web", "source": {"type": "npm", "package": "web"}, "transport": "http"},
 {"name": "hidden", "source": {"type": "pip", "package": "hidden"}, "config": {"required": [{"key": "k", "env": "NOT A VARIABLE"}]}}
]`

func TestParseIndex(t *testing.T) {
	list, bad, err := ParseIndex([]byte(indexDoc), "/i.json")
	if err != nil || len(list) != 5 || len(bad) != 3 {
		t.Fatalf("%d entries, %v, %v", len(list), bad, err)
	}
	e := list[0]
	if e.Name != "github" || e.Kind != NPM || e.Package != "@x/server-github" || e.Version != "" || e.Unusable != "" || e.From != "index:/i.json" ||
		!slices.Equal(e.Args, []string{"--flag"}) || !slices.Equal(e.Allow, []string{"network:api.github.com:443", "filesystem:read:/srv", "exec:git"}) ||
		!slices.Equal(e.Tags, []string{"git", "developer-tools"}) || strings.Contains(e.About, "\x1b") ||
		!strings.Contains(e.Note, "version 1.2.0") || !strings.Contains(e.Note, "no permission") {
		t.Errorf("%+v", e)
	}
	if len(e.Settings) != 2 || !e.Settings[0].Required || !e.Settings[0].Secret || e.Settings[0].Env != "GITHUB_TOKEN" || e.Settings[1].Default != "github.com" {
		t.Errorf("its settings are %+v", e.Settings)
	}
	if e := list[1]; e.Kind != OCI || e.Package != "docker.io/mcp/time" || e.Version != "1.2" || len(e.Args) != 0 || e.Unusable != "" {
		t.Errorf("%+v", e)
	}
	for i, why := range map[int]string{2: "binary", 3: "http", 4: "NOT A VARIABLE"} {
		if !strings.Contains(list[i].Unusable, why) {
			t.Errorf("%s can be used, or for another reason: %q", list[i].Name, list[i].Unusable)
		}
	}
	for _, doc := range []string{"", "{}", `{"servers": []}`, "[1"} {
		if list, _, err := ParseIndex([]byte(doc), ""); err == nil {
			t.Errorf("%q is %+v", doc, list)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(indexDoc))
	f.Add([]byte(`[{"name":"a","source":{"type":"go","package":"a.b/c"},"runtime":{"args":["x"]}}]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		list, _, err := ParseIndex(doc, "x")
		if err != nil && len(list) > 0 {
			t.Fatal("entries and an error")
		}
		for _, e := range list {
			if err := e.Check(); err != nil && e.Unusable == "" {
				t.Fatalf("%+v: %v", e, err)
			}
			if strings.ContainsAny(e.Title+e.About+e.Note, "\x1b\n") {
				t.Fatalf("%+v", e)
			}
		}
	})
}
