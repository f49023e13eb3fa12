package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	berth "github.com/berth-run/berth"
)

// How a memory limit is kept, as reports name it.
const (
	memoryV2     = "cgroup v2 memory.max"
	memoryV1     = "cgroup v1 memory.limit_in_bytes"
	memoryRlimit = "RLIMIT_DATA"
)

// limitTree makes the limit for a tree that is held by a cgroup: in that one, if
// it has the memory controller.
func limitTree(s *Spec, at places, tree cgroup, l *limits) (memory, error) {
	if s.MaxMemoryBytes != 0 && capV2(tree, s.MaxMemoryBytes) == nil {
		return &memoryCgroup{dir: tree, how: memoryV2}, nil
	}
	at.unified = nil // the name is taken, and it has no such controller
	return limitMemory(s, at, l)
}

// limitMemory makes the limit that the spec asks for, by the strongest means
// that works: doing is the only proof. What the server must do itself before
// its exec is added to l.
func limitMemory(s *Spec, at places, l *limits) (memory, error) {
	if s.MaxMemoryBytes == 0 {
		return nil, nil
	}
	for _, try := range []struct {
		base string
		how  string
		set  func(cgroup, uint64) error
	}{
		{at.unifiedFor(true), memoryV2, capV2},
		{at.v1["memory"], memoryV1, capV1},
	} {
		if try.base == "" {
			continue
		}
		dir, err := makeCgroup(try.base, s.Incarnation)
		if err != nil {
			continue
		}
		if try.set(dir, s.MaxMemoryBytes) == nil && writable(dir) {
			l.join = append(l.join, dir.file("cgroup.procs"))
			return &memoryCgroup{dir: dir, how: try.how, own: true}, nil
		}
		if err := dir.remove(); err != nil {
			return nil, fmt.Errorf("start %q: limit memory: %w", s.Path, err)
		}
	}
	l.data = s.MaxMemoryBytes
	return &memoryCgroup{how: memoryRlimit}, nil
}

// writable says whether this user may move processes into the cgroup.
func writable(c cgroup) bool {
	// Writing nothing moves nothing, but is refused where a pid would be.
	err := c.write("cgroup.procs", "")
	return err == nil || !errors.Is(err, fs.ErrPermission)
}

func capV2(c cgroup, n uint64) error {
	if err := c.write("memory.max", strconv.FormatUint(n, 10)); err != nil {
		return err
	}
	_ = c.write("memory.swap.max", "0") // absent without swap accounting
	return nil
}

func capV1(c cgroup, n uint64) error {
	text := strconv.FormatUint(n, 10)
	if err := c.write("memory.limit_in_bytes", text); err != nil {
		return err
	}
	_ = c.write("memory.memsw.limit_in_bytes", text) // absent without swap accounting
	return nil
}

// memoryCgroup is a limit by a cgroup; without dir it is RLIMIT_DATA.
type memoryCgroup struct {
	dir cgroup
	how string
	own bool // the directory is only for the limit
}

func (m *memoryCgroup) guarantee() berth.Guarantee {
	if m.how == memoryRlimit {
		return berth.Guarantee{
			State: berth.Partial,
			How:   m.how,
			Gap:   "it limits each process by itself, and only its private memory; no memory cgroup may be written here",
		}
	}
	return berth.Guarantee{State: berth.Enforced, How: m.how}
}

// usage leaves out file pages that the kernel would drop first, as the figures
// that users compare with do.
func (m *memoryCgroup) usage() (uint64, bool) {
	current, inactive := "memory.current", "inactive_file"
	switch m.how {
	case memoryV1:
		current, inactive = "memory.usage_in_bytes", "total_inactive_file"
	case memoryRlimit:
		return 0, false
	}
	var buf [32]byte
	n, err := readInto(m.dir.file(current), buf[:])
	if err != nil {
		return 0, false
	}
	total, err := parseNumber(buf[:n])
	if err != nil {
		return 0, false
	}
	dropped, _ := m.dir.counter("memory.stat", inactive)
	return total - min(dropped, total), true
}

func (m *memoryCgroup) exceeded() bool {
	var n uint64
	switch m.how {
	case memoryV2:
		n, _ = m.dir.counter("memory.events", "oom_kill")
	case memoryV1:
		n, _ = m.dir.counter("memory.oom_control", "oom_kill")
	}
	return n > 0
}

func (m *memoryCgroup) cgroups() []string {
	if m.own {
		return []string{string(m.dir)}
	}
	return nil
}

func (m *memoryCgroup) handover(h *Handover) {
	h.MemoryHow = m.how
	if m.own {
		h.MemoryCgroup = string(m.dir)
	}
}

func adoptMemory(h *Handover) memory {
	if h.MemoryHow == "" {
		return nil
	}
	m := &memoryCgroup{dir: cgroup(h.MemoryCgroup), how: h.MemoryHow, own: h.MemoryCgroup != ""}
	if !m.own {
		m.dir = cgroup(h.Cgroup)
	}
	return m
}

func (m *memoryCgroup) close() error {
	if m.own {
		return m.dir.remove()
	}
	return nil
}

func closeMemory(m memory) error {
	if m == nil {
		return nil
	}
	return m.close()
}
