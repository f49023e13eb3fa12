package conformance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The revisions whose requirement sets are run.
const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

// expected are the scenarios that fail in one setup under one revision, with the
// reason.
type expected map[string]string

// baseline is the file of expected failures, by setup and revision.
type baseline map[[2]string]expected

func readBaseline(t *testing.T) baseline {
	t.Helper()
	text, err := os.ReadFile("testdata/baseline.txt")
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseBaseline(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parseBaseline(text string) (baseline, error) {
	b := baseline{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 4 {
			return nil, fmt.Errorf("%q is not: setup, revision, scenario, reason", strings.TrimSpace(line))
		}
		where, scenario := [2]string{fields[0], fields[1]}, fields[2]
		if b[where] == nil {
			b[where] = expected{}
		}
		if _, twice := b[where][scenario]; twice {
			return nil, fmt.Errorf("%s %s %s is named twice", fields[0], fields[1], scenario)
		}
		b[where][scenario] = strings.Join(fields[3:], " ")
	}
	return b, nil
}

// outcome is what became of the checks of one scenario.
type outcome struct {
	passed, failed int
	why            []string // of each check that failed, or warns
}

// ok says whether a scenario passed. One that checked nothing did not.
func (o outcome) ok() bool { return o.failed == 0 && o.passed > 0 }

// faults compares what became of the required scenarios with what is expected.
func faults(required []string, got map[string]outcome, want expected) []string {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, scenario := range required {
		o, ran := got[scenario]
		_, named := want[scenario]
		switch {
		case !ran:
			add("%s: no result", scenario)
		case o.ok() && named:
			add("%s passes: take it out of testdata/baseline.txt", scenario)
		case o.failed > 0 && !named:
			add("%s: %d checks passed, %d failed:\n\t%s", scenario, o.passed, o.failed, strings.Join(o.why, "\n\t"))
		case o.failed == 0 && !o.ok():
			add("%s: nothing was checked", scenario)
		}
	}
	for _, scenario := range slices.Sorted(maps.Keys(want)) {
		if !slices.Contains(required, scenario) {
			add("%s is expected to fail and is no required scenario", scenario)
		}
	}
	return faults
}

func TestFaultsAreFound(t *testing.T) {
	pass, fail := outcome{passed: 2}, outcome{passed: 1, failed: 1, why: []string{"because"}}
	for _, c := range []struct {
		name string
		got  map[string]outcome
		want expected
		say  string
	}{
		{"all pass", map[string]outcome{"a": pass, "b": pass}, nil, ""},
		{"a named one fails", map[string]outcome{"a": pass, "b": fail}, expected{"b": "x"}, ""},
		{"what is not required may fail", map[string]outcome{"a": pass, "b": pass, "c": fail}, nil, ""},
		{"one fails that is not named", map[string]outcome{"a": fail, "b": pass}, nil, "a: 1 checks passed, 1 failed:\n\tbecause"},
		{"a named one passes", map[string]outcome{"a": pass, "b": pass}, expected{"b": "x"}, "b passes: take it out of testdata/baseline.txt"},
		{"one is missing", map[string]outcome{"a": pass}, nil, "b: no result"},
		{"a named one is missing", map[string]outcome{"a": pass}, expected{"b": "x"}, "b: no result"},
		{"one checked nothing", map[string]outcome{"a": pass, "b": {}}, nil, "b: nothing was checked"},
		{"a named one checked nothing", map[string]outcome{"a": pass, "b": {}}, expected{"b": "x"}, "b: nothing was checked"},
		{"an unknown name", map[string]outcome{"a": pass, "b": pass}, expected{"z": "x"}, "z is expected to fail and is no required scenario"},
	} {
		if got := strings.Join(faults([]string{"a", "b"}, c.got, c.want), "; "); got != c.say {
			t.Errorf("%s: got %q, want %q", c.name, got, c.say)
		}
	}
}

func TestBaselineFaultsAreFound(t *testing.T) {
	for text, want := range map[string]string{
		"# nothing\n\n":      "<nil>",
		"s r a why it is\n":  "<nil>",
		"s r a\n":            `"s r a" is not: setup, revision, scenario, reason`,
		"s r a x\ns r a y\n": "s r a is named twice",
	} {
		_, err := parseBaseline(text)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestBaselineHoldsNoOtherName: Berth promises to fail no more than this; the
// file may only become shorter.
func TestBaselineHoldsNoOtherName(t *testing.T) {
	asks := []string{"elicitation-sep1034-defaults", "elicitation-sep1330-enums", "tools-call-elicitation", "tools-call-sampling"}
	shared := []string{"server-stateless"}
	may := map[[2]string][]string{
		{"modern", legacy}:        asks,
		{"modern-only", legacy}:   asks,
		{"remote-modern", legacy}: asks,
		{"legacy-only", modern}:   shared,
		{"remote-legacy", modern}: shared,
		// Ways of OAuth that Berth does not have.
		{"oauth", modern}: {"auth/client-credentials-jwt", "auth/client-credentials-basic", "auth/enterprise-managed-authorization", "auth/dpop", "auth/dpop-nonce", "auth/wif-jwt-bearer"},
	}
	for where, names := range readBaseline(t) {
		for name := range names {
			if !slices.Contains(may[where], name) {
				t.Errorf("%s %s: %s has to pass", where[0], where[1], name)
			}
		}
	}
}
