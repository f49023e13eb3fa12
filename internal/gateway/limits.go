package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Bounds on the requests at one server; docs/architecture.md lists all bounds.
const (
	// callsMost is how many requests of one principal are at a server at once,
	// unless its settings say otherwise; further ones wait.
	callsMost = 256
	// serverMost is how many there are of all principals.
	serverMost = 1024
	// laneMost is how many of one client wait.
	laneMost = 1024
)

// codeBusy is the code of the error that says to come again. "New application
// codes go outside -32768 to -32000", and HTTP has a number for it.
const codeBusy = 429

// errBusy is wrapped by whatever is refused because there is too much.
var errBusy = errors.New("busy")

// busyError says what there is too much of, and when to come again.
type busyError struct {
	what  string
	after time.Duration
}

func (e *busyError) Error() string { return e.what + "; try again later" }
func (e *busyError) Unwrap() error { return errBusy }

// busy is a busyError of something that has no time: a second is as good as any.
func busy(format string, args ...any) error {
	return &busyError{what: fmt.Sprintf(format, args...), after: time.Second}
}

// reply is the error that the client gets.
func (e *busyError) reply() *jsonrpc.Error {
	return &jsonrpc.Error{Code: codeBusy, Message: e.Error(), Data: fmt.Appendf(nil, `{"retryAfterMs":%d}`, e.after.Milliseconds())}
}

// retryAfter is the value of the header Retry-After for an error, "" if it is not
// one that says to come again.
func retryAfter(e *jsonrpc.Error) string {
	var data struct {
		RetryAfterMs *float64 `json:"retryAfterMs"`
	}
	if e.Code != codeBusy || json.Unmarshal(e.Data, &data) != nil || data.RetryAfterMs == nil {
		return ""
	}
	return fmt.Sprint(int64(math.Ceil(max(1, *data.RetryAfterMs/1000))))
}

// gate bounds the requests that are at a server: so many of each principal, and
// so many a second. Those that wait are let in by turns: one of each principal,
// and of those of a principal one of each of its clients.
type gate struct {
	mu      sync.Mutex // guards the fields below
	in      int
	shares  map[string]*share // by principal, those that have or want something
	waiting []*share          // those with somebody that waits; the next first
}

// share is what one principal has of a server.
type share struct {
	principal string
	in        int
	most      int
	lanes     []*lane // those with somebody that waits; the next first
	tokens    float64 // what its rate lets in at once
	filled    time.Time
}

// lane is where the requests of one client wait.
type lane struct {
	client string
	queue  []*waiter
}

// enter waits until a request of the caller's may go to the server; leave must be
// called once, when it is answered.
func (g *gate) enter(ctx context.Context, by *caller, set Settings) (leave func(), err error) {
	most := set.Calls
	if most == 0 {
		most = callsMost
	}
	g.mu.Lock()
	s := g.shares[by.Principal]
	if s == nil {
		if g.shares == nil {
			g.shares = map[string]*share{}
		}
		s = &share{principal: by.Principal, tokens: burst(set.Rate), filled: time.Now()}
		g.shares[by.Principal] = s
	}
	s.most = most
	if set.Rate > 0 {
		if wait := s.spend(set.Rate, time.Now()); wait > 0 {
			g.mu.Unlock()
			return nil, &busyError{what: fmt.Sprintf("more than %v requests a second are not let through", set.Rate), after: wait}
		}
	}
	if s.in < most && g.in < max(serverMost, most) {
		g.in++
		s.in++
		g.mu.Unlock()
		return g.leaver(s), nil
	}
	l := s.lane(by.lane())
	if len(l.queue) >= laneMost {
		g.mu.Unlock()
		return nil, busy("%d requests of this client wait for the server", laneMost)
	}
	w := &waiter{in: make(chan struct{})}
	l.queue = append(l.queue, w)
	if !slices.Contains(g.waiting, s) {
		g.waiting = append(g.waiting, s)
	}
	g.mu.Unlock()
	select {
	case <-w.in:
		return g.leaver(s), nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // let in at the same moment
		g.out(s)
	default:
		s.remove(l, w)
		g.tidy(s)
	}
	return nil, context.Cause(ctx)
}

// load is how many requests are at the server, and how many wait.
func (g *gate) load() (in, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.waiting {
		for _, l := range s.lanes {
			waiting += len(l.queue)
		}
	}
	return g.in, waiting
}

// burst is how much a rate lets in at once: that of a second.
func burst(rate float64) float64 { return max(1, rate) }

// spend takes one from what the rate lets in, or says how long to wait for that.
func (s *share) spend(rate float64, now time.Time) time.Duration {
	s.tokens = min(burst(rate), s.tokens+rate*now.Sub(s.filled).Seconds())
	s.filled = now
	if s.tokens < 1 {
		return time.Duration((1 - s.tokens) / rate * float64(time.Second))
	}
	s.tokens--
	return 0
}

// lane returns the lane of a client.
func (s *share) lane(client string) *lane {
	for _, l := range s.lanes {
		if l.client == client {
			return l
		}
	}
	l := &lane{client: client}
	s.lanes = append(s.lanes, l)
	return l
}

// remove takes a waiter out of its lane.
func (s *share) remove(l *lane, w *waiter) {
	if i := slices.Index(l.queue, w); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	if len(l.queue) == 0 {
		if i := slices.Index(s.lanes, l); i >= 0 {
			s.lanes = slices.Delete(s.lanes, i, i+1)
		}
	}
}

func (g *gate) leaver(s *share) func() {
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.out(s)
	}
}

// out is the leaving of one, in whose place others may come. The caller holds the
// mutex.
func (g *gate) out(s *share) {
	g.in--
	s.in--
	for i := 0; i < len(g.waiting); {
		next := g.waiting[i]
		if next.in >= next.most || g.in >= max(serverMost, next.most) {
			i++
			continue
		}
		g.waiting = slices.Delete(g.waiting, i, i+1)
		l := next.lanes[0]
		next.lanes = next.lanes[1:]
		w := l.queue[0]
		l.queue = l.queue[1:]
		if len(l.queue) > 0 {
			next.lanes = append(next.lanes, l) // the others of the principal come first
		}
		if len(next.lanes) > 0 {
			g.waiting = append(g.waiting, next) // so do the other principals
		}
		next.in++
		g.in++
		close(w.in)
	}
	g.tidy(s)
}

// tidy forgets a principal that has nothing here, as far as its rate lets it be
// forgotten.
func (g *gate) tidy(s *share) {
	if len(s.lanes) == 0 {
		if i := slices.Index(g.waiting, s); i >= 0 {
			g.waiting = slices.Delete(g.waiting, i, i+1)
		}
		if s.in == 0 && s.filled.Add(time.Second).Before(time.Now()) {
			delete(g.shares, s.principal)
		}
	}
}

// lane is which of a principal's clients asks.
func (c *caller) lane() string {
	if c.session != nil {
		return c.session.key
	}
	info := c.client.Info
	return "modern " + string(info[:min(len(info), 2*labelMost)])
}
