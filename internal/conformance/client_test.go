//go:build linux

package conformance

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// sdkClient is the conformance client of the Go SDK.
const sdkClient = "github.com/modelcontextprotocol/go-sdk/conformance/everything-client"

// TestClientHalf runs the client half of the official suite: its servers are added
// by their URLs, and the SDK's client goes through a gateway to them. What is about
// authorization is TestAuthSuite's.
func TestClientHalf(t *testing.T) {
	o := switchedOn(t)
	bin := released.Build(t)
	client := filepath.Join(t.TempDir(), "client")
	goTool(t, "../../tools/conformance", "build", "-o", client, sdkClient)
	driver, err := filepath.Abs("testdata/driver.sh")
	if err != nil {
		t.Fatal(err)
	}
	command := strings.Join([]string{driver, bin, client}, " ")
	for revision, want := range map[string]int{legacy: 4, modern: 7} {
		var names []string
		for _, name := range o.scored(t, revision, "client:") {
			if !strings.HasPrefix(name, "auth/") {
				names = append(names, name)
			}
		}
		if len(names) != want {
			t.Errorf("%s has %d scenarios, not %d: %q", revision, len(names), want, names)
		}
		o.clientScenarios(t, command, names, revision)
	}

	// The SDK's client knows nothing of skills.
	client = filepath.Join(t.TempDir(), "skillclient")
	goTool(t, "../../tools/conformance", "build", "-o", client, "./skillclient")
	skills := slices.DeleteFunc(o.extensions(t, "Client"), func(name string) bool { return !strings.HasPrefix(name, skillsScenarios) })
	if len(skills) != 4 {
		t.Errorf("the suite has %d scenarios of a client of skills, not 4: %q", len(skills), skills)
	}
	o.clientScenarios(t, strings.Join([]string{driver, bin, client}, " "), skills, modern)
}

// clientScenarios runs scenarios of a client, all of which have to pass.
func (o others) clientScenarios(t *testing.T, command string, names []string, revision string) {
	t.Helper()
	got := map[string]outcome{}
	var (
		mu   sync.Mutex // guards got
		runs sync.WaitGroup
	)
	slots := make(chan struct{}, 2) // each is mostly the start of processes
	for _, name := range names {
		slots <- struct{}{}
		runs.Go(func() {
			defer func() { <-slots }()
			result := o.scenario(t, name, revision, "client", "--command", command)
			mu.Lock()
			defer mu.Unlock()
			got[name] = result
		})
	}
	runs.Wait()
	checks := 0
	for _, result := range got {
		checks += result.passed
	}
	t.Logf("%s: %d scenarios of a client, %d checks pass", revision, len(names), checks)
	for _, fault := range faults(names, got, nil) {
		t.Errorf("%s: %s", revision, fault)
	}
}

// scenario runs the suite for one scenario, whether it scores that or not, and returns
// what became of it.
func (o others) scenario(t *testing.T, name, revision string, args ...string) outcome {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	suite := o.script(t, "@modelcontextprotocol/conformance/dist/index.js")
	args = slices.Concat([]string{suite}, args, []string{"--scenario", name, "--spec-version", revision, "--force", "--output-dir", dir})
	cmd := exec.CommandContext(ctx, o.node, args...)
	cmd.Dir = dir
	out, runErr := cmd.CombinedOutput()
	all, err := results(dir)
	if err != nil || runErr != nil || len(all) != 1 {
		t.Errorf("%s, %s: %v, %v\n%s", revision, name, err, runErr, out)
	}
	return all[name]
}
