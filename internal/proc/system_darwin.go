package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

const rootDir = "/"

// executable returns the binary for our own roles: the file that this program
// was started from.
func executable(path string) string {
	if path != "" {
		return path
	}
	if self, err := os.Executable(); err == nil {
		return self
	}
	return os.Args[0]
}

func pipe() ([2]int, error) {
	var p [2]int
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(p[:]); err != nil {
		return p, err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return p, nil
}

// closeOnExecFrom: see fork on Linux. There is no cheaper way than one by one.
func closeOnExecFrom(first int) {
	entries, _ := os.ReadDir("/dev/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}

// start starts the tree by the mechanism of the spec, which is not TreeAuto.
func start(s Spec) (*Tree, error) {
	if s.Mechanism != berth.TreeProcessGroup {
		return nil, fmt.Errorf("start %q: tree mechanism %q on macOS: %w", s.Path, s.Mechanism, errors.ErrUnsupported)
	}
	return startSwept(&s, places{})
}

func mechanisms() []berth.TreeMechanism {
	return []berth.TreeMechanism{berth.TreeProcessGroup}
}

// initMain is for PID namespaces, which macOS does not have.
func initMain([]string, Hooks) {}

// cleanSignals and ResetSignals: the runtime gives a child the default of every
// signal that it handles. What is ignored when berth starts stays ignored:
// without libc there is no way to change it here.
func cleanSignals() bool { return true }

func ResetSignals() {}

// places are for cgroups, which macOS does not have.
type places struct{}

// limitMemory sets a limit on each process, the only kind that there is.
func limitMemory(s *Spec, _ places, l *limits) (memory, error) {
	if s.MaxMemoryBytes == 0 {
		return nil, nil
	}
	l.data = s.MaxMemoryBytes
	return rlimitData{}, nil
}

// limitRest limits nothing: macOS counts processes by user, and has no share of
// processors.
func limitRest(s *Spec, _ places, _ string, _ memory, _ bool, _ *limits) ([]quota, error) {
	var all []quota
	for _, name := range s.quotas() {
		all = append(all, unlimited(name, "macOS has no limit that is the tree's alone"))
	}
	return all, nil
}

type rlimitData struct{}

func (rlimitData) guarantee() berth.Guarantee {
	return berth.Guarantee{
		State: berth.Partial,
		How:   "RLIMIT_DATA",
		Gap:   "macOS applies it to each process by itself, and not to mapped memory",
	}
}
func (rlimitData) usage() (uint64, bool) { return 0, false }
func (rlimitData) exceeded() bool        { return false }
func (rlimitData) cgroups() []string     { return nil }
func (rlimitData) handover(h *Handover)  { h.MemoryHow = "RLIMIT_DATA" }
func (rlimitData) close() error          { return nil }

func closeMemory(memory) error { return nil }

// orphanage: orphans fall to launchd, nobody else can have them.
type orphanage struct{}

func openOrphanage() (*orphanage, error) { return nil, errors.ErrUnsupported }

func (o *orphanage) members(int, string) ([]stat, error) { return nil, errors.ErrUnsupported }
func (o *orphanage) none() (bool, error)                 { return false, errors.ErrUnsupported }
func (o *orphanage) reap()                               {}
func (o *orphanage) leave()                              {}
func (o *orphanage) close()                              {}

// adopt makes a Tree of what an earlier image of this process left.
func adopt(h Handover) (*Tree, error) {
	if h.Mechanism != berth.TreeProcessGroup {
		return nil, fmt.Errorf("adopt the tree of %v: unknown mechanism %q", h.ID, h.Mechanism)
	}
	t := &Tree{id: h.ID, incarnation: h.Incarnation, mechanism: h.Mechanism, leader: newOutcome()}
	if h.MemoryHow != "" {
		t.memory = rlimitData{}
	}
	if h.Exit != nil {
		t.leader.resolve(*h.Exit)
	}
	leader := watch(t, &child{pid: h.ID.PID}, reapLast)
	t.holder = newSwept(leader, h.Incarnation, h.TreeLock, nil)
	return t, nil
}
