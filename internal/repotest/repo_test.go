// Package repotest holds what the repository promises about itself, as tests:
// which package may import which, what is linked, that documents tell the
// truth. There is nothing else in it.
package repotest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/berth-run/berth"

// root returns the directory of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = up
	}
}

// read returns a file of the repository, by its slash-separated path.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// files returns the slash-separated paths of the repository's files that end in
// suffix. Git's own, test data and what a checkout leaves out are not among
// them.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	top := root(t)
	var found []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Name() {
		case ".git", "testdata", "node_modules", "bin", "dist":
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		if !d.IsDir() && strings.HasSuffix(path, suffix) {
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("the repository has no file that ends in %s", suffix)
	}
	return found
}

// report fails the test with every fault.
func report(t *testing.T, faults []string) {
	t.Helper()
	for _, f := range faults {
		t.Error(f)
	}
}
