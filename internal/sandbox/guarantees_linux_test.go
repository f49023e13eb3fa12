package sandbox

import (
	"strings"
	"testing"

	berth "github.com/berth-run/berth"
)

// TestGuarantees: what is reported of stock systems, and what standard makes of it.
func TestGuarantees(t *testing.T) {
	all := Namespaces{Mount: true, PID: true, Net: true, IPC: true}
	for _, c := range []struct {
		name     string
		ns       Namespaces
		landlock int
		seccomp  bool
		plan     Plan
		want     string // a letter for each of Names
		standard bool
	}{
		{"a new kernel", all, 7, true, Plan{Net: NetNone, UnixSockets: true}, "eeeeeeee", true},
		{"Ubuntu 24.04, restricted", Namespaces{}, 4, true, Plan{Net: NetNone}, "ppee-ppe", true},
		{"a container on a new kernel", Namespaces{}, 7, true, Plan{Net: NetNames, Notify: true}, "ppeeepee", true},
		{"Linux 5.13 in a container", Namespaces{}, 1, true, Plan{Net: NetNone}, "ppee-ppe", true},
		{"no Landlock", Namespaces{}, 0, true, Plan{Net: NetNone}, "--------", false},
		{"no filters", all, 7, false, Plan{Net: NetNone}, "--------", false},
		{"a socket is granted in a container", Namespaces{}, 7, true,
			Plan{Net: NetNone, UnixSockets: true, Gaps: map[string]string{berth.GuaranteeUnixSockets: "every socket"}}, "ppepepee", true},
		{"Landlock knows of sockets", Namespaces{}, 9, true, Plan{Net: NetNone, UnixSockets: true}, "ppeeepee", true},
		{"abstract sockets of the user's", Namespaces{Mount: true, PID: true}, 4, true, Plan{Net: NetOpen, UnixSockets: true}, "eeepeeee", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.plan.Namespaces = c.ns
			kept := c.plan.Guarantees(Report{Landlock: c.landlock, Seccomp: c.seccomp})
			got := ""
			for _, name := range Names() {
				g := kept[name]
				got += map[berth.GuaranteeState]string{berth.Enforced: "e", berth.Partial: "p", berth.None: "-"}[g.State]
				if (g.State == berth.Enforced) != (g.Gap == "") {
					t.Errorf("%s: %+v", name, g)
				}
			}
			if got != c.want {
				t.Errorf("%s of %s: %+v, want %s", got, strings.Join(Names(), " "), kept, c.want)
			}
			if missing := Missing(berth.ProfileStandard, kept); (len(missing) == 0) != c.standard {
				t.Errorf("standard misses %v", missing)
			}
			if missing := Missing(berth.ProfileStrict, kept); (len(missing) == 0) != (c.want == "eeeeeeee") {
				t.Errorf("strict misses %v", missing)
			}
		})
	}
}

// TestProbeIsNotBelievedLess: what the probe found open is not reported as enforced.
func TestProbeIsNotBelievedLess(t *testing.T) {
	p := Plan{Net: NetNone}
	found := berth.Guarantee{State: berth.Partial, How: "x", Gap: "tried here, and possible: TCP"}
	r := Report{Landlock: 7, Seccomp: true, Guarantees: map[string]berth.Guarantee{berth.GuaranteeEgress: found}}
	if g := p.Guarantees(r)[berth.GuaranteeEgress]; g != found {
		t.Errorf("%+v", g)
	}
	p.Net = NetOpen
	if g := p.Guarantees(r)[berth.GuaranteeEgress]; g.State != berth.Enforced {
		t.Errorf("what is allowed is missed: %+v", g)
	}
}
