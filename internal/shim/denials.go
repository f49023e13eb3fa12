package shim

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
)

// denials are what a confined server tried and may not: each goes to its log and to
// the audit trail, once a minute for one host and port and no more than a few at all,
// so that a server cannot fill the disk with what it is refused.
type denials struct {
	tell   func(Violation, uint64)
	opened atomic.Bool // before that, it is our own test

	mu     sync.Mutex // guards the fields below
	minute time.Time
	seen   map[Violation]struct{}
	hidden uint64 // not told since the last one that was
}

// mostDenials is how many are told in a minute.
const mostDenials = 10

func (s *shim) newDenials() *denials {
	return &denials{tell: func(v Violation, hidden uint64) {
		at := time.Now()
		s.post(func() { s.recordDenial(at, v, hidden) })
	}}
}

func (d *denials) open() { d.opened.Store(true) }

// add does not block; who calls it serves the server.
func (d *denials) add(v Violation) {
	if !d.opened.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.minute) >= time.Minute {
		d.minute, d.seen = now, map[Violation]struct{}{}
	}
	_, again := d.seen[v]
	if again || len(d.seen) >= mostDenials {
		d.hidden++
		return
	}
	d.seen[v] = struct{}{}
	go d.tell(v, d.hidden)
	d.hidden = 0
}

// recordDenial tells of one, and of how many were not told before it.
func (s *shim) recordDenial(at time.Time, v Violation, hidden uint64) {
	what := printable(v.Host)
	if v.Port != 0 {
		what += ":" + strconv.Itoa(int(v.Port))
	}
	if v.Why != "" {
		what += ": " + printable(v.Why)
	}
	if hidden > 0 {
		what += " (and " + strconv.FormatUint(hidden, 10) + " more before)"
	}
	s.lifecycle(at, "NETWORK_DENIED "+what)
	s.record(at, berth.ActionNetworkDenied, s.state.PID, func(r *berth.Record) { r.Detail = what })
	s.settle()
}

// printable is a name from the network as it may stand in a log.
func printable(s string) string {
	const most = 300
	q := strconv.QuoteToASCII(s[:min(len(s), most)])
	return strings.Trim(q, `"`)
}
