package catalog

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sumFile lists the files of a copy as sha256sum does, and its symbolic links with
// where they lead.
const sumFile = "files.sum"

// sum hashes the files below dir, in the order of their names.
func sum(dir string) (list string, err error) {
	var b strings.Builder
	err = walk(dir, func(name string, d fs.DirEntry) error {
		line, err := sumOf(filepath.Join(dir, name), d)
		fmt.Fprintf(&b, "%s  %s\n", line, name)
		return err
	})
	return b.String(), err
}

func sumOf(path string, d fs.DirEntry) (string, error) {
	if d.Type()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		return "link:" + hex.EncodeToString([]byte(to)), err
	}
	h := sha256.New()
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// walk visits what is below dir and is no directory, but for the list itself. Only
// files and links are taken: a package has no devices.
func walk(dir string, visit func(name string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == sumFile {
			return err
		}
		if strings.ContainsAny(name, "\n\\") && filepath.Separator == '/' {
			return fmt.Errorf("%q: a name that no package's file has", name)
		}
		if !d.Type().IsRegular() && d.Type()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s: is neither a file nor a link", name)
		}
		return visit(name, d)
	})
}

// verify compares a copy with its list, and the list with its hash, and says
// which files are not as they were fetched.
func verify(dir, files string) error {
	list, err := os.ReadFile(filepath.Join(dir, sumFile))
	if err != nil {
		return fmt.Errorf("%w: %v", errDamaged, err)
	}
	if hashOf(list) != files {
		return fmt.Errorf("%w: %s has another hash than its lock says", errDamaged, filepath.Join(dir, sumFile))
	}
	now, err := sum(dir)
	if err != nil {
		return fmt.Errorf("%w: %v", errDamaged, err)
	}
	if now == string(list) {
		return nil
	}
	was := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		was[line] = true
	}
	for line := range strings.Lines(now) {
		if !was[line] {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			return fmt.Errorf("%w: %s is not as it was fetched", errDamaged, filepath.Join(dir, name))
		}
	}
	return fmt.Errorf("%w: files of %s are gone", errDamaged, dir)
}

var errDamaged = errors.New("the copy of the package is damaged")

func hashOf(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// additions are files of a copy that are not in its list: a server wrote them.
// Without a list nothing is known to have been fetched.
func additions(dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, sumFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{sumFile + " is missing"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var known []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if _, name, ok := strings.Cut(lines.Text(), "  "); ok {
			known = append(known, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	slices.Sort(known)
	var more []string
	err = walk(dir, func(name string, _ fs.DirEntry) error {
		// What python compiles is made of what was fetched.
		if _, found := slices.BinarySearch(known, name); !found && !strings.HasSuffix(name, ".pyc") {
			more = append(more, name)
		}
		return nil
	})
	return more, err
}
