//go:build unix

package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// elsewhere is where the sockets of h go when the home cannot have them.
func elsewhere(t *testing.T, h *Home) string {
	t.Helper()
	path, err := h.FallbackSocket("s")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	if got := permissions(t, dir); got != 0o700 {
		t.Errorf("%s has mode %v", dir, got)
	}
	return dir
}

func TestSocketDirectoryIsPrivate(t *testing.T) {
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	fresh := func() *Home { return openAt(t, shortDir(t)) }

	// Someone made the directory first, open or as a link to his own: it is
	// not used, and not changed.
	for what, squat := range map[string]func(dir string) error{
		"open": func(dir string) error { return os.Chmod(dir, 0o755) },
		"link": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".his"), os.Symlink(dir+".his", dir))
		},
		"file": func(dir string) error {
			return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600))
		},
		"his": func(dir string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(dir, 0o770)
			}
			return os.Chown(dir, 65534, 65534)
		},
	} {
		h := fresh()
		dir := elsewhere(t, h)
		if err := squat(dir); err != nil {
			t.Fatal(err)
		}
		if path, err := h.ReadSocketPath("s"); err == nil {
			t.Errorf("%s: a client would use %s", what, path)
		}
		other := elsewhere(t, h)
		if other == dir {
			t.Errorf("%s: %s is used", what, dir)
		}
		if path, err := h.ReadSocketPath("s"); err != nil || filepath.Dir(path) != other {
			t.Errorf("%s: clients look at %s, %v", what, path, err)
		}
		if again := elsewhere(t, h); again != other {
			t.Errorf("%s: %s, then %s", what, other, again)
		}
	}
}

func TestSocketDirectoryChoice(t *testing.T) {
	h := openAt(t, shortDir(t))
	tmp, xdg := shortDir(t), shortDir(t)
	t.Setenv("TMPDIR", tmp)
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	if dir := elsewhere(t, h); filepath.Dir(dir) != xdg {
		t.Errorf("%s is not in XDG_RUNTIME_DIR", dir)
	}
	// What is written down stays, also in a session without the variable.
	t.Setenv("XDG_RUNTIME_DIR", "")
	if dir := elsewhere(t, h); filepath.Dir(dir) != xdg {
		t.Errorf("%s is another than before", dir)
	}
	// A runtime directory that others can enter is not this user's.
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	chmod(t, xdg, 0o755)
	if dir := elsewhere(t, openAt(t, shortDir(t))); filepath.Dir(dir) != tmp {
		t.Errorf("%s is not in TMPDIR", dir)
	}
	// A TMPDIR that is too long, or not there, is passed over.
	for _, bad := range []string{filepath.Join(tmp, strings.Repeat("x", 90)), filepath.Join(tmp, "missing")} {
		t.Setenv("TMPDIR", bad)
		dir := elsewhere(t, homeIn(t, tmp))
		if filepath.Dir(dir) != "/tmp" {
			t.Errorf("%s is not in /tmp", dir)
		}
		t.Cleanup(func() { os.Remove(dir) })
	}
}

// homeIn opens a home in a directory that does not depend on TMPDIR.
func homeIn(t *testing.T, parent string) *Home {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "h")
	if err != nil {
		t.Fatal(err)
	}
	return openAt(t, dir)
}

func TestNoPlaceForSockets(t *testing.T) {
	h := openAt(t, shortDir(t))
	if _, err := privateIn(h.Dir(), "leaf", len(h.Dir())); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("too long: %v", err)
	}
	if _, err := privateIn(filepath.Join(h.Dir(), "missing"), "leaf", 1000); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	h.readOnly = true
	if _, err := h.FallbackSocket("s"); err == nil {
		t.Error("a home that was opened for reading got a socket")
	}
	if _, err := h.SocketPath("../x"); !errors.Is(err, berth.ErrInvalidName) {
		t.Errorf("error %v", err)
	}
}
