package repotest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTwoInits: package initialisation does no work, but for the inits that turn the
// program into a shim before anything else runs, as early as they can. The binaries of
// tests are not the program.
func TestTwoInits(t *testing.T) {
	var where []string
	eachFile(t, func(file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				where = append(where, path.Dir(file))
			}
		}
	})
	slices.Sort(where)
	if want := []string{"internal/confined", "internal/shim"}; !slices.Equal(where, want) {
		t.Errorf("init functions in %v, not in %v", where, want)
	}
}

// TestNoExpressionsAtPackageLevel: one that is compiled with its package is part of each
// command, also of those that have no use for it. Package lazy has those that are used.
func TestNoExpressionsAtPackageLevel(t *testing.T) {
	eachFile(t, func(file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, decl := range f.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			ast.Inspect(vars, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					return false // it runs when it is called
				}
				if call, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(call.Sel.Name, "MustCompile") {
					t.Errorf("%s compiles a regular expression at package level", file)
				}
				return true
			})
		}
	})
}

// TestNoWaivers: a linter's complaint is answered in the code, not silenced.
func TestNoWaivers(t *testing.T) {
	eachFile(t, func(file string, f *ast.File) {
		for _, group := range f.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//lint:") || strings.HasPrefix(c.Text, "//nolint") {
					t.Errorf("%s silences a linter: %s", file, c.Text)
				}
			}
		}
	})
}

// TestPackagesSayWhatTheyAre: every package has a comment.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	comments := map[string]int{}
	eachFile(t, func(file string, f *ast.File) {
		dir := path.Dir(file)
		comments[dir] += 0
		// An external test package has no comment of its own.
		if f.Doc != nil && !strings.HasSuffix(f.Name.Name, "_test") {
			comments[dir]++
		}
	})
	for dir, n := range comments {
		if n == 0 {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// eachFile parses every Go file of the repository, tests and all systems.
func eachFile(t *testing.T, visit func(file string, f *ast.File)) {
	t.Helper()
	top := root(t)
	fset := token.NewFileSet()
	for _, file := range files(t, ".go") {
		f, err := parser.ParseFile(fset, filepath.Join(top, filepath.FromSlash(file)), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Error(fmt.Errorf("parse: %w", err))
			continue
		}
		visit(file, f)
	}
}
