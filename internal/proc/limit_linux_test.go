package proc

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
)

// dd is a server that takes so much memory at once and then writes it all.
func dd(size string) options {
	return program1("/usr/bin/dd", "if=/dev/zero", "bs="+size, "count=1", "status=none")
}

// TestMemoryLimit: a server that takes more than its limit is ended, and its
// exit says why; one that takes less is not.
func TestMemoryLimit(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		limit := func(s *Spec) { s.MaxMemoryBytes = 256 << 20 }
		for _, run := range []options{dd("600M"), shell("dd if=/dev/zero bs=600M count=1 status=none; exit $?")} {
			r := startRig(t, withMechanism(m), run, limit)
			_, g := r.Guarantee()
			e := r.awaitExit()
			switch g.State {
			case berth.Enforced:
				mustBe(t, "out of memory", e.OutOfMemory, true)
			case berth.Partial:
				if g.Gap == "" {
					t.Error("a partial guarantee without a gap")
				}
				mustBe(t, "exit", e.String(), "exit code 1")
			default:
				t.Errorf("memory guarantee %+v", g)
			}
			if os.Geteuid() == 0 {
				mustBe(t, "memory guarantee of root", g.State, berth.Enforced)
			}
			r.mustKill()
		}

		r := startRig(t, withMechanism(m), dd("32M"), limit)
		if _, err := r.stdout.ReadByte(); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Memory(); err != nil || n < 32<<20 || n > 256<<20 {
			t.Errorf("Memory: %d, %v", n, err)
		}
		r.mustBeDeserted()
		mustBe(t, "exit", r.awaitExit().String(), "exit code 0")
		r.mustKill()
	})
}

// TestMemoryOfTheWholeTree: without a limit the members are summed up.
func TestMemoryOfTheWholeTree(t *testing.T) {
	checkLeaks(t)
	r := startRig(t, withMechanism(berth.TreeSubreaper), shell("dd if=/dev/zero bs=32M count=1 status=none & wait"))
	if _, err := r.stdout.ReadByte(); err != nil {
		t.Fatal(err)
	}
	n, err := r.Memory()
	if err != nil || n < 32<<20 || n > 64<<20 {
		t.Errorf("Memory: %d, %v", n, err)
	}
	_, g := r.Guarantee()
	mustBe(t, "guarantee without a limit", g, berth.Guarantee{})
	r.mustKill()
}

// TestSurvivors: what cannot be killed in time is named, and ended later.
func TestSurvivors(t *testing.T) {
	needRoot(t)
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), shell(one+` & echo up; wait`))
		r.awaitUp(2)
		// A process that is frozen by version 1 does not die before it thaws.
		thaw := freezeV1(t, r.PID())
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		survivors, err := r.Kill(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(survivors, r.ID()) {
			t.Errorf("survivors %v do not name %v", survivors, r.ID())
		}
		if empty, err := r.Empty(); empty || err != nil {
			t.Errorf("Empty: %v, %v", empty, err)
		}
		thaw()
		r.mustKill()
	})
}

// freezeV1 freezes a process until the function that it returns is called.
func freezeV1(t *testing.T, pid int) func() {
	t.Helper()
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mountinfo)) {
		// proc_pid_mountinfo(5): the fifth field is the mount point; after the hyphen
		// are kind, source and options, which name the controllers.
		before, after, _ := strings.Cut(line, " - ")
		at, of := strings.Fields(before), strings.Fields(after)
		if len(at) < 5 || len(of) < 3 || of[0] != "cgroup" || !slices.Contains(strings.Split(of[2], ","), "freezer") {
			continue
		}
		dir, err := makeCgroup(at[4], NewIncarnation(randomHex()))
		if err != nil {
			t.Skip(err)
		}
		thaw := func() {
			if err := dir.write("freezer.state", "THAWED"); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(func() {
			thaw()
			if err := dir.remove(); err != nil {
				t.Error(err)
			}
		})
		if err := dir.write("cgroup.procs", strconv.Itoa(pid)); err != nil {
			t.Fatal(err)
		}
		if err := dir.write("freezer.state", "FROZEN"); err != nil {
			t.Fatal(err)
		}
		return thaw
	}
	t.Skip("no freezer of cgroup v1")
	return nil
}
