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

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func permissions(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode() & (os.ModePerm | os.ModeSticky)
}

// The reference leaves a home with what the umask allows.
func TestOpenTightensHome(t *testing.T) {
	for _, mode := range []os.FileMode{0o755, 0o775, 0o777, 0o750} {
		for what, fill := range map[string][]string{
			"empty":         nil,
			"reference's":   {"runtime", "servers", "cache"},
			"usual name":    {"servers", "my-notes"},
			"what we leave": subdirs(),
		} {
			dir := filepath.Join(t.TempDir(), "home")
			if what == "usual name" {
				dir = filepath.Join(t.TempDir(), ".berth")
			}
			for _, sub := range append(fill, ".") {
				if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			chmod(t, dir, mode)
			if _, err := Open(dir, &Options{ReadOnly: true}); err != nil {
				t.Errorf("%s %v, for reading: %v", what, mode, err)
			}
			if got := permissions(t, dir); got != mode {
				t.Errorf("%s %v: opened for reading, its mode became %v", what, mode, got)
			}
			if _, err := Open(dir, nil); err != nil {
				t.Errorf("%s %v: %v", what, mode, err)
			}
			if got := permissions(t, dir); got != 0o700 {
				t.Errorf("%s %v: its mode is %v", what, mode, got)
			}
		}
	}
}

// A directory that was something else before keeps its mode: BERTH_HOME=/tmp
// as root must not lock everybody out of /tmp.
func TestOpenLeavesOtherDirectoriesAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir, 0o755)
	if _, err := Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	if got := permissions(t, dir); got != 0o755 {
		t.Errorf("its mode became %v", got)
	}

	for _, mode := range []os.FileMode{0o775, 0o777, 0o777 | os.ModeSticky} {
		dir := t.TempDir()
		if mode&os.ModeSticky == 0 {
			if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		chmod(t, dir, mode)
		_, err := Open(dir, nil)
		var hint *berth.Hinted
		if !errors.Is(err, berth.ErrUnfitHome) || !errors.As(err, &hint) || !strings.Contains(hint.Hint, "BERTH_HOME") {
			t.Errorf("%v: %v", mode, err)
		}
		if got := permissions(t, dir); got != mode {
			t.Errorf("%v: its mode became %v", mode, got)
		}
	}
}

func TestOpenRefusesForeignHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a directory away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		_, err := Open(dir, &Options{ReadOnly: readOnly})
		if !errors.Is(err, berth.ErrUnfitHome) || !strings.Contains(err.Error(), "65534") {
			t.Errorf("read only %v: %v", readOnly, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("there is %v, %v", entries, err)
	}
}
