package home

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A stamp changes with each file that decides what a server says, and is worth
// nothing while a file may change once more without that.
func TestStamp(t *testing.T) {
	h := openTestHome(t)
	last := h.StampOf("a", "a~legacy")
	if !last.Settled {
		t.Error("there are no files, and they are not settled")
	}
	for i, file := range []string{"servers/a.toml", "permissions/a.toml", "berth.toml", "policy.toml", "manifests/a~legacy.json"} {
		path := filepath.Join(h.dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := h.StampOf("a", "a~legacy"); s.Settled {
			t.Errorf("%s was written just now", file)
		}
		old := time.Now().Add(-time.Hour - time.Duration(i)*time.Second)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		s := h.StampOf("a", "a~legacy")
		if !s.Settled || s == last {
			t.Errorf("%s: settled %v, the same as before %v", file, s.Settled, s == last)
		}
		if s != h.StampOf("a", "a~legacy") {
			t.Errorf("%s: nothing changed", file)
		}
		last = s
	}
	for _, file := range []string{"servers/b.toml", "manifests/a.json"} {
		if err := os.WriteFile(filepath.Join(h.dir, filepath.FromSlash(file)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if h.StampOf("a", "a~legacy") != last {
		t.Error("another's files are none of its")
	}
}
