package catalog

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestKnown: what is known of packages is well formed, and that of each is found.
func TestKnown(t *testing.T) {
	all, err := AllKnown()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d packages are known, %v", len(all), err)
	}
	for _, k := range all {
		got, found, err := KnownAs(Request{Kind: k.Kind, Package: k.Name})
		if err != nil || !found || got.Name != k.Name {
			t.Errorf("%s %s: found %v %q, %v", k.Kind, k.Name, found, got.Name, err)
		}
		if _, err := k.Permissions(nil, ""); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if !slices.Contains([]string{"", "read", "write"}, k.Directories) {
			t.Errorf("%s: directories = %q", k.Name, k.Directories)
		}
	}
	for _, r := range []Request{{Kind: PyPI, Package: "MCP_server.time"}, {Kind: PyPI, Package: "@modelcontextprotocol/server-memory"}, {Kind: NPM, Package: "mcp-server-time"}} {
		if _, found, _ := KnownAs(r); found != (r.Package == "MCP_server.time") {
			t.Errorf("%s %s: found is %v", r.Kind, r.Package, found)
		}
	}
}

func TestKnownPermissions(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := Known{Allow: []string{"exec:git"}, Directories: "write"}
	list, err := k.Permissions([]string{filepath.Join(dir, "a"), "--repo=" + filepath.Join(dir, "b"), "b", filepath.Join(dir, "file"), "none", "-v", ""}, dir)
	var got []string
	for _, p := range list {
		got = append(got, p.String())
	}
	want := []string{"exec:git", "filesystem:write:" + filepath.Join(dir, "a"), "filesystem:write:" + filepath.Join(dir, "b"), "filesystem:write:" + filepath.Join(dir, "b")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	k.Directories = ""
	if list, err := k.Permissions([]string{dir}, ""); err != nil || len(list) != 1 {
		t.Errorf("a server to which directories are nothing: %v, %v", list, err)
	}
}

func TestKnownEnv(t *testing.T) {
	k := Known{Variables: map[string]string{"A": "{data}/x/y", "B": "true"}}
	want := map[string]string{"A": filepath.Join("home", "x", "y"), "B": "true"}
	if got := k.Env("home"); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
