package direct_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/direct"
)

func TestNames(t *testing.T) {
	dir := t.TempDir()
	if names, err := direct.Names(dir); err != nil || len(names) != 0 {
		t.Errorf("an empty directory: %q, %v", names, err)
	}
	var want []string
	for i := range 300 { // more than are read at once, of all lengths
		want = append(want, strings.Repeat("x", i%240)+fmt.Sprint(i))
	}
	for _, name := range want {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := direct.Names(dir)
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d names, %v; want %d", len(got), err, len(want))
	}
	if _, err := direct.Names(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("no directory: %v, not %v", err, fs.ErrNotExist)
	}
	if _, err := direct.Names(filepath.Join(dir, want[0])); err == nil {
		t.Error("a file has names")
	}
}
