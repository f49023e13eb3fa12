package gateway

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// timedCall is a call at a child that is only a clock.
func timedCall(timeout time.Duration, method string) (*child, *call) {
	c := &child{srv: &server{name: "s"}, clock: newClock(timeout), calls: map[string]*call{}, asked: map[string]*ask{}}
	c.clock.heard.Store(math.MaxInt64) // whether it hangs is not asked
	k := &call{id: "1", method: method, events: newInbox(nil)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[k.id] = k
	c.timed(k)
	return c, k
}

// late says whether the call was ended, and forgets it then, as its goroutine
// does.
func (c *child) late(t *testing.T, k *call) bool {
	t.Helper()
	synctest.Wait()
	e, ok := k.events.poll()
	if ok && !errors.Is(e.err, errTimeout) {
		t.Fatalf("got %+v", e)
	}
	if ok {
		c.mu.Lock()
		delete(c.calls, k.id)
		c.mu.Unlock()
		time.Sleep(c.clock.timeout) // so that the last look comes within the bubble
	}
	return ok
}

// However fast a server reports progress, its client hears of so much, and goes on
// hearing.
func TestProgressIsPaced(t *testing.T) {
	var r reports
	heard := func(n int, now time.Duration) (heard int) {
		for range n {
			if r.more(now) {
				heard++
			}
		}
		return heard
	}
	for _, c := range []struct {
		now     time.Duration
		n, want int
	}{
		{time.Second, 10 * reportsMost, reportsMost},
		{2 * time.Second, 10 * reportsMost, reportsRate},
		{2 * time.Second, 1, 0},
		{2*time.Second + time.Second/2, 1000, reportsRate / 2},
		{time.Hour, 10 * reportsMost, reportsMost},
	} {
		if got := heard(c.n, c.now); got != c.want {
			t.Errorf("after %v, of %d reports %d are heard, and not %d", c.now, c.n, got, c.want)
		}
	}
}

// A call ends when nothing was heard of it for so long; a report of progress
// extends it; in all it has twelve times as long.
func TestCallTimeout(t *testing.T) {
	const timeout = time.Minute
	for _, tt := range []struct {
		name, method string
		every        time.Duration // a report of progress, a question, or a client that thinks
		keep         func(c *child, k *call)
		ends         time.Duration // 0: it does not
	}{
		{name: "silent", method: "tools/call", every: time.Hour, ends: timeout},
		{name: "progress", method: "tools/call", every: 50 * time.Second, keep: func(c *child, k *call) { c.progressed(k.id) }, ends: callCap * timeout},
		{name: "slow progress", method: "tools/call", every: 80 * time.Second, keep: func(c *child, k *call) { c.progressed(k.id) }, ends: timeout},
		{name: "another's progress", method: "tools/call", every: 10 * time.Second, keep: func(c *child, k *call) { c.progressed("2") }, ends: timeout},
		{name: "a question", method: "tools/call", every: 10 * time.Second, keep: func(c *child, k *call) {
			c.mu.Lock()
			c.asked["q"] = &ask{call: k}
			c.mu.Unlock()
		}},
		{name: "parked", method: "tools/call", every: 10 * time.Second, keep: func(c *child, k *call) { c.park(k, true) }},
		{name: "a task's result", method: "tasks/result", every: time.Hour, ends: callCap * timeout},
		{name: "a subscription", method: "subscriptions/listen", every: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, k := timedCall(timeout, tt.method)
				begun := time.Now()
				for passed := time.Duration(0); passed < 20*timeout; passed = time.Since(begun) {
					if c.late(t, k) {
						slack := timeout/lookEvery + 10*time.Second
						if tt.ends == 0 || passed < tt.ends || passed > tt.ends+slack {
							t.Errorf("it ended after %v, and was to after %v", passed, tt.ends)
						}
						return
					}
					if tt.keep != nil && passed%tt.every == 0 {
						tt.keep(c, k)
					}
					time.Sleep(10 * time.Second)
				}
				if tt.ends != 0 {
					t.Errorf("it goes on after %v", time.Since(begun))
				}
				c.mu.Lock()
				clear(c.calls)
				c.mu.Unlock()
				time.Sleep(timeout)
			})
		})
	}
}

// An answered question gives the call its time again, and calls that end are not
// looked at any more.
func TestCallTimeoutAfterAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := timedCall(time.Minute, "tools/call")
		c.mu.Lock()
		c.asked["q"] = &ask{call: k}
		c.mu.Unlock()
		time.Sleep(10 * time.Minute)
		c.mu.Lock()
		delete(c.asked, "q")
		c.mu.Unlock()
		time.Sleep(50 * time.Second)
		if c.late(t, k) {
			t.Error("it ended sooner than it was to after an answer")
		}
		time.Sleep(30 * time.Second)
		if !c.late(t, k) {
			t.Error("it does not end")
		}
		c.mu.Lock()
		looking := c.clock.looking
		c.mu.Unlock()
		if looking {
			t.Error("calls are looked at where there are none")
		}
	})
}
