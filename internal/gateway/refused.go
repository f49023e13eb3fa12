package gateway

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/berth-run/berth"
)

// Who is not let in goes on record, and cannot fill the trail by that: the first time
// at once, and what is the same after that as a number, once in a while.

const (
	// refusedEvery is how long it is counted before the number goes on record.
	refusedEvery = time.Minute
	// refusedMost bounds the callers that are told apart in that time; of further ones
	// there is only a number.
	refusedMost = 16
)

// refusedCaller is what records tell apart of who was not let in. None of it is what
// the caller sent.
type refusedCaller struct {
	why  refusal
	from string // its address
	name string // that of its token, if there is one
}

func (c refusedCaller) String() string {
	text := [refusals]string{
		refusedNone:    "no token was shown",
		refusedBad:     "the token is not known, was revoked, or is none of Berth's",
		refusedExpired: "the token has expired",
		refusedInURL:   "a token stood in the URL",
		refusedUnread:  "the tokens of this home could not be read",
	}[c.why]
	if c.name != "" {
		text = fmt.Sprintf("the token of %q has expired", c.name)
	}
	if c.from != "" {
		text += ", from " + c.from
	}
	return text
}

// refusedCallers puts them on record.
type refusedCallers struct {
	write func(berth.Record)
	later func(tell func()) // has tell be called when the time is over

	mu     sync.Mutex // guards the fields below
	again  map[refusedCaller]int
	others int // that are not told apart
}

// note takes down that somebody was not let in.
func (r *refusedCallers) note(c refusedCaller) {
	r.mu.Lock()
	begins := r.again == nil
	if begins {
		r.again = map[refusedCaller]int{}
	}
	_, known := r.again[c]
	isNew := !known && len(r.again) < refusedMost
	switch {
	case known:
		r.again[c]++
	case isNew:
		r.again[c] = 0
	default:
		r.others++
	}
	r.mu.Unlock()
	if isNew {
		r.record(c.String())
	}
	if begins {
		r.later(r.tell)
	}
}

// tell puts on record how often it happened again.
func (r *refusedCallers) tell() {
	r.mu.Lock()
	again, others := r.again, r.others
	r.again, r.others = nil, 0
	r.mu.Unlock()
	for c, n := range again {
		if n > 0 {
			r.record(fmt.Sprintf("%v: %d more within %v", c, n, refusedEvery))
		}
	}
	if others > 0 {
		r.record(fmt.Sprintf("callers that are not told apart: %d within %v", others, refusedEvery))
	}
}

func (r *refusedCallers) record(detail string) {
	r.write(berth.Record{Action: berth.ActionCallerRefused, Detail: detail})
}

// newRefusedCallers has the gateway's journal take the records.
func (g *Gateway) newRefusedCallers() *refusedCallers {
	return &refusedCallers{
		write: func(rec berth.Record) {
			if err := g.journal.Append(rec); err != nil {
				g.log.Warn("record a caller that was refused", "error", err)
			}
		},
		later: func(tell func()) {
			g.running.Go(func() {
				_ = pause(g.ctx, refusedEvery) // at its end what was counted is told, too
				tell()
			})
		},
	}
}

// addressOf is where a request comes from, "" by a Unix socket.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
