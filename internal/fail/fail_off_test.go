//go:build !failpoint

package fail

import "testing"

func TestPointIsNothingInAnOrdinaryBuild(t *testing.T) {
	dir, path := arm(t)
	out, err := victim(t, dir)
	if err != nil || out != "alive" {
		t.Fatalf("the process printed %q and ended with %v", out, err)
	}
	if !exists(t, path) {
		t.Fatal("the point was claimed")
	}
}
