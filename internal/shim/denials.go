package shim

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
)

// denials are what a confined server tried and may not: each goes to its log and to
// the audit trail, once a minute for one host and port and no more than a few at all,
// so that a server cannot fill the disk with what it is refused. The last of them are
// remembered, for who asks why something fails.
type denials struct {
	tell   func(Violation, uint64)
	opened atomic.Bool // before that, it is our own test

	mu     sync.Mutex // guards the fields below
	minute time.Time
	seen   map[Violation]struct{}
	hidden uint64 // not told since the last one that was
	last   []berth.Denial
}

// mostDenials is how many are told in a minute, mostKept how many are remembered.
const (
	mostDenials = 10
	mostKept    = 100
)

// denials are those of all processes of the server that this shim has run.
func (s *shim) denials() *denials {
	if s.denied == nil {
		s.denied = &denials{tell: func(v Violation, hidden uint64) {
			at := time.Now()
			s.post(func() { s.recordDenial(at, v, hidden) })
		}}
	}
	return s.denied
}

func (d *denials) open() { d.opened.Store(true) }

func (d *denials) close() { d.opened.Store(false) }

// add does not block; who calls it serves the server.
func (d *denials) add(v Violation) {
	if !d.opened.Load() {
		return
	}
	now := time.Now()
	d.keep(berth.Denial{What: v.what(), Grant: v.Grant, Why: printable(v.Why), At: now})
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.minute) >= time.Minute {
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

// keep remembers one as the last. The oldest is forgotten for it.
func (d *denials) keep(n berth.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.Times, n.At = 1, n.At.UTC().Round(0)
	if at := slices.IndexFunc(d.last, func(one berth.Denial) bool { return one.What == n.What }); at >= 0 {
		n.Times += d.last[at].Times
		d.last = slices.Delete(d.last, at, at+1)
	} else if len(d.last) >= mostKept {
		d.last = slices.Delete(d.last, 0, 1)
	}
	d.last = append(d.last, n)
}

// list are those that are remembered, the oldest first.
func (d *denials) list() []berth.Denial {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.last)
}

func (v Violation) what() string {
	if v.Port == 0 {
		return printable(v.Host)
	}
	return printable(v.Host) + ":" + strconv.Itoa(int(v.Port))
}

// recordDenial tells of one, and of how many were not told before it.
func (s *shim) recordDenial(at time.Time, v Violation, hidden uint64) {
	what := v.what()
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
