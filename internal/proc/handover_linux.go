package proc

import (
	"fmt"
	"os"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// adopt makes a Tree of what an earlier image of this process left.
func adopt(h Handover) (*Tree, error) {
	t := &Tree{id: h.ID, incarnation: h.Incarnation, mechanism: h.Mechanism, leader: newOutcome(), memory: adoptMemory(&h), rest: h.Quotas}
	if h.Exit != nil {
		t.leader.resolve(*h.Exit)
	}
	var err error
	switch h.Mechanism {
	case berth.TreeCgroup:
		var leader *follower
		if leader, err = adoptLeader(t, &h, reapAtOnce); err == nil {
			t.holder = newCgroupHolder(cgroup(h.Cgroup), leader, h.Incarnation, h.TreeLock)
		}
	case berth.TreePIDNamespace:
		t.holder, err = adoptPIDNamespace(t, &h)
	case berth.TreeSubreaper, berth.TreeProcessGroup:
		t.holder, err = adoptSwept(t, &h)
	default:
		err = fmt.Errorf("unknown mechanism %q", h.Mechanism)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt the tree of %v: %w", h.ID, err)
	}
	return t, nil
}

// adoptLeader watches a leader that was handed over. One that was reaped before
// has left its exit and no handle.
func adoptLeader(t *Tree, h *Handover, policy reaping) (*follower, error) {
	fd, ok := h.Handles["leader"]
	if !ok {
		f := &follower{outcome: t.leader, child: &child{pid: h.ID.PID}, policy: policy, reaped: true, cancel: func() {}, ended: make(chan struct{})}
		close(f.ended)
		return f, nil
	}
	c, err := adoptHandle(h.ID.PID, fd)
	if err != nil {
		return nil, err
	}
	return watch(t, c, policy), nil
}

func adoptHandle(pid, fd int) (*child, error) {
	unix.CloseOnExec(fd)
	if got, err := pidOf(fd); err != nil || got != pid {
		return nil, fmt.Errorf("descriptor %d is not a handle of pid %d: %w", fd, pid, os.ErrInvalid)
	}
	return adoptChild(pid, fd)
}

func adoptSwept(t *Tree, h *Handover) (holder, error) {
	var orphans *orphanage
	policy := reapLast
	if h.Mechanism == berth.TreeSubreaper {
		var err error
		if orphans, err = openOrphanage(); err != nil {
			return nil, err
		}
		policy = reapAtOnce
	}
	leader, err := adoptLeader(t, h, policy)
	if err != nil {
		orphans.close()
		return nil, err
	}
	return newSwept(leader, h.Incarnation, h.TreeLock, orphans), nil
}

func adoptPIDNamespace(t *Tree, h *Handover) (holder, error) {
	n := &pidnsHolder{initID: h.Init, outcome: t.leader, memory: t.memory, how: h.How}
	fd, ok := h.Handles["init"]
	if !ok {
		n.init = &child{pid: h.Init.PID}
		n.cancel, n.ended, n.gone = func() {}, make(chan struct{}), make(chan struct{})
		close(n.ended)
		close(n.gone)
		return n, nil
	}
	var err error
	if n.init, err = adoptHandle(h.Init.PID, fd); err != nil {
		return nil, err
	}
	socket, ok := h.Handles["control"]
	if !ok {
		return nil, fmt.Errorf("the socket of %s is missing: %w", InitName, os.ErrInvalid)
	}
	unix.CloseOnExec(socket)
	if err := unix.SetNonblock(socket, true); err != nil {
		return nil, err
	}
	n.control = os.NewFile(uintptr(socket), "control")
	n.watch()
	return n, nil
}
