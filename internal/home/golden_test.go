package home

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

const onUnix = runtime.GOOS != "windows"

// golden compares got with a file of testdata; BERTH_TEST_UPDATE=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("BERTH_TEST_UPDATE") == "1" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
		t.Errorf("%s (BERTH_TEST_UPDATE=1 rewrites it):\n got:\n%s\nwant:\n%s", path, got, want)
	}
}
