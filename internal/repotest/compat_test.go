package repotest

import (
	"fmt"
	"go/ast"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCompatibility: docs/compatibility.md has a row for each public item, each
// statement and each fault of the reference, and what a row names as ours is in
// the tree: a Go symbol (`supervisor.Open`), a test (`TestName`), tests by their
// first words (`TestS1…`), or a script of the command line (`start.txtar`).
func TestCompatibility(t *testing.T) {
	text := read(t, "docs/compatibility.md")
	var items, faults []string
	for i := range 16 {
		items = append(items, strconv.Itoa(i+1))
	}
	for i := range 21 {
		faults = append(faults, strconv.Itoa(i+1))
	}
	ours := symbolsOf(t)
	parts := partsOf(t)
	report(t, tableFaults(text, "Public items", items, ours, parts))
	report(t, tableFaults(text, "Behaviour", statements(), ours, parts))
	report(t, tableFaults(text, "Faults that must not come back", faults, ours, parts))
}

// statements returns the names of the rows of the table of behaviour.
func statements() []string {
	var all []string
	for _, group := range []struct {
		letter string
		last   int
	}{{"S", 12}, {"A", 9}, {"P", 5}, {"R", 1}, {"V", 10}, {"L", 1}, {"U", 1}, {"G", 1}, {"N", 1}, {"M", 1}, {"J", 1}, {"O", 1}} {
		for i := range group.last {
			all = append(all, group.letter+strconv.Itoa(i+1))
		}
	}
	return all
}

// tableFaults checks the table below a heading: its rows' first cells are ids,
// in order, and the code spans of each last cell name things of ours. A last
// cell that begins with "pending:" names what is not written yet, and one that
// is "absent: x" says that there is no package internal/x; as soon as there is,
// the row must change.
func tableFaults(text, title string, ids []string, ours, parts map[string]bool) []string {
	_, section, ok := strings.Cut(text, "\n## "+title+"\n")
	if !ok {
		return []string{"there is no heading " + title}
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var got, faults []string
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "| #") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		id, last := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[len(cells)-1])
		got = append(got, id)
		if part, ok := strings.CutPrefix(last, "absent: "); ok {
			if parts[part] {
				faults = append(faults, fmt.Sprintf("%s, row %s: internal/%s is there, so the fault can be tested", title, id, part))
			}
			continue
		}
		_, pending := strings.CutPrefix(last, "pending: ")
		names := codeSpans(last)
		if len(names) == 0 {
			faults = append(faults, fmt.Sprintf("%s, row %s: nothing of ours is named", title, id))
		}
		missing := 0
		for _, name := range names {
			if !known(name, ours) {
				missing++
				if !pending {
					faults = append(faults, fmt.Sprintf("%s, row %s: there is no %s", title, id, name))
				}
			}
		}
		if pending && missing == 0 {
			faults = append(faults, fmt.Sprintf("%s, row %s: %s exists, so it is not pending", title, id, strings.Join(names, ", ")))
		}
	}
	if !slices.Equal(got, ids) {
		faults = append(faults, fmt.Sprintf("%s has the rows %v, not %v", title, got, ids))
	}
	return faults
}

var words = regexp.MustCompile(`^(Test|Fuzz)\w+…$`)

func known(name string, ours map[string]bool) bool {
	if !words.MatchString(name) {
		return ours[name]
	}
	prefix := strings.TrimSuffix(name, "…")
	for have := range ours {
		// TestS1… is not TestS10.
		if rest, ok := strings.CutPrefix(have, prefix); ok && (rest == "" || rest[0] < '0' || rest[0] > '9') {
			return true
		}
	}
	return false
}

// symbolsOf returns the exported symbols of our public packages, qualified, and
// the names of all tests, fuzz targets and scripts.
func symbolsOf(t *testing.T) map[string]bool {
	ours := map[string]bool{}
	scripts, err := filepath.Glob(filepath.Join(root(t), "cmd", "berth", "testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		ours[filepath.Base(script)] = true
	}
	eachFile(t, func(file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") {
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
					ours[fn.Name.Name] = true
				}
			}
			return
		}
		if dir := path.Dir(file); dir == "." || dir == "supervisor" {
			exported(f, ours)
		}
	})
	return ours
}

// partsOf returns the names of the packages below internal.
func partsOf(t *testing.T) map[string]bool {
	parts := map[string]bool{}
	for _, file := range files(t, ".go") {
		if part, ok := strings.CutPrefix(path.Dir(file), "internal/"); ok {
			parts[part] = true
		}
	}
	return parts
}

// exported adds package.Name and package.Type.Member to names.
func exported(f *ast.File, names map[string]bool) {
	pkg := f.Name.Name + "."
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			name := decl.Name.Name
			if decl.Recv != nil {
				of := decl.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				if id, ok := of.(*ast.Ident); ok {
					name = id.Name + "." + name
				}
			}
			names[pkg+name] = true
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names[pkg+spec.Name.Name] = true
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						names[pkg+id.Name] = true
					}
				}
			}
		}
	}
}

func TestTableFaultsAreFound(t *testing.T) {
	ours := map[string]bool{"TestS10_x": true, "TestS2_y": true, "supervisor.Open": true}
	for row, want := range map[string]string{
		"| 1 | a | `supervisor.Open` |":             "",
		"| 1 | a | `TestS2…`, `TestS10_x` |":        "",
		"| 1 | a | `TestS1…` |":                     "T, row 1: there is no TestS1…",
		"| 1 | a | pending: `TestS1…` |":            "",
		"| 1 | a | pending: `TestS2…` |":            "T, row 1: TestS2… exists, so it is not pending",
		"| 1 | a | later |":                         "T, row 1: nothing of ours is named",
		"| 1 | a | absent: link |":                  "",
		"| 1 | a | absent: home |":                  "T, row 1: internal/home is there, so the fault can be tested",
		"| 2 | a | `supervisor.Open` |":             "T has the rows [2], not [1]",
		"| 1 | a | `supervisor.Open`, `TestGone` |": "T, row 1: there is no TestGone",
	} {
		text := "# doc\n\n## T\n\n| # | what | ours |\n|---|---|---|\n" + row + "\n\n## next\n"
		if got := strings.Join(tableFaults(text, "T", []string{"1"}, ours, map[string]bool{"home": true}), "; "); got != want {
			t.Errorf("%s: got %q, want %q", row, got, want)
		}
	}
	if got := tableFaults("# doc\n", "T", nil, ours, nil); len(got) != 1 {
		t.Errorf("a document without the heading: %q", got)
	}
}
