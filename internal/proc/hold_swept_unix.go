//go:build unix

package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	berth "github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
)

// sweptHolder keeps nothing together: it finds the members of the tree when it
// has to. As a subreaper this process is the ancestor of all of them, for
// orphans become its children; without, those count that are below the leader,
// in its session, have the tree lock open, or carry the incarnation in their
// environment.
type sweptHolder struct {
	leader      *follower
	incarnation string
	orphans     *orphanage // nil without a subreaper
	evidence    *evidence
	lock        string // the path of the tree lock, or ""
}

func newSwept(leader *follower, incarnation, lock string, orphans *orphanage) *sweptHolder {
	return &sweptHolder{
		leader:      leader,
		incarnation: incarnation,
		orphans:     orphans,
		evidence:    evidenceOf(incarnation, lock),
		lock:        lock,
	}
}

func startSwept(s *Spec, at places) (*Tree, error) {
	var orphans *orphanage
	policy := reapLast
	if s.Mechanism == berth.TreeSubreaper {
		var err error
		if orphans, err = openOrphanage(); err != nil {
			return nil, fmt.Errorf("start %q: %w", s.Path, err)
		}
		policy = reapAtOnce
	}
	t, leader, err := startPlain(s, at, policy)
	if err != nil {
		orphans.close()
		return nil, err
	}
	t.holder = newSwept(leader, s.Incarnation, s.lockPath(), orphans)
	return t, nil
}

func startPlain(s *Spec, at places, policy reaping) (*Tree, *follower, error) {
	p := s.program()
	mem, err := limitMemory(s, at, &p.limits)
	if err != nil {
		return nil, nil, err
	}
	rest, err := limitRest(s, at, "", mem, false, &p.limits)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %q: %w", s.Path, err), closeMemory(mem))
	}
	fail.Point("proc.start.plain-before")
	c, err := p.start(syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return nil, nil, errors.Join(s.explainStart(err), closeMemory(mem), closeQuotas(rest))
	}
	fail.Point("proc.start.plain-executed")
	t, leader, err := follow(s, c, mem, policy)
	if err != nil {
		c.end()
		return nil, nil, errors.Join(err, closeMemory(mem), closeQuotas(rest))
	}
	t.rest = rest
	return t, leader, nil
}

// signalGroup signals the leader's process group, all of it at one instant: a
// member in the middle of a fork is caught too. Nobody else can have a group of
// that number while the leader is unreaped.
func (h *sweptHolder) signalGroup(sig syscall.Signal) error {
	return h.leader.unlessReaped(func(pid int) error {
		err := syscall.Kill(-pid, sig)
		if err == syscall.ESRCH {
			return nil
		}
		if err != nil {
			return fmt.Errorf("signal process group %d: %w", pid, err)
		}
		return nil
	})
}

func (h *sweptHolder) terminate() error {
	refused := h.signalGroup(syscall.SIGTERM)
	group := h.leaderPID()
	found, err := h.scan()
	if err != nil {
		return err
	}
	rest := found[:0]
	for _, m := range found {
		if group == 0 || m.pgrp != group {
			rest = append(rest, m)
		}
	}
	if err := h.hunt().signalAll(rest, syscall.SIGTERM); err != nil {
		return err
	}
	return refused
}

// leaderPID is the leader's pid while that is certainly its own, else 0.
func (h *sweptHolder) leaderPID() int {
	leader := 0
	_ = h.leader.unlessReaped(func(pid int) error {
		leader = pid
		return nil
	})
	return leader
}

// scan lists the members that live.
func (h *sweptHolder) scan() ([]stat, error) {
	if h.orphans != nil {
		return h.orphans.members(h.leader.child.pid, h.incarnation)
	}
	stats, err := processes()
	if err != nil {
		return nil, err
	}
	leader := h.leaderPID()
	below := map[int]struct{}{}
	if leader != 0 {
		for _, s := range descendants(stats, leader, nil) {
			below[s.pid] = struct{}{}
		}
	}
	self := os.Getpid()
	var members []stat
	for _, s := range stats {
		if s.zombie() || s.pid == self {
			continue
		}
		_, descends := below[s.pid]
		if descends || leader != 0 && (s.pid == leader || s.session == leader) || h.evidence.shows(s.pid) {
			members = append(members, s)
		}
	}
	return members, nil
}

func (h *sweptHolder) hunt() *hunt {
	return &hunt{
		scan:    h.scan,
		belongs: sameStart,
		// The group at one instant: it may fork faster than it is listed.
		strike: func() { _ = h.signalGroup(syscall.SIGKILL) },
		buried: h.orphans.reap,
	}
}

func (h *sweptHolder) kill(ctx context.Context) ([]ID, error) {
	empty, err := h.empty()
	if err != nil {
		return nil, err
	}
	if empty {
		h.leader.close()
		return nil, nil
	}
	fail.Point("proc.kill.swept-before")
	// Stopped first: once the leader is dead, nothing leads from it to those of
	// its children that left its group. A refusal shows again at the kill.
	_ = h.signalGroup(syscall.SIGSTOP)
	fail.Point("proc.kill.swept-stopped")
	left, err := h.hunt().run(ctx)
	if err != nil || len(left) > 0 {
		ids, idErr := identities(left)
		return ids, errors.Join(err, idErr)
	}
	h.leader.close()
	h.orphans.reap()
	fail.Point("proc.kill.swept-empty")
	return nil, nil
}

func (h *sweptHolder) members() ([]ID, error) {
	found, err := h.scan()
	if err != nil {
		return nil, err
	}
	return identities(found)
}

func (h *sweptHolder) empty() (bool, error) {
	if !h.leader.outcome.resolved() {
		return false, nil
	}
	if h.orphans != nil {
		// Every orphan is a child of this process.
		h.orphans.reap()
		if none, err := h.orphans.none(); none || err != nil {
			return none, err
		}
	}
	found, err := h.scan()
	return len(found) == 0, err
}

func (h *sweptHolder) guarantee() berth.Guarantee {
	if h.orphans != nil {
		return berth.Guarantee{
			State: berth.Partial,
			How:   "subreaper sweep",
			Gap:   "processes that fork faster than they are stopped, or that dropped their environment before the supervisor itself was killed, may escape",
		}
	}
	return berth.Guarantee{
		State: berth.Partial,
		How:   "process group and scan",
		Gap:   "a process that left the session, lost its parent, and dropped its environment and descriptors escapes",
	}
}

func (h *sweptHolder) cgroups() []string { return nil }

func (h *sweptHolder) handover(o *Handover) error {
	h.orphans.leave() // that this process is a subreaper survives exec
	o.TreeLock = h.lock
	return h.leader.handover(o)
}

func (h *sweptHolder) close() error {
	h.leader.close()
	h.orphans.close()
	return nil
}
