package direct

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLook(t *testing.T) {
	var l Looker
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	long := filepath.Join(dir, strings.Repeat("x", 200), strings.Repeat("y", 200))
	if err := os.MkdirAll(filepath.Dir(long), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int64{file: 0, long: 3} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if written, n, err := l.Look(path); err != nil || n != size || written != info.ModTime().UnixNano() {
			t.Errorf("%s: %d, %d, %v, and it is %+v", path, written, n, err, info)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), ""} {
		if _, _, err := l.Look(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{file + "/x", file + "\x00"} {
		if _, _, err := l.Look(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
	}
}
