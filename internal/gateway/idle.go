package gateway

import (
	"context"
	"fmt"
	"time"
)

// A server that nobody calls for berth.idle-timeout is put to rest: its process is
// stopped, and started again for the next call.

// idleIn is how long after now a process that was last used at used may be put to
// rest, if it is not used meanwhile; 0 is now. The times are of one clock.
func idleIn(busy bool, used, now, timeout time.Duration) time.Duration {
	if busy {
		return timeout // its use is not over
	}
	return max(0, used+timeout-now)
}

// touch notes that the child is used.
func (c *child) touch() { c.used.Store(int64(c.clock.now())) }

// idle puts the child to rest when it was not used for long, if that is wanted.
func (c *child) idle() {
	s := c.srv
	timeout := s.set().IdleTimeout
	if timeout == 0 || c.slot.session != nil {
		return // the process of a session ends with it
	}
	c.touch()
	s.g.connected(1) // a gateway that ends when nobody uses it does this first
	defer s.g.connected(-1)
	for wait := timeout; ; {
		select {
		case <-c.session.Ended():
			return
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
		var release func()
		if wait, release = s.mayRest(c, timeout); release == nil {
			continue
		}
		c.rest(timeout)
		release()
		return
	}
}

// mayRest finds out whether nobody uses the child, and takes it from everyone who
// might if so: until release is called, they wait. Otherwise it is worth asking
// again after wait.
func (s *server) mayRest(c *child, timeout time.Duration) (wait time.Duration, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := c.slot
	if s.ctx.Err() != nil {
		return timeout, nil // another gateway's, or nobody's
	}
	if wait = idleIn(s.busy(c), time.Duration(c.used.Load()), c.clock.now(), timeout); wait > 0 || sl.child != c {
		return max(wait, time.Millisecond), nil
	}
	sl.child, sl.rested, c.resting = nil, true, true
	return 0, s.holding(sl)
}

// busy says whether anybody needs the child's process. A client that only listens
// does not, unless it follows a resource; nor does one whose server cannot be
// asked for its lists without a process be left without it. The caller holds the
// mutex.
func (s *server) busy(c *child) bool {
	if len(*s.subsOf(c.slot)) > 0 || s.follows > 0 || !c.slot.complete || c.makesTasks.Load() || s.settings.EndOnCrash && len(s.sessions) > 0 {
		return true
	}
	s.gate.mu.Lock()
	in := s.gate.in
	s.gate.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		if k.method != "subscriptions/listen" {
			return true
		}
	}
	return in > 0 || len(c.asked) > 0
}

// rest stops the child's process.
func (c *child) rest(timeout time.Duration) {
	s := c.srv
	c.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.g.ctx), stopTimeout)
	defer cancel()
	why := fmt.Sprintf("nobody called it for %v", timeout)
	if _, err := s.g.o.Manager.Rest(ctx, c.instance, c.generation, why); err != nil {
		s.g.log.Warn("put a server to rest", "server", c.instance, "error", err)
	}
}
