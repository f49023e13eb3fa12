//go:build !race

// The race detector allocates where the program does not.

package proc

import (
	"os"
	"path/filepath"
	"testing"
)

// TestScanLeavesNothing: what a scan allocates does not grow with the number of
// processes that it looks at. A supervisor keeps it for life.
func TestScanLeavesNothing(t *testing.T) {
	stats, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(t.TempDir(), "some.tree")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := evidenceOf(NewIncarnation("0123456789abcdef"), lock)
	allocations := testing.AllocsPerRun(5, func() {
		if found, err := e.scan(); len(found) > 0 || err != nil {
			t.Fatal(found, err)
		}
	})
	if allocations > 2 {
		t.Errorf("a scan of %d processes allocates %v times", len(stats), allocations)
	}
}
