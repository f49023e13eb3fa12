package repotest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

var update = flag.Bool("update", false, "rewrite deps.txt")

const depsHead = `# The modules that the command links, and on which systems. A test holds this
# list; after a change that docs/decisions explains:
#   go test ./internal/repotest -run Deps -update
`

// TestDeps: what the command links is listed in deps.txt, and each module of it
// has a page in docs/decisions that names it.
func TestDeps(t *testing.T) {
	linked := map[string][]string{}
	for _, goos := range systems {
		for _, p := range list(t, goos, "-deps", "./cmd/berth") {
			if p.Module == nil || p.Module.Path == module {
				continue
			}
			if m := p.Module.Path; !slices.Contains(linked[m], goos) {
				linked[m] = append(linked[m], goos)
			}
		}
	}
	var b strings.Builder
	b.WriteString(depsHead)
	for _, m := range slices.Sorted(maps.Keys(linked)) {
		fmt.Fprintf(&b, "%-40s %s\n", m, strings.Join(linked[m], " "))
	}
	path := filepath.Join(root(t), "deps.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, "deps.txt"); got != b.String() {
		t.Errorf("deps.txt does not list what ./cmd/berth links. It says:\n%sand should say:\n%s", got, b.String())
	}
	undecided(t, slices.Sorted(maps.Keys(linked)))
}

// TestDirectRequirements: each module that go.mod requires for our own imports,
// those of tests included, has a page in docs/decisions.
func TestDirectRequirements(t *testing.T) {
	var direct []string
	for _, goos := range systems {
		for _, p := range list(t, goos, "-deps", "-test", "./...") {
			if p.Module == nil || p.Module.Path != module {
				continue
			}
			for _, to := range p.Imports {
				to = strings.Fields(to)[0] // what follows says for which test it is built
				first, _, _ := strings.Cut(to, "/")
				if strings.Contains(first, ".") && to != module && !strings.HasPrefix(to, module+"/") {
					direct = append(direct, to)
				}
			}
		}
	}
	slices.Sort(direct)
	undecided(t, slices.Compact(direct))
}

// undecided fails for each module, or package of one, that no page of
// docs/decisions names in backquotes.
func undecided(t *testing.T, paths []string) {
	t.Helper()
	var named []string
	for _, page := range files(t, ".md") {
		if strings.HasPrefix(page, "docs/decisions/") {
			named = append(named, codeSpans(read(t, page))...)
		}
	}
	for _, path := range paths {
		if !slices.ContainsFunc(named, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }) {
			t.Errorf("no page of docs/decisions names `%s`: a dependency costs a page", path)
		}
	}
}

// TestShimIsInitialisedEarly: a process becomes a shim while its program is
// initialised, which goes by import path among the packages whose own imports
// are done. So of what the shim imports nothing may come late, or the rest of
// the program would be initialised in every shim: package net does, which
// internal/confined has. Package regexp is early, and yet each expression costs each shim
// as much as all the rest; runtime/debug would come after it.
func TestShimIsInitialisedEarly(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		packages := list(t, goos, "-deps", "./internal/shim")
		if len(packages) < 2 {
			t.Fatalf("%s: go list found %d packages", goos, len(packages))
		}
		for _, p := range packages {
			if p.ImportPath == "regexp" || p.ImportPath == "runtime/debug" || p.ImportPath > "unsafe" {
				t.Errorf("%s: internal/shim needs %s", goos, p.ImportPath)
			}
		}
	}
}

// TestInitialisedBeforeTheShim: what is initialised before a shim is in each shim, 20
// of which may have a mebibyte each. Of other people's modules these are, and no other
// may come to be without its cost being measured (BenchmarkMemory).
func TestInitialisedBeforeTheShim(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the list is Linux's")
	}
	cmd := exec.Command(released.Build(t), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	known := []string{
		"filippo.io/age/internal/", "filippo.io/hpke", "github.com/berth-run/berth/", "github.com/fsnotify/", "github.com/pelletier/go-toml/",
		"github.com/smallstep/pkcs7/internal/cryptobyte", // 48 bytes
		"github.com/tailscale/hujson", "go.opentelemetry.io/", "golang.org/x/crypto/", "golang.org/x/sys/",
	}
	const shim = "github.com/berth-run/berth/internal/shim"
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "init" {
			continue
		}
		name := words[1]
		if name == shim {
			return
		}
		foreign, _, _ := strings.Cut(name, "/")
		if strings.Contains(foreign, ".") && !slices.ContainsFunc(known, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s is initialised before the shim, in each shim: %s", name, line)
		}
	}
	t.Errorf("%s was not initialised:\n%s", shim, out)
}
