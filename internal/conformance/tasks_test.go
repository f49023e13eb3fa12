//go:build linux

package conformance

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// extensionScenario is a line of what the suite lists.
var extensionScenario = regexp.MustCompile(`(?m)^  - (\S+) \[extension\]$`)

// extensions lists the scenarios of extensions that the suite has for a server, or
// for a client: it runs them and scores none.
func (o others) extensions(t *testing.T, leg string) (names []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), o.node, o.script(t, "@modelcontextprotocol/conformance/dist/index.js"), "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(out), leg+" scenarios ")
	if !ok {
		t.Fatalf("the suite lists nothing for %s:\n%s", leg, out)
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range extensionScenario.FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	return names
}

// unchecked are scenarios in which the suite checks nothing yet: what it says of
// tasks-status-notifications is that its harness has to be written again.
var unchecked = []string{"tasks-status-notifications"}

// TestTasks runs what the suite has for the extension of tasks through Berth, at a
// server that implements it.
func TestTasks(t *testing.T) {
	o := switchedOn(t)
	names := slices.DeleteFunc(o.extensions(t, "Server"), func(name string) bool { return !strings.HasPrefix(name, "tasks-") })
	if len(names) != 10 {
		t.Errorf("the suite has %d scenarios of tasks, not 10: %q", len(names), names)
	}
	path := filepath.Join(t.TempDir(), "taskserver")
	goTool(t, "../../tools/conformance", "build", "-o", path, "./taskserver")
	s := released.NewSite(t, released.Build(t))
	s.Berth("add", "ext", "--profile", "off", "--", path)
	defer s.Logs("ext")
	url := s.Up().URL + "/servers/ext/mcp"
	got := o.suite(t, url, modern) // which has those that it does not score, too
	checks := 0
	for _, r := range got {
		checks += r.passed
	}
	for _, name := range unchecked {
		if r := got[name]; r.passed+r.failed != 0 {
			t.Errorf("%s checks something now: %d pass, %d fail", name, r.passed, r.failed)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(unchecked, name) })
	passed := 0
	for _, name := range names {
		if got[name].ok() {
			passed++
		}
	}
	t.Logf("%d of %d scenarios of tasks pass, %d checks; nothing is checked in %q", passed, len(names), checks, unchecked)
	for _, fault := range faults(names, got, readBaseline(t)[[2]string{"tasks", modern}]) {
		t.Error(fault)
	}
}
