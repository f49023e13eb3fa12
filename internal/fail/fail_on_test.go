//go:build failpoint

package fail

import "testing"

func TestPointKillsOnce(t *testing.T) {
	dir, path := arm(t)
	out, err := victim(t, dir)
	if err == nil || out != "" {
		t.Fatalf("an armed point let the process live: it printed %q and ended with %v", out, err)
	}
	if exists(t, path) || !exists(t, path+".hit") {
		t.Fatal("the point was not claimed")
	}
	if out, err = victim(t, dir); err != nil || out != "alive" {
		t.Fatalf("a claimed point killed again: %q, %v", out, err)
	}
}

func TestPointWithoutDirectory(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		if out, err := victim(t, dir); err != nil || out != "alive" {
			t.Fatalf("BERTH_FAILPOINTS=%q: %q, %v", dir, out, err)
		}
	}
}
