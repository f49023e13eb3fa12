package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// npm fetches packages of the npm registry, by the npm that is there: it knows the
// user's registries, proxies and certificates.
type npm struct {
	*work
	path string
}

func (n *npm) prepare(context.Context) error {
	if _, err := n.look("node"); err != nil {
		return missing("node", "install Node.js (https://nodejs.org, or nodejs and npm of your system)")
	}
	path, err := n.look("npm")
	if err != nil {
		return missing("npm", "install npm, which comes with Node.js (https://nodejs.org, or the package npm of your system)")
	}
	n.path = path
	return nil
}

func missing(program, hint string) error {
	return berth.WithHint(fmt.Errorf("%s is not in the PATH, and is needed to fetch the package: %w", program, os.ErrNotExist), hint)
}

// npmFlags hold whatever the user's settings say: no script is run, the lock is
// complete, nothing goes anywhere but into the directory. A registry that is not
// there is given up in seconds.
func npmFlags(words ...string) []string {
	return append(words, "--ignore-scripts=true", "--package-lock=true", "--lockfile-version=3",
		"--omit-lockfile-registry-resolved=false", "--global=false", "--workspaces=false", "--dry-run=false",
		"--audit=false", "--fund=false", "--update-notifier=false", "--progress=false", "--color=false",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000",
		"--logs-max=0", "--loglevel=http")
}

const npmManifest = `{"name":"berth-copy","version":"0.0.0","private":true}` + "\n"

func (n *npm) resolve(ctx context.Context, r Request) (*Lock, error) {
	if err := os.WriteFile(filepath.Join(n.tree, "package.json"), []byte(npmManifest), 0o600); err != nil {
		return nil, err
	}
	asked := 0
	line := func(text string) {
		if strings.HasPrefix(text, "npm http fetch GET") {
			asked++
			n.o.show("resolving %s: %d packages asked for", r, asked)
		}
	}
	if _, err := n.run(ctx, n.tree, line, n.path, npmFlags("install", "--package-lock-only", "--save-exact", "--save-prefix=", r.String())...); err != nil {
		return nil, err
	}
	doc, err := os.ReadFile(filepath.Join(n.tree, "package-lock.json"))
	if err != nil {
		return nil, err
	}
	l := &Lock{Package: r.Package, For: runtime.GOOS + "-" + runtime.GOARCH, Native: string(doc)}
	if l.Tree, err = npmTree(doc); err != nil {
		return nil, err
	}
	for _, e := range l.Tree {
		if e.Path == "node_modules/"+r.Package {
			l.Version = e.Version
		}
	}
	if l.Version == "" {
		return nil, fmt.Errorf("npm resolved no package %s", r.Package)
	}
	l.Tool = "npm"
	return l, nil
}

// npmTree reads a package-lock.json, and refuses what is not of a registry, or has
// no hash that can be relied on.
func npmTree(doc []byte) ([]Entry, error) {
	var lock struct {
		Version  int `json:"lockfileVersion"`
		Packages map[string]struct {
			Name      string `json:"name"`
			Version   string `json:"version"`
			Resolved  string `json:"resolved"`
			Integrity string `json:"integrity"`
			Link      bool   `json:"link"`
			InBundle  bool   `json:"inBundle"`
			Script    bool   `json:"hasInstallScript"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(doc, &lock); err != nil {
		return nil, fmt.Errorf("package-lock.json: %v", err)
	}
	if lock.Version != 3 {
		return nil, berth.WithHint(fmt.Errorf("package-lock.json is of version %d", lock.Version), "npm 7 or newer is needed")
	}
	var tree []Entry
	for _, path := range slices.Sorted(maps.Keys(lock.Packages)) {
		p := lock.Packages[path]
		if path == "" {
			continue
		}
		i := strings.LastIndex(path, "node_modules/")
		if i < 0 || p.Link {
			return nil, fmt.Errorf("%s lies outside of the package, which no registry's does", path)
		}
		e := Entry{Name: path[i+len("node_modules/"):], Version: p.Version, From: withoutUser(p.Resolved), Path: path, Script: p.Script}
		if p.Name != "" {
			e.Name = p.Name
		}
		switch {
		case p.InBundle: // its bytes are in the file of the one that it is bundled with
		case !strings.HasPrefix(p.Resolved, "https://") && !strings.HasPrefix(p.Resolved, "http://"):
			return nil, fmt.Errorf("%s comes from %q, which is no registry", e.Name, e.From)
		case !strongHash(p.Integrity):
			return nil, fmt.Errorf("%s %s has no hash that can be relied on, but %q", e.Name, p.Version, p.Integrity)
		default:
			e.Integrity = []string{p.Integrity}
		}
		tree = append(tree, e)
	}
	return tree, nil
}

// strongHash: npm takes any of the best that are given.
func strongHash(integrity string) bool {
	words := strings.Fields(integrity)
	return len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool {
		return !strings.HasPrefix(w, "sha512-") && !strings.HasPrefix(w, "sha384-") && !strings.HasPrefix(w, "sha256-")
	})
}

func (n *npm) install(ctx context.Context, l *Lock) error {
	tree, err := npmTree([]byte(l.Native))
	if err != nil {
		return err
	}
	if !slices.EqualFunc(tree, l.Tree, sameEntry) {
		return fmt.Errorf("%w: its tree is not that of its package-lock.json", ErrLock)
	}
	manifest, err := json.Marshal(map[string]any{
		"name": "berth-copy", "version": "0.0.0", "private": true, "dependencies": map[string]string{l.Package: l.Version},
	})
	if err != nil {
		return err
	}
	for name, doc := range map[string]string{"package.json": string(manifest) + "\n", "package-lock.json": l.Native} {
		if err := os.WriteFile(filepath.Join(n.tree, name), []byte(doc), 0o600); err != nil {
			return err
		}
	}
	got := map[string]bool{}
	line := func(text string) {
		for _, word := range strings.Fields(text) {
			if strings.HasSuffix(word, ".tgz") && !got[word] {
				got[word] = true
				n.o.show("fetching %s %s: %d of %d packages", l.Package, l.Version, len(got), len(l.Tree))
			}
		}
	}
	if _, err := n.run(ctx, n.tree, line, n.path, npmFlags("ci")...); err != nil {
		return err
	}
	after, err := os.ReadFile(filepath.Join(n.tree, "package-lock.json"))
	if err != nil || !bytes.Equal(after, []byte(l.Native)) {
		return errors.Join(errors.New("npm changed the lock that it was to install from"), err)
	}
	if len(l.Scripts) == 0 {
		return nil
	}
	n.o.say("running the install scripts of %s, as allowed", strings.Join(l.Scripts, ", "))
	_, err = n.run(ctx, n.tree, nil, n.path, append(npmFlags(append([]string{"rebuild"}, l.Scripts...)...), "--ignore-scripts=false")...)
	return err
}

func sameEntry(a, b Entry) bool {
	return a.Name == b.Name && a.Version == b.Version && a.From == b.From && a.Path == b.Path && a.Script == b.Script &&
		slices.Equal(a.Integrity, b.Integrity)
}
