package supervisor_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// hog takes memory without end: it waits for a newline that never comes.
func hog(limit uint64) berth.ProcessSpec {
	return berth.ProcessSpec{Command: "tail", Args: []string{"/dev/zero"}, MaxMemoryBytes: limit}
}

func TestA6_DescriptorLimitHolds(t *testing.T) {
	w := newWorld(t)
	spec := sh("echo soft=$(ulimit -Sn) hard=$(ulimit -Hn) >&2; cat >/dev/null")
	spec.MaxFileDescriptors = 77
	w.start("a", spec)
	w.awaitLog("a", "soft=77 hard=77")
}

func TestA6_MemoryLimitHolds(t *testing.T) {
	w := newWorld(t)
	w.startBriefly("a", hog(64<<20))
	st := w.awaitPhase("a", berth.PhaseExited)
	w.awaitShimEnd("a")
	switch g := st.Guarantees[berth.GuaranteeMemory]; g.State {
	case berth.Enforced:
		if st.LastExit.Signal != "SIGKILL" || !st.LastExit.OutOfMemory || !strings.Contains(st.LastExit.String(), "out of memory") {
			t.Errorf("exit: %v", st.LastExit)
		}
		equal(t, "detail of the record", w.last("a", "exit").Detail, "out of memory")
		if again := w.status("a"); !again.LastExit.OutOfMemory {
			t.Errorf("on disk: %v", again.LastExit)
		}
	case berth.Partial:
		if g.How != "RLIMIT_DATA" || g.Gap == "" || st.LastExit.OutOfMemory {
			t.Errorf("guarantee %+v, exit %v", g, st.LastExit)
		}
	default:
		t.Errorf("guarantees: %+v", st.Guarantees)
	}
}

// The limit is that of the tree, not of its first process.
func TestA6_MemoryLimitOfTheTree(t *testing.T) {
	w := newWorld(t)
	spec := sh("tail /dev/zero & wait $!; echo hog ended with $? >&2; cat >/dev/null")
	spec.MaxMemoryBytes = 64 << 20
	st := w.start("a", spec)
	needs(t, st.Guarantees[berth.GuaranteeMemory].State == berth.Enforced, "a writable memory cgroup")
	w.awaitLog("a", "hog ended with 137")
}

// Without a writable cgroup each process is limited by itself, and Berth says
// so.
func TestA6_MemoryLimitWithoutCgroups(t *testing.T) {
	g := newGuest(t)
	a := g.call(request{Verb: "start", Name: "a", Spec: withMemory(sh("cat >/dev/null"), 64<<20)})
	if got := a.Status.Guarantees[berth.GuaranteeMemory]; a.Outcome != "started" || got.State != berth.Partial || got.How != "RLIMIT_DATA" || got.Gap == "" {
		t.Fatalf("start: %+v", a)
	}
	equal(t, "the hog", g.call(request{Verb: "start", Name: "b", Spec: hog(64 << 20)}).Outcome, "started")
	g.awaitShimEnd("b")
	b := g.call(request{Verb: "status", Name: "b"}).Status
	if b.Phase != berth.PhaseExited || b.LastExit == nil || b.LastExit.Code == nil || *b.LastExit.Code == 0 || b.LastExit.OutOfMemory {
		t.Errorf("the hog: %+v", b)
	}
}

func withMemory(s berth.ProcessSpec, limit uint64) berth.ProcessSpec {
	s.MaxMemoryBytes = limit
	return s
}

// A limit on the address space would kill node before its first line; ours
// leaves it alone.
func TestA6_NodeStartsAt512M(t *testing.T) {
	node, err := exec.LookPath("node")
	needs(t, err == nil, "node")
	spec := berth.ProcessSpec{
		Command: node, MaxMemoryBytes: 512 << 20,
		Args: []string{"-e", `process.stdin.on("data", () => {}); console.error("node is up")`},
	}
	t.Run("root", func(t *testing.T) {
		w := newWorld(t)
		w.start("a", spec)
		w.awaitLog("a", "node is up")
	})
	t.Run("nobody", func(t *testing.T) {
		g := newGuest(t)
		g.call(request{Verb: "start", Name: "a", Spec: spec})
		// Its log is its own; the one who can read it, reads it with the
		// server's end.
		g.call(request{Verb: "stop", Name: "a"})
		if log := g.read("logs", "a.log"); !strings.Contains(log, "node is up") {
			t.Errorf("the log: %q", log)
		}
	})
}

func TestA6_LimitThatCannotBeSet(t *testing.T) {
	w := newWorld(t)
	spec := idle()
	spec.MaxFileDescriptors = 1 << 40 // beyond fs.nr_open
	outcome, err := w.m.Start(w.ctx, "a", spec)
	if outcome != 0 || err == nil || !strings.Contains(err.Error(), "limit open files") {
		t.Errorf("start: %v, %v", outcome, err)
	}
	w.hasNotStarted("a")
}
