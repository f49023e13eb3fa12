package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	berth "github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"golang.org/x/sys/unix"
)

// cgroupHolder keeps a tree in a cgroup of version 2. Each incarnation has a
// fresh one: after cgroup.kill, Linux 6.18 kills whatever is started into the
// same cgroup at birth, for clone3 compares the wrong cgroup's count of kills.
type cgroupHolder struct {
	dir    cgroup
	leader *follower
	// strays finds those that left the cgroup, which nothing forbids to a
	// server of the same user.
	strays *evidence
	lock   string
}

func newCgroupHolder(dir cgroup, leader *follower, incarnation, lock string) *cgroupHolder {
	return &cgroupHolder{dir: dir, leader: leader, strays: evidenceOf(incarnation, lock), lock: lock}
}

func startCgroup(s *Spec, at places) (*Tree, error) {
	if len(at.unified) == 0 {
		return nil, fmt.Errorf("start %q: no cgroup of version 2 is mounted here: %w", s.Path, errors.ErrUnsupported)
	}
	dir, err := makeCgroup(at.unifiedFor(s.MaxMemoryBytes != 0 || s.MaxProcesses != 0 || s.MaxCPUPercent != 0), s.Incarnation)
	if err != nil {
		return nil, fmt.Errorf("start %q: make a cgroup: %w", s.Path, err)
	}
	fail.Point("proc.start.cgroup-made")
	p := s.program()
	mem, err := limitTree(s, at, dir, &p.limits)
	if err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	rest, err := limitRest(s, at, dir, mem, false, &p.limits)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %q: %w", s.Path, err), closeMemory(mem), dir.remove())
	}
	c, err := startInto(dir, p)
	if err != nil {
		// A member that outlived the failed exec would keep the directory.
		_ = dir.killAll()
		_ = dir.waitEmpty(context.Background())
		return nil, errors.Join(s.explainStart(err), closeMemory(mem), closeQuotas(rest), dir.remove())
	}
	fail.Point("proc.start.cgroup-executed")
	t, leader, err := follow(s, c, mem, reapAtOnce)
	if err != nil {
		_ = dir.killAll()
		c.end()
		return nil, errors.Join(err, closeMemory(mem), closeQuotas(rest), dir.remove())
	}
	t.rest = rest
	t.holder = newCgroupHolder(dir, leader, s.Incarnation, s.lockPath())
	return t, nil
}

func startInto(dir cgroup, p program) (*child, error) {
	fd, err := unix.Open(string(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &startError{op: "open the cgroup", err: err}
	}
	defer unix.Close(fd)
	return p.start(syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: fd})
}

func (h *cgroupHolder) terminate() error { return h.dir.terminateAll() }

func (h *cgroupHolder) kill(ctx context.Context) ([]ID, error) {
	empty, err := h.empty()
	if err != nil || empty {
		return nil, err
	}
	fail.Point("proc.kill.cgroup-before")
	if err := h.dir.killAll(); err != nil {
		return nil, err
	}
	fail.Point("proc.kill.cgroup-sent")
	err = h.dir.waitEmpty(ctx)
	if err != nil && ctx.Err() != nil {
		return h.members()
	}
	if err != nil {
		return nil, err
	}
	fail.Point("proc.kill.cgroup-empty")
	hunt := hunt{scan: h.strays.scan, belongs: h.strays.tells}
	left, err := hunt.run(ctx)
	if err != nil {
		return nil, err
	}
	return identities(left)
}

func (h *cgroupHolder) members() ([]ID, error) {
	list, err := h.dir.pids()
	if err != nil {
		return nil, err
	}
	return identifyAll(list)
}

func (h *cgroupHolder) empty() (bool, error) {
	populated, err := h.dir.populated()
	return !populated, err
}

func (h *cgroupHolder) guarantee() berth.Guarantee {
	return berth.Guarantee{State: berth.Enforced, How: "cgroup"}
}

func (h *cgroupHolder) cgroups() []string { return []string{string(h.dir)} }

func (h *cgroupHolder) handover(o *Handover) error {
	o.Cgroup, o.TreeLock = string(h.dir), h.lock
	return h.leader.handover(o)
}

func (h *cgroupHolder) close() error {
	h.leader.close()
	fail.Point("proc.close.cgroup-before")
	return h.dir.remove()
}

// identifyAll names the processes that live, without this one.
func identifyAll(list []int) ([]ID, error) {
	w, err := thisWorld()
	if err != nil {
		return nil, err
	}
	var ids []ID
	for _, pid := range list {
		s, err := readStat(pid)
		switch {
		case isGone(err), err == nil && s.zombie(), pid == os.Getpid():
		case err != nil:
			return nil, err
		default:
			ids = append(ids, w.id(s))
		}
	}
	return ids, nil
}
