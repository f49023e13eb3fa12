package supervisor_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// A spec that was written for the reference runs as it says.
func TestJ1_SpecOfTheReferenceRuns(t *testing.T) {
	var spec berth.ProcessSpec
	doc := `{"command":"sleep","args":["1000"],"env":{"TOKEN":"named","EMPTY":""},` +
		`"auto_restart":{"enabled":true,"max_restarts":2},"max_memory_bytes":null,"max_file_descriptors":77}`
	if err := json.Unmarshal([]byte(doc), &spec); err != nil {
		t.Fatal(err)
	}
	spec.Grace = deaf().Grace
	w := newWorld(t)
	st := w.start("a", spec)
	equal(t, "command line", procFile(t, st.PID, "cmdline"), "sleep\x001000\x00")
	for _, kv := range []string{"TOKEN=named", "EMPTY="} {
		if !slices.Contains(environOf(t, st.PID), kv) {
			t.Errorf("the environment has no %s", kv)
		}
	}
	for line := range strings.Lines(procFile(t, st.PID, "limits")) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			equal(t, "limit of open files", fmt.Sprint(strings.Fields(rest)[:2]), "[77 77]")
		}
	}
	equal(t, "most restarts", st.MaxRestarts, 2)
	w.kill(st.PID)
	equal(t, "restarts", w.awaitNext("a", st.Generation).Restarts, 1)
}
