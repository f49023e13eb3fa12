//go:build linux

package conformance

import (
	"context"
	"os/exec"
	"path/filepath"
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
	suite := o.script(t, "@modelcontextprotocol/conformance/dist/index.js")
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
				result := o.clientScenario(t, suite, command, name, revision)
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
}

// clientScenario runs one scenario and returns what became of it. A warning is a
// failure here: what a client should do, this one does.
func (o others) clientScenario(t *testing.T, suite, command, name, revision string) outcome {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.node, suite,
		"client", "--command", command, "--scenario", name, "--spec-version", revision, "--output-dir", dir)
	cmd.Dir = dir
	out, runErr := cmd.CombinedOutput()
	all, err := results(dir)
	if err != nil || runErr != nil || len(all) != 1 {
		t.Errorf("%s, %s: %v, %v\n%s", revision, name, err, runErr, out)
	}
	return all[name]
}
