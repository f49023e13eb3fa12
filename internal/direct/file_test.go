package direct

import (
	"os"
	"path/filepath"
	"testing"
)

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := NewFile(f, path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFileInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := open(t, path)
	for _, text := range []string{"one", "", "and two"} {
		if n, err := f.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if got, err := os.ReadFile(path); string(got) != "oneand two" {
		t.Errorf("%q, %v", got, err)
	}
	if size, ok := f.InPlace(); size != 10 || !ok {
		t.Errorf("%d, %v", size, ok)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.InPlace(); ok {
		t.Error("there is no file")
	}
	if g := open(t, path); g == nil {
		t.Fatal("none")
	}
	if _, ok := f.InPlace(); ok {
		t.Error("there is another file")
	}
}

func TestFileClosed(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "f"))
	f.f.Close()
	if n, err := f.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := NewFile(f.f, f.path); err == nil {
		t.Error("it has no place")
	}
}
