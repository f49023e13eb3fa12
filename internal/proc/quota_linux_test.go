package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
)

// manyRole tries to have a number of children at a time, and says how many it got and
// the error of the first that it did not.
func manyRole(args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		die("%v", err)
	}
	in, _, err := os.Pipe() // they end with this process
	if err != nil {
		die("%v", err)
	}
	got := 0
	for ; got < want; got++ {
		cmd := exec.Command("/bin/cat")
		cmd.Stdin = in
		if err = cmd.Start(); err != nil {
			break
		}
	}
	fmt.Println(got, err)
	buf := make([]byte, 1)
	_, _ = os.Stdin.Read(buf)
}

// TestProcessesAreLimited: a tree has no more processes than it may, where that is
// said to be enforced; its end is as complete as ever, and nothing is left in the
// hierarchies.
func TestProcessesAreLimited(t *testing.T) {
	const most, tried = 40, 90
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), role("many", strconv.Itoa(tried)), func(s *Spec) { s.MaxProcesses = most })
		g, ok := r.Quotas()[berth.GuaranteeProcesses]
		if !ok {
			t.Fatal("nothing is said of the limit")
		}
		var got int
		line := r.line()
		if _, err := fmt.Sscan(line, &got); err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: %s", g, line)
		switch {
		case g.State == berth.Enforced && (got >= most+initThreads || got == 0 || !strings.Contains(line, "temporarily unavailable")):
			t.Errorf("said to be enforced, but of %d processes there were %s", most, line)
		case g.State == berth.None && got != tried:
			t.Errorf("said not to be limited, but there were %s", line)
		case os.Geteuid() == 0 && g.State != berth.Enforced:
			t.Errorf("as root: %+v", g)
		case m == berth.TreePIDNamespace && g.State != berth.Enforced:
			t.Errorf("in a user namespace of its own: %+v", g)
		}
		r.mustKill()
	})
}

// TestProcessorsAreLimited: a tree that would have a whole processor gets its share.
func TestProcessorsAreLimited(t *testing.T) {
	needRoot(t)
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), shell("echo up; while :; do :; done"), func(s *Spec) { s.MaxCPUPercent = 20 })
		mustBe(t, "state", r.Quotas()[berth.GuaranteeCPU].State, berth.Enforced)
		mustBe(t, "the server", r.line(), "up")
		const period = 2 * time.Second
		before, start := cpuTime(t, r.PID()), time.Now()
		<-time.After(period) // how much it gets in a time is what is measured
		share := float64(cpuTime(t, r.PID())-before) / float64(time.Since(start))
		t.Logf("%s: %.0f %% of a processor", r.Quotas()[berth.GuaranteeCPU].How, share*100)
		if share > 0.35 {
			t.Errorf("it had %.0f %% of a processor, allowed are 20", share*100)
		}
		r.mustKill()
	})
}

// cpuTime is what a process has had of processors.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "schedstat"))
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscan(string(text), &n); err != nil {
		t.Fatal(err)
	}
	return time.Duration(n)
}

// TestLimitsTogether: all of them at once, also across a handover.
func TestLimitsTogether(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		// No checkLeaks: a handover leaves the handles of this image to the exec.
		r := startRig(t, withMechanism(m), shell("echo up; read x"), func(s *Spec) {
			s.MaxMemoryBytes, s.MaxProcesses, s.MaxCPUPercent, s.MaxFileDescriptors = 256<<20, 32, 50, 64
		})
		mustBe(t, "the server", r.line(), "up")
		before := r.Quotas()
		mustBe(t, "quotas", len(before), 2)
		h, err := r.Handover()
		if err != nil {
			t.Fatal(err)
		}
		if r.Tree, err = Adopt(h); err != nil {
			t.Fatal(err)
		}
		for name, g := range r.Quotas() {
			mustBe(t, name, g, before[name])
		}
		r.mustKill()
	})
}
