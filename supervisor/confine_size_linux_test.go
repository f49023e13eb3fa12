package supervisor_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// mostInit bounds the memory of the one process that a confined server has beside its
// shim.
const mostInit = 300 << 10

// TestConfinedInitIsSmall measures it, with nothing shared: of several servers each
// has less.
func TestConfinedInitIsSmall(t *testing.T) {
	w := newWorld(t)
	spec := berth.ProcessSpec{Command: "/bin/cat"}
	spec.Confine = &berth.Confinement{Profile: berth.ProfileStandard}
	st := w.start("a", spec)
	if os.Geteuid() != 0 {
		t.Skip("the init is closed to who is not root")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the small init is written for amd64")
	}
	parent, err := strconv.Atoi(statOf(st.PID)[1])
	if err != nil || parent == st.ShimPID {
		needs(t, false, "a PID namespace")
	}
	// It has yet to become what it stays, once the server runs.
	pss := pssOf(t, parent)
	for end := time.Now().Add(patience); pss > mostInit && time.Now().Before(end); pss = pssOf(t, parent) {
		runtime.Gosched()
	}
	name := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	for end := time.Now().Add(patience); name() != "berth-init" && time.Now().Before(end); {
		runtime.Gosched()
	}
	equal(t, "what ps calls it", name(), "berth-init")
	t.Logf("the init takes %d KiB, the shim %d KiB", pss>>10, pssOf(t, st.ShimPID)>>10)
	if pss > mostInit {
		t.Errorf("the init takes %d KiB, more than %d", pss>>10, mostInit>>10)
	}
	w.stop("a")
}

// pssOf is the memory of a process, what it shares by parts.
func pssOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no Pss of process %d:\n%s", pid, text)
	return 0
}

// TestConfinedStartIsQuick compares a start with one that is not confined, once it is
// known what this system can do.
func TestConfinedStartIsQuick(t *testing.T) {
	w := newWorld(t)
	plain, confined := berth.ProcessSpec{Command: "/bin/cat"}, berth.ProcessSpec{Command: "/bin/cat"}
	confined.Confine = &berth.Confinement{Profile: berth.ProfileStandard}
	took := func(name string, spec berth.ProcessSpec) time.Duration {
		best := time.Hour
		for range rounds(20, 5) {
			begin := time.Now()
			w.start(name, spec)
			best = min(best, time.Since(begin))
			w.stop(name)
			w.awaitShimEnd(name)
		}
		return best
	}
	took("confined", confined) // it tries what works
	p, c := took("plain", plain), took("confined", confined)
	t.Logf("plain %v, confined %v: %v more", p, c, c-p)
}
