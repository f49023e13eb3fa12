package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/fail"
)

// replace puts data at path, as a whole or not at all: a reader, or whoever
// comes after a crash or a power cut, finds the old file or the new one. The
// file's mode is 0600.
func (h *Home) replace(path string, data []byte) error {
	return h.replaceBy(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceBy is replace by what write writes.
func (h *Home) replaceBy(path string, write func(io.Writer) error) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	h.sweep(dir)
	f, err := createTemp(path)
	if err != nil {
		return h.writeError(err)
	}
	fail.Point("home.replace.created")
	err = write(f)
	if err == nil {
		fail.Point("home.replace.written")
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		fail.Point("home.replace.synced")
		err = rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is what matters
		return h.writeError(err)
	}
	fail.Point("home.replace.renamed")
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	fail.Point("home.replace.done")
	return nil
}

// createTemp creates a file beside path, and the directory if it was removed.
func createTemp(path string) (*os.File, error) {
	dir, pattern := filepath.Dir(path), tempPrefix+filepath.Base(path)+"-*"
	f, err := os.CreateTemp(dir, pattern) // mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			f, err = os.CreateTemp(dir, pattern)
		}
	}
	return f, err
}

// Temporary files begin with tempPrefix; one that is older than abandonedAfter
// belongs to a process that was killed.
const (
	tempPrefix     = ".tmp-"
	abandonedAfter = time.Hour
)

// sweep removes abandoned temporary files, once for each directory that this
// Home writes to. It is housekeeping: what cannot be removed is left.
func (h *Home) sweep(dir string) {
	if _, done := h.swept.LoadOrStore(dir, true); done {
		return
	}
	names, err := direct.Names(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > abandonedAfter {
			_ = os.Remove(path)
		}
	}
}

// setAside renames path to a name that ends in what and the time, and returns
// it. Nobody sets two aside in the same second, but if they do both are kept.
func (h *Home) setAside(path, what string) (string, error) {
	if err := h.canWrite(); err != nil {
		return "", err
	}
	stem := path + "." + what + "-" + time.Now().UTC().Format("20060102T150405Z")
	to := stem
	for i := 2; ; i++ {
		_, err := os.Lstat(to)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		to = fmt.Sprintf("%s-%d", stem, i)
	}
	if err := rename(path, to); err != nil {
		return "", h.writeError(err)
	}
	fail.Point("home.aside.renamed")
	return to, syncDir(filepath.Dir(path))
}

// remove removes a file for good; one that is not there is no error.
func (h *Home) remove(path string) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return h.writeError(err)
	}
	fail.Point("home.remove.removed")
	return syncDir(filepath.Dir(path))
}

// names lists the servers that have a file NAME.toml in a directory of the
// home, in alphabetical order, and the files that look like one but whose name
// check refuses.
func (h *Home) names(sub string, check func(name string) error) (names, strays []string, err error) {
	entries, err := os.ReadDir(h.path(sub))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name, isTOML := strings.CutSuffix(e.Name(), ".toml")
		switch {
		case !isTOML || e.IsDir() || strings.HasPrefix(name, "."):
		case check(name) == nil:
			names = append(names, name)
		default:
			strays = append(strays, h.path(sub, e.Name()))
		}
	}
	return names, strays, nil
}
