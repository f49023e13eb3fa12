package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// originalsDir has clients' settings files as they were before Berth wrote to
// them, each encrypted.
const originalsDir = "originals"

// linksMost bounds the file of links, originalMost one of originals, in bytes.
const (
	linksMost    = 4 << 20
	originalMost = 80 << 20
)

// LinksPath is the file that says what Berth has written into clients' settings.
func (h *Home) LinksPath() string { return h.path("links.json") }

// LockLinks takes the lock under which links are changed.
func (h *Home) LockLinks(ctx context.Context) (unlock func() error, err error) {
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, changePatience, fmt.Errorf("another berth changes links, and has for %v", changePatience))
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("links"))
	if err != nil {
		return nil, h.writeError(err)
	}
	return lock.Unlock, nil
}

// ReadLinks returns the file of links; nil if there is none.
func (h *Home) ReadLinks() ([]byte, error) { return readMost(h.LinksPath(), linksMost) }

// WriteLinks replaces the file of links. The caller has its lock.
func (h *Home) WriteLinks(data []byte) error { return h.replace(h.LinksPath(), data) }

// originalPath is the file of an original, whose name the code makes: hexadecimal
// digits.
func (h *Home) originalPath(name string) (string, error) {
	if name == "" || strings.Trim(name, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not the name of an original", name)
	}
	return h.path(originalsDir, name+".age"), nil
}

// ReadOriginal returns what WriteOriginal has kept; fs.ErrNotExist if it has nothing.
func (h *Home) ReadOriginal(name string) ([]byte, error) {
	path, err := h.originalPath(name)
	if err != nil {
		return nil, err
	}
	data, err := readMost(path, originalMost)
	if err == nil && data == nil {
		err = fs.ErrNotExist
	}
	return data, err
}

// WriteOriginal keeps something under a name.
func (h *Home) WriteOriginal(name string, data []byte) error {
	path, err := h.originalPath(name)
	if err != nil {
		return err
	}
	if err := h.canWrite(); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return h.writeError(err)
	}
	return h.replace(path, data)
}

// RemoveOriginal forgets what is kept under a name.
func (h *Home) RemoveOriginal(name string) error {
	path, err := h.originalPath(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // the directory may not be there either
	}
	return h.remove(path)
}

// readMost returns a file of at most that many bytes; nil if there is none.
func readMost(path string, most int64) ([]byte, error) {
	f, err := openShared(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, err
}
