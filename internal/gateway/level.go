package gateway

import (
	"context"
	"fmt"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// syncLevel tells a legacy child the most verbose level that a session wants.
func (s *server) syncLevel(ctx context.Context, c *child) {
	if !c.declares("logging") {
		return
	}
	c.mu.Lock()
	wanted := c.least
	c.mu.Unlock()
	s.mu.Lock()
	for _, session := range s.sessions {
		wanted = moreVerbose(wanted, session.askedLevel())
	}
	s.mu.Unlock()
	if wanted != "" {
		s.setLevel(ctx, c, wanted)
	}
}

// moreVerbose returns the more verbose of two log levels. What is none counts as
// less than any.
func moreVerbose(a, b string) string {
	at, isA := bridge.Severity(a)
	bt, isB := bridge.Severity(b)
	if isB && (!isA || bt < at) {
		return b
	}
	return a
}

// raiseLevel has a legacy child write what a modern request wants to be told; it
// says so each time, so that nothing lowers it again.
func (s *server) raiseLevel(ctx context.Context, c *child, level string) {
	c.mu.Lock()
	more := moreVerbose(c.least, level)
	raised := more != c.least
	c.least = more
	c.mu.Unlock()
	if raised {
		s.syncLevel(ctx, c)
	}
}

func (s *server) setLevel(ctx context.Context, c *child, level string) {
	c.mu.Lock()
	same := c.level == level
	c.level = level
	c.mu.Unlock()
	if !same {
		_, _ = c.inquire(ctx, "logging/setLevel", fmt.Appendf(nil, `{"level":%s}`, jsonrpc.StringID(level)))
	}
}
