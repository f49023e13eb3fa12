package supervisor_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// A stop, or a start, that comes while what a killed shim left is dying by
// itself, waits for that: a process that is ending shows nothing of itself any
// more, but holds its locks a little longer.
func TestStopWhileTheTreeIsDying(t *testing.T) {
	needsMechanism(t, berth.TreePIDNamespace)
	w := newWorld(t)
	spec := sh(`i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all >&2; wait`)
	spec.Grace = berth.Duration(10 * time.Millisecond)
	spec.TreeKill = berth.TreePIDNamespace
	for i := range rounds(15, 6) {
		st := w.start("a", spec)
		if i%2 == 0 {
			w.awaitLog("a", "all")
		}
		w.kill(st.ShimPID)
		w.awaitShimEnd("a")
		if i%3 == 0 {
			w.start("a", spec)
		}
		w.stop("a")
		for _, pid := range w.membersOf("a") {
			// The namespace's first process is no part of the server, and ends
			// when it sees that nothing else is left.
			if name := procName(pid); running(pid) && name != "berth-init" {
				t.Errorf("round %d, after the stop: %s lives", i, describe(pid))
			}
		}
		equal(t, "status", w.status("a").Status, berth.Stopped)
		w.awaitShimEnd("a")
	}
}

// procName returns the first word of a process's command line, "" if it is gone.
func procName(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := strings.Cut(string(line), "\x00")
	return name
}
