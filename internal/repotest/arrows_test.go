package repotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// drawing is the block of arrows in docs/architecture.md: one line a package,
// "from → to to…", layers from top to bottom with an empty line between them.
type drawing struct {
	layer map[string]int
	to    map[string][]string
}

func parseDrawing(text string) (drawing, error) {
	d := drawing{map[string]int{}, map[string][]string{}}
	_, block, ok := strings.Cut(text, "\n```arrows\n")
	if !ok {
		return d, errors.New("no block that begins with ```arrows")
	}
	block, _, ok = strings.Cut(block, "\n```\n")
	if !ok {
		return d, errors.New("the arrows block does not end")
	}
	layer := 0
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		if line == "" {
			layer++
			continue
		}
		from, to, ok := strings.Cut(line, "→")
		from = strings.TrimSpace(from)
		if !ok || from == "" || strings.ContainsAny(from, " \t") {
			return d, fmt.Errorf("%q is not: package → package package…", line)
		}
		if _, twice := d.to[from]; twice {
			return d, fmt.Errorf("%s is drawn twice", from)
		}
		d.layer[from] = layer
		d.to[from] = strings.Fields(to)
	}
	return d, nil
}

// faults compares the drawing with the imports that the code has.
func (d drawing) faults(imports map[string][]string) []string {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		if _, ok := d.to[from]; !ok {
			add("%s is not drawn", from)
			continue
		}
		for _, to := range imports[from] {
			if !slices.Contains(d.to[from], to) {
				add("%s imports %s, and no arrow allows it", from, to)
			}
		}
	}
	for _, from := range slices.Sorted(maps.Keys(d.to)) {
		if _, ok := imports[from]; !ok {
			add("%s is drawn and does not exist", from)
			continue
		}
		for _, to := range d.to[from] {
			if _, ok := d.layer[to]; !ok {
				add("the arrow %s → %s points to nothing", from, to)
			} else if d.layer[to] <= d.layer[from] {
				add("the arrow %s → %s does not point to a lower layer", from, to)
			}
			if !slices.Contains(imports[from], to) {
				add("the arrow %s → %s is drawn and not used", from, to)
			}
		}
	}
	return faults
}

func TestArrows(t *testing.T) {
	d, err := parseDrawing(read(t, "docs/architecture.md"))
	if err != nil {
		t.Fatal("docs/architecture.md: ", err)
	}
	report(t, d.faults(importsOf(t)))
}

// importsOf returns, for each package of ours that has more than tests, the
// packages of ours that it imports on any system, failpoints on or off.
func importsOf(t *testing.T) map[string][]string {
	imports := map[string][]string{}
	for _, goos := range systems {
		for _, tags := range []string{"", "failpoint"} {
			for _, p := range list(t, goos, "-tags="+tags, "./...") {
				if len(p.GoFiles) == 0 {
					continue
				}
				from := short(p.ImportPath)
				if imports[from] == nil {
					imports[from] = []string{}
				}
				for _, to := range p.Imports {
					if to != module && !strings.HasPrefix(to, module+"/") {
						continue
					}
					if to = short(to); !slices.Contains(imports[from], to) {
						imports[from] = append(imports[from], to)
					}
				}
			}
		}
	}
	if len(imports) == 0 {
		t.Fatal("go list found no package")
	}
	return imports
}

// short returns the name that documents use: "berth" for the root, else the
// package's directory.
func short(path string) string {
	if path == module {
		return "berth"
	}
	return strings.TrimPrefix(path, module+"/")
}

// systems are those that Berth is built for.
var systems = []string{"linux", "darwin", "windows"}

type goPackage struct {
	ImportPath string
	GoFiles    []string
	Imports    []string
	Module     *struct{ Path string }
}

// list runs go list for a system, without cgo, as releases are built. A package
// that does not compile is listed too: other checks speak of that.
func list(t *testing.T, goos string, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,GoFiles,Imports,Module"}, args...)...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list for %s: %v\n%s", goos, err, stderr.String())
	}
	var found []goPackage
	for dec := json.NewDecoder(&stdout); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
}

func TestDrawingFindsFaults(t *testing.T) {
	block := "text\n```arrows\ncmd → lib leaf\n\nlib → leaf\n\nleaf →\n```\n"
	for _, c := range []struct {
		name, block string
		imports     map[string][]string
		want        string
	}{
		{"all true", block, map[string][]string{"cmd": {"lib", "leaf"}, "lib": {"leaf"}, "leaf": {}}, ""},
		{"an arrow that is missing", block, map[string][]string{"cmd": {"lib", "leaf"}, "lib": {"leaf"}, "leaf": {"lib"}}, "leaf imports lib, and no arrow allows it"},
		{"an arrow that is not used", block, map[string][]string{"cmd": {"leaf"}, "lib": {"leaf"}, "leaf": {}}, "the arrow cmd → lib is drawn and not used"},
		{"a package that is missing", block, map[string][]string{"cmd": {"lib", "leaf"}, "lib": {"leaf"}, "leaf": {}, "new": {}}, "new is not drawn"},
		{"a package that is gone", "\n```arrows\nlib → leaf\nold →\n\nleaf →\n```\n", map[string][]string{"lib": {"leaf"}, "leaf": {}}, "old is drawn and does not exist"},
		{"leaves that know each other", "\n```arrows\na → b\nb →\n```\n", map[string][]string{"a": {"b"}, "b": {}}, "the arrow a → b does not point to a lower layer"},
		{"an arrow into nowhere", "\n```arrows\na → b\n```\n", map[string][]string{"a": {"b"}}, "the arrow a → b points to nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := parseDrawing(c.block)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(d.faults(c.imports), "; "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, text := range []string{"", "\n```arrows\na → b\n", "\n```arrows\na b\n```\n", "\n```arrows\na →\na →\n```\n"} {
		if _, err := parseDrawing(text); err == nil {
			t.Errorf("%q was taken for a drawing", text)
		}
	}
}
