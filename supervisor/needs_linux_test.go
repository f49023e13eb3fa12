package supervisor_test

import (
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/proc"
)

// needs skips a test that cannot run here, and says why.
func needs(t *testing.T, have bool, what string) {
	t.Helper()
	if !have {
		t.Skipf("this test needs %s", what)
	}
}

// needsMechanism skips a test where this user cannot have the mechanism, which
// is found out by doing.
func needsMechanism(t *testing.T, mechanism berth.TreeMechanism) {
	t.Helper()
	for _, r := range proc.Probe() {
		if r.Mechanism == mechanism && !r.Works {
			t.Skipf("this test needs the mechanism %s: %v", mechanism, r.Err)
		}
	}
}
