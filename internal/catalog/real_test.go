package catalog

import (
	"os"
	"path/filepath"
	"testing"
)

// TestInstalledPackages: a real tree of packages, from a registry of this machine.
func TestInstalledPackages(t *testing.T) {
	need(t, "npm", "node")
	dir := os.Getenv("BERTH_TEST_NPM")
	if dir == "" {
		t.Skip("needs BERTH_TEST_NPM, a directory in which npm installed servers; CONTRIBUTING.md says how to get it")
	}
	r, h := newRegistry(t), openHome(t)
	r.publishInstalled(t, filepath.Join(dir, "node_modules"))
	environ := r.environ(t)
	for _, name := range []string{"everything"} {
		c, err := New(h).Fetch(t.Context(), parsed(t, "npx", "-y", "@modelcontextprotocol/server-"+name), options(t, environ), use(t, h, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Command != "node" || len(c.Args) != 1 {
			t.Errorf("%s is run by %s %q", name, c.Command, c.Args)
		}
	}
	if n := len(copies(t, h)); n != 1 {
		t.Errorf("%d copies of one", n)
	}
}
