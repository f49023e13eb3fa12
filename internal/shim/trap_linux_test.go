package shim

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/sandbox"
)

// grants are Rules of a test's own: the addresses that may be reached.
type grants struct {
	Rules
	addresses []string
	all       bool
}

func (g grants) Allows(address string) bool { return g.all || slices.Contains(g.addresses, address) }
func (g grants) Ports() []uint16            { return []uint16{80, 443} }

// TestTrap: a server whose walls are left out is not executed, since the test right
// before that reaches what listens for it; where the server may reach that, or the whole
// network, there is nothing to try.
func TestTrap(t *testing.T) {
	j := &jail{plan: sandbox.Plan{Net: sandbox.NetNone}, rules: grants{}}
	remove, err := j.layTrap()
	if err != nil {
		t.Fatal(err)
	}
	// No wall is here: this process is not confined.
	if err := j.plan.SelfTest(); err == nil || !strings.Contains(err.Error(), j.plan.Test.Connect+" was reached") {
		t.Errorf("the test passed without any confinement: %v", err)
	}
	remove()
	if err := j.plan.SelfTest(); err != nil {
		t.Errorf("nothing listens any more, and yet: %v", err)
	}
	for _, j := range []*jail{
		{plan: sandbox.Plan{Net: sandbox.NetOpen}, rules: grants{}},
		{plan: sandbox.Plan{Net: sandbox.NetNames}, rules: grants{all: true}},
	} {
		remove, err := j.layTrap()
		if err != nil {
			t.Fatal(err)
		}
		remove()
		if j.plan.Test.Connect != "" {
			t.Errorf("%+v: %s is tried", j.plan.Net, j.plan.Test.Connect)
		}
	}
}
