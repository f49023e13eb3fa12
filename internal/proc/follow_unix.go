//go:build unix

package proc

import (
	"context"
	"fmt"
	"sync"

	berth "github.com/berth-run/berth"
)

// follower waits for the exit of a leader that is a child of this process.
type follower struct {
	child   *child
	outcome *outcome
	memory  memory
	policy  reaping
	cancel  context.CancelFunc
	ended   chan struct{} // closed when run has returned

	mu     sync.Mutex // guards reaped
	reaped bool
}

// reaping says when the leader leaves the process table.
type reaping int

const (
	// reapAtOnce: as soon as it has exited.
	reapAtOnce reaping = iota
	// reapLast: when the rest of the tree has ended. Until then its zombie
	// keeps its pid, so that nobody else's process group or session can have
	// that number.
	reapLast
)

// follow makes the Tree of a started child and watches it.
func follow(s *Spec, c *child, mem memory, policy reaping) (*Tree, *follower, error) {
	id, _, err := identify(c.pid)
	if err != nil {
		return nil, nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	t := &Tree{id: id, incarnation: s.Incarnation, mechanism: s.Mechanism, leader: newOutcome(), memory: mem}
	return t, watch(t, c, policy), nil
}

func watch(t *Tree, c *child, policy reaping) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{child: c, outcome: t.leader, memory: t.memory, policy: policy, cancel: cancel, ended: make(chan struct{})}
	go f.run(ctx)
	return f
}

func (f *follower) run(ctx context.Context) {
	defer close(f.ended)
	if f.child.waitExit(ctx) != nil {
		return // handed over
	}
	if f.policy == reapLast {
		f.outcome.resolve(judge(f.child.status(), f.memory))
		return
	}
	f.outcome.resolve(judge(f.reap(), f.memory))
}

// reap reaps the exited leader, once.
func (f *follower) reap() berth.Exit {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reaped {
		return berth.Exit{}
	}
	f.reaped = true
	e := f.child.reap()
	f.child.release()
	return e
}

// unlessReaped calls f while the leader's pid is certainly its own.
func (f *follower) unlessReaped(do func(pid int) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reaped {
		return nil
	}
	return do(f.child.pid)
}

// close ends the watch of a leader that has exited, and reaps it.
func (f *follower) close() {
	<-f.ended
	if f.outcome.resolved() {
		f.reap()
	}
}

// handover stops the watch and leaves the exit to the next image.
func (f *follower) handover(o *Handover) error {
	f.cancel()
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reaped {
		return nil
	}
	return f.child.handover(o, "leader")
}

// judge adds to an exit whether it was for want of memory: the leader was
// killed, or is a shell that tells so of its child, and the kernel counted such
// a kill.
func judge(e berth.Exit, mem memory) berth.Exit {
	const shellKilled = 128 + 9
	killed := e.Signal == "SIGKILL" || e.Code != nil && *e.Code == shellKilled
	e.OutOfMemory = killed && mem != nil && mem.exceeded()
	return e
}
