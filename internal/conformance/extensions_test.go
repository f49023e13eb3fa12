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

// skillsScenarios begins the names of those of the extension of skills.
const skillsScenarios = "sep-2640-"

// TestExtensions runs what the suite has for the extensions of tasks and skills through
// Berth, at a server that implements them.
func TestExtensions(t *testing.T) {
	o := switchedOn(t)
	path := filepath.Join(t.TempDir(), "extserver")
	goTool(t, "../../tools/conformance", "build", "-o", path, "./extserver")
	s := released.NewSite(t, released.Build(t))
	s.Berth("add", "ext", "--profile", "off", "--", path)
	defer s.Logs("ext")
	url := s.Up().URL + "/servers/ext/mcp"
	all := o.extensions(t, "Server")
	o.tasks(t, url, slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !strings.HasPrefix(name, "tasks-") }))
	o.skills(t, url, slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, skillsScenarios) }))
}

func (o others) tasks(t *testing.T, url string, names []string) {
	if len(names) != 10 {
		t.Errorf("the suite has %d scenarios of tasks, not 10: %q", len(names), names)
	}
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

func (o others) skills(t *testing.T, url string, names []string) {
	if len(names) != 3 {
		t.Errorf("the suite has %d scenarios of skills, not 3: %q", len(names), names)
	}
	got, checks := map[string]outcome{}, 0
	for _, name := range names {
		got[name] = o.scenario(t, name, modern, "server", "--url", url)
		checks += got[name].passed
		for _, why := range got[name].why {
			if strings.HasPrefix(why, should) {
				t.Errorf("%s: %s", name, why)
			}
		}
	}
	t.Logf("%d scenarios of skills, %d checks pass", len(names), checks)
	for _, fault := range faults(names, got, nil) {
		t.Error(fault)
	}
}
