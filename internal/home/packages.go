package home

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// packagesDir holds copies of packages: ID is one, ID.json says what is in it.
const packagesDir = "packages"

// PackagesDir returns the directory of the copies of packages. Whoever fetches the
// first one makes it.
func (h *Home) PackagesDir() string { return h.path(packagesDir) }

// RegistryPath is where the copy of a registry of servers is.
func (h *Home) RegistryPath() string { return h.path("registry", "servers") }

// WriteRegistry replaces that copy by what write writes.
func (h *Home) WriteRegistry(write func(io.Writer) error) error {
	return h.replaceBy(h.RegistryPath(), write)
}

// SpoolRegistry returns a file for what came of a registry so far, and what ends it. One
// whose process was killed goes with the others that were abandoned.
func (h *Home) SpoolRegistry() (*os.File, func(), error) {
	if err := h.canWrite(); err != nil {
		return nil, nil, err
	}
	f, err := createTemp(h.RegistryPath())
	if err != nil {
		return nil, nil, h.writeError(err)
	}
	_ = os.Remove(f.Name()) // where an open file can be removed, a kill leaves none
	return f, func() {
		f.Close()
		_ = os.Remove(f.Name())
	}, nil
}

// ReadIndex returns the copy of the index that was at a URL, and how old it is;
// fs.ErrNotExist if there is none of that URL.
func (h *Home) ReadIndex(url string) ([]byte, time.Duration, error) {
	path := h.indexPath(url)
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	data, err := os.ReadFile(path)
	return data, time.Since(info.ModTime()), err
}

// WriteIndex replaces that copy.
func (h *Home) WriteIndex(url string, data []byte) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	if err := os.MkdirAll(h.path("registry"), 0o700); err != nil {
		return h.writeError(err)
	}
	return h.replace(h.indexPath(url), data)
}

func (h *Home) indexPath(url string) string {
	sum := sha256.Sum256([]byte(url))
	return h.path("registry", "index-"+hex.EncodeToString(sum[:8])+".json")
}

// isPackageID: [a-z0-9][a-z0-9._-]{0,150}. A shim must not need package regexp.
func isPackageID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && (c == '.' || c == '_' || c == '-')) {
			return false
		}
	}
	return 0 < len(id) && len(id) <= 151
}

// CheckPackageID refuses what is no name of a copy, before a path is built of it.
func CheckPackageID(id string) error {
	if !isPackageID(id) {
		return fmt.Errorf("%w: %q is not the name of a fetched package", berth.ErrBadConfig, id)
	}
	return nil
}

// PackageDir returns the directory of a copy.
func (h *Home) PackageDir(id string) (string, error) {
	if err := CheckPackageID(id); err != nil {
		return "", err
	}
	return h.path(packagesDir, id), nil
}

// ReadPackage returns the lock of a copy; fs.ErrNotExist if there is none.
func (h *Home) ReadPackage(id string) ([]byte, error) {
	if err := CheckPackageID(id); err != nil {
		return nil, err
	}
	return os.ReadFile(h.path(packagesDir, id+".json"))
}

// WritePackage replaces the lock of a copy.
func (h *Home) WritePackage(id string, data []byte) error {
	if err := CheckPackageID(id); err != nil {
		return err
	}
	return h.replace(h.path(packagesDir, id+".json"), data)
}

// RemovePackage removes the lock of a copy.
func (h *Home) RemovePackage(id string) error {
	if err := CheckPackageID(id); err != nil {
		return err
	}
	return h.remove(h.path(packagesDir, id+".json"))
}

// PackageUsed says whether the file or the state of any server, or the file that it
// had before, mentions a copy. It looks for the name alone: a file that does not parse counts, and so does the
// state of a process that still runs as the file said before. Whoever has a server be
// run from another copy holds the lock that the caller holds, too.
func (h *Home) PackageUsed(id string) (bool, error) {
	for _, sub := range []string{serversDir, runtimeDir, previousDir} {
		entries, err := os.ReadDir(h.path(sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			// A file that did not get its name is nobody's: what a killed process left.
			if e.IsDir() || strings.HasPrefix(e.Name(), tempPrefix) {
				continue
			}
			doc, err := os.ReadFile(h.path(sub, e.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return false, err
			}
			if bytes.Contains(doc, []byte(id)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Fetched says whether the server runs from a copy of its package.
func (s *Server) Fetched() bool { return s.Source.Copy != "" }

// CopyDir is the directory of the copy that the server runs from: all of it belongs
// to the server, which may read and execute it (berth.Confinement.Program). It is ""
// for a server that was not fetched, or not read from a file.
func (s *Server) CopyDir() string {
	if s.file == "" || CheckPackageID(s.Source.Copy) != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(filepath.Dir(s.file)), packagesDir, s.Source.Copy)
}

// copyGone is the error of a server whose copy is not there.
func (s *Server) copyGone() error {
	if !s.Fetched() || s.file == "" {
		return nil
	}
	dir := s.CopyDir()
	if dir == "" {
		return s.bad("source", "copy", "is not the name of a fetched package")
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return berth.WithHint(fmt.Errorf("the copy of its package is gone: %s", dir),
			"berth fetch "+s.Name+" fetches it again, as it was")
	}
	return nil
}
