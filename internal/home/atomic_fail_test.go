//go:build failpoint && unix

package home

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A crash at each step of replacing a file leaves the old one or the new one.
func TestCrashWhileReplacing(t *testing.T) {
	for _, c := range []struct {
		point string
		isNew bool
	}{
		{"home.replace.created", false},
		{"home.replace.written", false},
		{"home.replace.synced", false},
		{"home.replace.renamed", true},
		{"home.replace.done", true},
	} {
		t.Run(c.point, func(t *testing.T) {
			h := openTestHome(t)
			if err := h.WriteState("s", bigState(1)); err != nil {
				t.Fatal(err)
			}
			points := t.TempDir()
			if err := os.WriteFile(filepath.Join(points, c.point), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$")
			cmd.Env = append(os.Environ(), "HOME_TEST_HELPER=once", "HOME_TEST_PATH="+h.Dir(), "BERTH_FAILPOINTS="+points)
			out, err := cmd.CombinedOutput()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v\n%s", err, out)
			}
			st, found, err := h.ReadState("s")
			if err != nil || !found || !whole(st) || (st.PID == 7) != c.isNew {
				t.Errorf("found %v, %v, pid %d, whole %v", found, err, st.PID, whole(st))
			}
			if err := h.WriteState("s", bigState(2)); err != nil {
				t.Errorf("the next write: %v", err)
			}
		})
	}
}
