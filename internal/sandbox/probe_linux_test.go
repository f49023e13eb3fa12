package sandbox

import "testing"

func TestProbe(t *testing.T) {
	r := Probe("")
	t.Logf("%+v", r)
	if r.Seccomp && len(r.Guarantees) != len(Names()) {
		t.Errorf("the report has %d guarantees, not %d", len(r.Guarantees), len(Names()))
	}
}

// TestProbeDoesNotTryItself: a program that takes the role for an ordinary start must
// not begin a chain of probes that has no end.
func TestProbeDoesNotTryItself(t *testing.T) {
	t.Setenv(probeVariable, "1")
	if r := Probe("/bin/true"); len(r.Missing) != 1 || r.Seccomp {
		t.Errorf("%+v", r)
	}
}
