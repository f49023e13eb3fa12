package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

const (
	// callTimeout is how long a request may take without an answer or a report
	// of progress, unless the server's settings say otherwise.
	callTimeout = 5 * time.Minute
	// callCap is how many times as long it may take in all.
	callCap = 12
	// lookEvery is the part of the time-out after which calls are looked at: they
	// end that much late at most.
	lookEvery = 8
)

// errTimeout: the server did not answer in time.
var errTimeout = errors.New("no answer in time")

// timeoutError says what was waited for.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }
func (e *timeoutError) Unwrap() error { return errTimeout }

// clock knows when things happened at one child. All its calls are looked at from
// time to time: that costs less than a timer for each.
type clock struct {
	timeout time.Duration
	base    time.Time
	writing atomic.Int64 // since when one line is being written, 0 if none is
	heard   atomic.Int64 // when the last line came
	looking bool         // look will come; guarded by child.mu
	once    sync.Once    // for the end of a server that is hung
}

func newClock(timeout time.Duration) *clock {
	if timeout == 0 {
		timeout = callTimeout
	}
	return &clock{timeout: timeout, base: time.Now()}
}

// now is the time since the clock was made; it is never 0.
func (c *clock) now() time.Duration { return time.Since(c.base) + 1 }

// conn is the attachment of a child, which notes when it is used.
type conn struct {
	attachment
	clock *clock
	spool *spool.Store
}

// Write implements mcp.Conn. One line is written at a time.
func (c conn) Write(ctx context.Context, line, note []byte) error {
	c.clock.writing.Store(int64(c.clock.now()))
	defer c.clock.writing.Store(0)
	if c.spool.Marked(line) {
		return c.writeLong(ctx, line)
	}
	return c.attachment.Write(ctx, line, note)
}

// Read implements mcp.Conn.
func (c conn) Read(ctx context.Context) ([]byte, error) {
	line, err := c.attachment.Read(ctx)
	c.clock.heard.Store(int64(c.clock.now()))
	return line, err
}

// timed begins the time of a call. The caller holds the mutex.
func (c *child) timed(k *call) {
	k.begun = c.clock.now()
	k.quiet = k.begun
	c.lookLater()
}

func (c *child) lookLater() {
	if !c.clock.looking {
		c.clock.looking = true
		time.AfterFunc(c.clock.timeout/lookEvery, c.look)
	}
}

// look ends the calls that have no answer in time, and finds out whether the
// server is hung. What waits for a client is not late.
func (c *child) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.looking = false
	now, timeout := c.clock.now(), c.clock.timeout
	asks := map[*call]bool{}
	for _, a := range c.asked {
		asks[a.call] = true
	}
	late := false
	for _, k := range c.calls {
		switch {
		case k.method == "subscriptions/listen":
		case k.parked || asks[k]:
			k.quiet = now
		case now-k.begun >= callCap*timeout:
			k.events.put(event{err: &timeoutError{fmt.Sprintf("server %q did not answer within %v", c.srv.name, callCap*timeout)}})
			late = true
		case k.method == "tasks/result": // it waits for a task, which may report nothing
		case now-k.quiet >= timeout:
			k.events.put(event{err: &timeoutError{fmt.Sprintf("server %q did not answer, or report progress, for %v", c.srv.name, timeout)}})
			late = true
		}
	}
	if since := c.clock.writing.Load(); since != 0 && now-time.Duration(since) >= timeout {
		late = true
	}
	if late && now-time.Duration(c.clock.heard.Load()) >= timeout {
		c.srv.g.running.Go(c.examine)
	}
	if len(c.calls) > 0 || c.clock.writing.Load() != 0 {
		c.lookLater()
	}
}

// progressed extends the time of the call of that id, and says whether its client is to
// hear of it.
func (c *child) progressed(id string) (told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[id]
	if k == nil {
		return true // who gives it finds out that there is nobody
	}
	k.quiet = c.clock.now()
	return k.reports.more(k.quiet)
}

// Bounds on the reports of progress of one call that its client hears of: so many at
// once, and so many a second. What comes faster nobody can look at, and the next report
// says more than the one that is left out.
const (
	reportsMost = 2000
	reportsRate = 100
)

// reports counts them.
type reports struct {
	recent float64
	at     time.Duration // by the child's clock
}

// more counts one more, and says whether there may be.
func (r *reports) more(now time.Duration) bool {
	r.recent = max(0, r.recent-reportsRate*(now-r.at).Seconds())
	r.at = now
	if r.recent >= reportsMost {
		return false
	}
	r.recent++
	return true
}

// examine finds out whether a server that is silent for so long reads at all. Of
// one that does nobody knows whether it thinks or hangs.
func (c *child) examine() {
	ctx, cancel := context.WithTimeout(c.srv.ctx, abandonTimeout)
	defer cancel()
	st, err := c.srv.g.o.Manager.Status(ctx, c.instance)
	stalled := time.Duration(st.StalledMillis) * time.Millisecond
	switch left := c.clock.timeout - stalled; {
	case err != nil, st.Generation != c.generation, stalled == 0:
	case left > 0:
		time.AfterFunc(left, func() { c.srv.g.running.Go(c.examine) })
	default:
		c.clock.once.Do(func() { c.hung(stalled) })
	}
}

// hung deals with a server that neither reads nor writes: its calls fail, and it
// gets another process.
func (c *child) hung(long time.Duration) {
	defer c.srv.hold(c.slot)()
	why := fmt.Sprintf("it has read and said nothing for %v", long.Round(time.Second))
	if err := c.srv.g.journal.Append(berth.Record{Server: c.instance, Action: berth.ActionHung, PID: c.pid, Detail: why}); err != nil {
		c.srv.g.log.Warn("record a hung server", "server", c.srv.name, "error", err)
	}
	// Whoever writes to it is let go by this.
	c.attachment.Close()
	ctx, cancel := context.WithTimeout(c.srv.ctx, startTimeout)
	defer cancel()
	if err := c.srv.g.o.Manager.Renew(ctx, c.instance, c.generation); err != nil && !errors.Is(err, shim.ErrGone) {
		c.srv.g.log.Warn("replace a hung server", "server", c.srv.name, "error", err)
	}
}

// inquire asks the child something on the gateway's own behalf.
func (c *child) inquire(ctx context.Context, method string, params []byte) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.clock.timeout, errTimeout)
	defer cancel()
	return c.session.Request(ctx, method, params)
}
