package shim

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/sandbox"
)

// TestConfinedMessagesAreOfTheirOwnVersion: a shim that knows nothing of confinement
// must refuse a spec with one, not overlook it.
func TestConfinedMessagesAreOfTheirOwnVersion(t *testing.T) {
	confined := berth.ProcessSpec{Confine: &berth.Confinement{Profile: berth.ProfileStandard}}
	off := berth.ProcessSpec{Confine: &berth.Confinement{Profile: berth.ProfileOff}}
	for _, c := range []struct {
		spec *berth.ProcessSpec
		want int
	}{{nil, 2}, {&berth.ProcessSpec{}, 2}, {&off, 2}, {&confined, 3}} {
		if got := versionFor(c.spec); got != c.want {
			t.Errorf("%+v: version %d, want %d", c.spec, got, c.want)
		}
	}
}

func TestConfinementOnTheWire(t *testing.T) {
	in := request{Spec: &berth.ProcessSpec{
		MaxProcesses: 7, MaxCPUPercent: 50,
		Confine: &berth.Confinement{
			Profile: berth.ProfileStrict, Require: berth.RequirePrefer, Data: "/d",
			Allow: []string{"network:a:1", "filesystem:read:/x"}, Program: []string{"/p"},
		},
	}}
	var out request
	if err := decode(encode(nil, &in), &out); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out.Spec.Confine, in.Spec.Confine) || out.Spec.MaxProcesses != 7 || out.Spec.MaxCPUPercent != 50 {
		t.Errorf("got %+v %+v", *out.Spec, out.Spec.Confine)
	}
}

// TestRefuse: what is required and missing refuses a start, by name and with what to do.
func TestRefuse(t *testing.T) {
	enforced, partial := berth.Guarantee{State: berth.Enforced}, berth.Guarantee{State: berth.Partial, Gap: "a gap"}
	none := berth.Guarantee{State: berth.None, Gap: "no means"}
	for _, c := range []struct {
		name string
		have map[string]berth.Guarantee
		need map[string]berth.GuaranteeState
		most uint64
		want string
	}{
		{"all", map[string]berth.Guarantee{"fs-read": enforced}, map[string]berth.GuaranteeState{"fs-read": berth.Enforced}, 0, ""},
		{"enough", map[string]berth.Guarantee{"fs-read": partial}, map[string]berth.GuaranteeState{"fs-read": berth.Partial}, 0, ""},
		{"too little", map[string]berth.Guarantee{"fs-read": partial}, map[string]berth.GuaranteeState{"fs-read": berth.Enforced}, 0, "fs-read is partial (a gap)"},
		{"nothing", map[string]berth.Guarantee{"egress": none}, map[string]berth.GuaranteeState{"egress": berth.Partial}, 0, "egress is none (no means)"},
		{"not needed", map[string]berth.Guarantee{"egress": none}, nil, 0, ""},
		{"no limit", map[string]berth.Guarantee{"memory": none}, map[string]berth.GuaranteeState{"memory": berth.Enforced}, 0, ""},
		{"a limit", map[string]berth.Guarantee{"memory": none}, map[string]berth.GuaranteeState{"memory": berth.Enforced}, 1, "memory is none"},
	} {
		s := &shim{name: "a", spec: berth.ProcessSpec{MaxMemoryBytes: c.most}}
		err := s.refuse(&jail{need: c.need, report: sandbox.Report{Missing: []string{"mend this"}}}, c.have)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var hint *berth.Hinted
		if !errors.Is(err, berth.ErrUnenforced) || !strings.Contains(err.Error(), c.want) || !errors.As(err, &hint) || !strings.HasPrefix(hint.Hint, "mend this; ") {
			t.Errorf("%s: %v (%+v)", c.name, err, hint)
		}
	}
}

func TestGuaranteesChanged(t *testing.T) {
	enforced, partial := berth.Guarantee{State: berth.Enforced, How: "x"}, berth.Guarantee{State: berth.Partial, How: "x", Gap: "g"}
	none := berth.Guarantee{State: berth.None, Gap: "n"}
	for _, c := range []struct {
		before, now map[string]berth.Guarantee
		want        string
	}{
		{nil, nil, ""},
		{nil, map[string]berth.Guarantee{"memory": none}, ""},
		{nil, map[string]berth.Guarantee{"fs-read": enforced, "fs-write": enforced, "proc": partial}, "enforced, not none: fs-read, fs-write; partial, not none: proc (g)"},
		{map[string]berth.Guarantee{"egress": enforced}, map[string]berth.Guarantee{"egress": none}, "none, not enforced: egress (n)"},
		{map[string]berth.Guarantee{"egress": enforced}, map[string]berth.Guarantee{"egress": {State: berth.Enforced, How: "another"}}, ""},
	} {
		if got := guaranteesChanged(c.before, c.now); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.before, c.now, got, c.want)
		}
	}
}

// TestDenialsAreFew: however often a server tries what it may not, a few are told, and
// how many were not; before the server runs none is, for they are our own test.
func TestDenialsAreFew(t *testing.T) {
	type told struct {
		v      Violation
		hidden uint64
	}
	said := make(chan told, 1000)
	d := &denials{tell: func(v Violation, hidden uint64) { said <- told{v, hidden} }}
	d.add(Violation{Host: "self-test"})
	d.open()
	for i := range 500 {
		d.add(Violation{Host: "a", Port: 1})
		d.add(Violation{Host: fmt.Sprint("b", i), Port: 1})
	}
	seen := map[string]bool{}
	for range mostDenials {
		one := <-said
		if one.v.Host == "self-test" || seen[one.v.Host] {
			t.Errorf("told: %+v", one)
		}
		seen[one.v.Host] = true
	}
	d.mu.Lock()
	d.minute = d.minute.Add(-time.Minute)
	d.mu.Unlock()
	d.add(Violation{Host: "later", Grant: "network:later:443"})
	one := <-said
	if one.v.Host != "later" {
		t.Errorf("told: %+v", one)
	}
	// What they were is remembered, each once, the last ones last.
	kept := d.list()
	if n := len(kept); n != mostKept || kept[n-1].What != "later" || kept[n-1].Times != 1 || kept[n-1].Grant != "network:later:443" {
		t.Errorf("%d are kept, the last %+v", n, kept[max(0, n-1):])
	}
	d.add(Violation{Host: "later", Grant: "network:later:443"})
	if kept := d.list(); len(kept) != mostKept || kept[mostKept-1].Times != 2 || !slices.IsSortedFunc(kept, func(a, b berth.Denial) int { return a.At.Compare(b.At) }) {
		t.Errorf("again: %+v", kept)
	}
	if (*denials)(nil).list() != nil {
		t.Error("of a server that was never confined something is kept")
	}
	if len(said) != 0 {
		t.Errorf("%d more were told", len(said))
	}
	if printable("a\nb\x1b[31m") != `a\nb\x1b[31m` {
		t.Errorf("printable: %q", printable("a\nb\x1b[31m"))
	}
}
