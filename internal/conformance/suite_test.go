//go:build linux

package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// others are the programs of other people that the tests run.
type others struct {
	node    string // 22.19 or newer
	modules string // the node_modules that npm made of .ci/npm
}

// switchedOn returns them, or skips the test.
func switchedOn(t *testing.T) others {
	t.Helper()
	o := others{node: os.Getenv("BERTH_TEST_NODE24"), modules: filepath.Join(os.Getenv("BERTH_TEST_NPM"), "node_modules")}
	if o.node == "" || os.Getenv("BERTH_TEST_NPM") == "" {
		t.Skip("this test needs BERTH_TEST_NPM and BERTH_TEST_NODE24; CONTRIBUTING.md says how to get them")
	}
	return o
}

// script returns the path of a file in a package that npm installed.
func (o others) script(t *testing.T, path string) string {
	t.Helper()
	path = filepath.Join(o.modules, filepath.FromSlash(path))
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("what .ci/npm lists is not all below BERTH_TEST_NPM: %v", err)
	}
	return path
}

// required lists the scenarios that a server has to pass for a revision: those
// that the suite scores, and two that it does not score yet.
func (o others) required(t *testing.T, revision string) []string {
	t.Helper()
	names := o.scored(t, revision, "server:")
	if want := map[string]int{legacy: 30, modern: 37}[revision]; len(names) != want {
		t.Fatalf("%s has %d scenarios, not %d: %q", revision, len(names), want, names)
	}
	if revision == modern {
		names = append(names, "http-header-validation", "http-custom-header-server-validation")
	}
	return names
}

// scored lists the scenarios that the suite scores for a revision and a leg.
func (o others) scored(t *testing.T, revision, leg string) []string {
	t.Helper()
	file, err := os.Open(o.script(t, "@modelcontextprotocol/conformance/requirements/"+revision+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var names []string
	section := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if item, ok := strings.CutPrefix(line, "  - "); ok && section == leg {
			names = append(names, strings.TrimSpace(item))
		} else if line != "" && line[0] != ' ' && line[0] != '#' {
			section = line
		}
	}
	return names
}

// suiteLimit bounds one run of the suite, which takes seconds where nothing
// hangs.
const suiteLimit = 5 * time.Minute

// suite runs the official suite for a revision at a URL and returns what became
// of each scenario.
func (o others) suite(t *testing.T, url, revision string) map[string]outcome {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.node, o.script(t, "@modelcontextprotocol/conformance/dist/index.js"),
		"server", "--url", url, "--requirements", revision, "--output-dir", dir)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	// Its exit code is a summary of what it leaves in the directory.
	out, runErr := cmd.CombinedOutput()
	got, err := results(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || ctx.Err() != nil {
		t.Errorf("the suite ended with %v after %d scenarios:\n%s", runErr, len(got), out)
	}
	return got
}

// resultDir is the name of what the suite leaves for one scenario.
var resultDir = regexp.MustCompile(`^(?:server-)?(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$`)

// results reads what the suite left: a directory for each scenario, a file with
// its checks in it.
func results(dir string) (map[string]outcome, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	got := map[string]outcome{}
	for _, entry := range entries {
		m := resultDir.FindStringSubmatch(entry.Name())
		if m == nil {
			return nil, fmt.Errorf("the suite left %q, which is not the name of a result", entry.Name())
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name(), "checks.json"))
		if err != nil {
			return nil, err
		}
		if _, twice := got[m[1]]; twice {
			return nil, fmt.Errorf("the suite left two results of %s", m[1])
		}
		if got[m[1]], err = parseChecks(data); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	return got, nil
}

// should begins what a check of the suite only warns of.
const should = "it should: "

func parseChecks(data []byte) (o outcome, err error) {
	var checks []struct {
		ID, Description, Status, ErrorMessage string
		Details                               json.RawMessage
	}
	if err := json.Unmarshal(data, &checks); err != nil {
		return o, err
	}
	for _, c := range checks {
		switch c.Status {
		case "SUCCESS":
			o.passed++
		case "FAILURE":
			o.failed++
			o.why = append(o.why, fmt.Sprintf("%s: %s: %s", c.ID, c.Description, firstOf(c.ErrorMessage, string(c.Details))))
		case "WARNING":
			o.why = append(o.why, should+fmt.Sprintf("%s: %s: %s", c.ID, c.Description, firstOf(c.ErrorMessage, string(c.Details))))
		case "INFO", "SKIPPED":
		default:
			return o, fmt.Errorf("check %s has the status %q", c.ID, c.Status)
		}
	}
	return o, nil
}

// firstOf returns the first text that is there, cut where it is endless.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text[:min(len(text), 600)]
		}
	}
	return "no reason given"
}

// check runs the suite for a revision and fails the test with all that is not as
// expected.
func (o others) check(t *testing.T, url, revision string, want expected) {
	t.Helper()
	required := o.required(t, revision)
	begun := time.Now()
	got := o.suite(t, url, revision)
	took := time.Since(begun)
	passed, checks := 0, 0
	for _, name := range required {
		if got[name].ok() {
			passed++
		}
		checks += got[name].passed
	}
	t.Logf("%s: %d of %d scenarios pass, %d checks, in %.1f s", revision, passed, len(required), checks, took.Seconds())
	for _, fault := range faults(required, got, want) {
		t.Errorf("%s: %s", revision, fault)
	}
}

// serve runs the subject as an HTTP server of its own and returns its URL.
func serve(t *testing.T, path string, args ...string) string {
	t.Helper()
	return "http://" + released.Serve(t, path, func(addr string) []string { return append([]string{"-http", addr}, args...) }) + "/"
}

// TestSuiteDirect: the suite passes where nothing is between it and the server,
// so what fails through Berth is Berth's, and the harness can tell: it finds
// what a server of the other era fails.
func TestSuiteDirect(t *testing.T) {
	o := switchedOn(t)
	path := dual.build(t)
	stateful, stateless := serve(t, path, "-stateless=false"), serve(t, path)
	o.check(t, stateful, legacy, nil)
	o.check(t, stateless, modern, nil)

	failing := faults(o.required(t, modern), o.suite(t, stateful, modern), nil)
	if !slices.ContainsFunc(failing, func(f string) bool { return strings.HasPrefix(f, "server-stateless: ") }) {
		t.Errorf("a legacy server passes for a modern one: %q", failing)
	}
}

var (
	atURL   = flag.String("url", "", "what TestSuiteAt tests")
	atSetup = flag.String("setup", "both", "the setup in testdata/baseline.txt that it is in")
)

// TestSuiteAt runs the suite at a URL.
func TestSuiteAt(t *testing.T) {
	o := switchedOn(t)
	if *atURL == "" {
		t.Skip("only where -url names something to test")
	}
	b := readBaseline(t)
	for _, revision := range []string{legacy, modern} {
		o.check(t, *atURL, revision, b[[2]string{*atSetup, revision}])
	}
}
