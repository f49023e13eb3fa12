package gateway

import (
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/metrics"
)

// Nothing that a client chooses is a label: servers are those that are installed, and
// everything else is one of a few words.

// outcomes are the ends of calls that are told apart; the last is any other.
var outcomes = [...]berth.CallOutcome{
	berth.CallDone, berth.CallFailed, berth.CallError, berth.CallAsks, berth.CallRefused, berth.CallCancelled, berth.CallTimeout, berth.CallLost, "other",
}

// figures are what is counted of a server's calls.
type figures struct {
	took   [len(outcomes)]metrics.Histogram // from arrival to answer
	queued metrics.Histogram
	denied atomic.Uint64
}

// call counts one that was answered.
func (f *figures) call(c *berth.Call) {
	i := slices.Index(outcomes[:len(outcomes)-1], c.Outcome)
	if i < 0 {
		i = len(outcomes) - 1
	}
	f.took[i].Observe(time.Duration(c.QueueMicros+c.StartMicros+c.RunMicros) * time.Microsecond)
	f.queued.Observe(time.Duration(c.QueueMicros) * time.Microsecond)
}

// refusal is why somebody was not let in.
type refusal int

const (
	refusedNone    refusal = iota // no token
	refusedBad                    // one that is none, or not known
	refusedExpired                // one that has expired
	refusedInURL                  // one where it must not be
	refusedUnread                 // the tokens cannot be read
	refusals
)

func (r refusal) String() string {
	return [...]string{"no-token", "bad-token", "expired-token", "token-in-url", "tokens-unreadable"}[r]
}

// metrics answers with the figures of the gateway, for Prometheus: those of servers
// only of such as the caller may use.
func (g *Gateway) metrics(w http.ResponseWriter, r *http.Request) {
	who := &caller{Caller: callerIn(r.Context())}
	g.mu.Lock()
	all, conns := slices.Collect(maps.Values(g.servers)), g.conns
	g.mu.Unlock()
	all = slices.DeleteFunc(all, func(s *server) bool {
		if s.joint != nil {
			return true
		}
		rules, err := s.rules(who)
		return err != nil || !rules.HasServer(s.name)
	})
	slices.SortFunc(all, func(a, b *server) int { return strings.Compare(a.name, b.name) })
	p := &metrics.Page{}
	p.Family("berth_build_info", metrics.Gauge, "What runs; the value is 1.")
	p.Sample(1, "version", berth.Version, "go_version", runtime.Version())
	serverFigures(p, all)
	g.ownFigures(p, conns)
	runtimeFigures(p)
	w.Header().Set("Content-Type", metrics.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(p.Bytes()) // who left waits for nothing
}

// streaming counts a stream until done is called.
func streaming(n *atomic.Int64) (done func()) {
	n.Add(1)
	return func() { n.Add(-1) }
}

func serverFigures(p *metrics.Page, all []*server) {
	p.Family("berth_calls_total", metrics.Counter, "Calls of tools that were answered, by how they ended.")
	eachOutcome(all, func(s *server, outcome string, h *metrics.Histogram) {
		p.Sample(float64(h.Count()), "server", s.name, "outcome", outcome)
	})
	p.Durations("berth_call_duration_seconds", "How long calls of tools took, from arrival to answer.")
	eachOutcome(all, func(s *server, outcome string, h *metrics.Histogram) {
		p.Histogram(h, "server", s.name, "outcome", outcome)
	})
	p.Durations("berth_call_queue_seconds", "How long calls of tools waited for their turn.")
	for _, s := range all {
		p.Histogram(&s.figures.queued, "server", s.name)
	}
	p.Family("berth_calls_denied_total", metrics.Counter, "Calls that were refused, since their tool is not allowed.")
	for _, s := range all {
		p.Sample(float64(s.figures.denied.Load()), "server", s.name)
	}
	each := func(name, help string, of func(*server) int) {
		p.Family(name, metrics.Gauge, help)
		for _, s := range all {
			p.Sample(float64(of(s)), "server", s.name)
		}
	}
	each("berth_requests_in_flight", "Requests that are at a server, calls among them.", func(s *server) int { in, _ := s.gate.load(); return in })
	each("berth_requests_waiting", "Requests that wait for their turn at a server.", func(s *server) int { _, waiting := s.gate.load(); return waiting })
	each("berth_children", "Processes of a server that the gateway is attached to.", func(s *server) int { return len(s.everyChild()) })
	each("berth_child_restarts", "How often these had been restarted when the gateway attached.", func(s *server) (n int) {
		for _, c := range s.everyChild() {
			n += c.restarts
		}
		return n
	})
}

// eachOutcome calls fn for the outcomes that a server's calls had so far, and for done.
func eachOutcome(all []*server, fn func(s *server, outcome string, h *metrics.Histogram)) {
	for _, s := range all {
		for i := range s.figures.took {
			if h := &s.figures.took[i]; i == 0 || h.Count() > 0 {
				fn(s, string(outcomes[i]), h)
			}
		}
	}
}

func (g *Gateway) ownFigures(p *metrics.Page, conns int) {
	p.One("berth_connections", metrics.Gauge, "Connections of clients.", float64(conns))
	p.Family("berth_connections_refused_total", metrics.Counter, "Connections that there was no room for, by why.")
	for i := range noRooms {
		p.Sample(float64(g.turned[i].Load()), "reason", i.String())
	}
	p.One("berth_sessions", metrics.Gauge, "Sessions of clients of MCP up to 2025-11-25.", float64(g.sessions.Load()))
	p.Family("berth_streams", metrics.Gauge, "Streams of events that clients listen to: of a session, of the transport of 2024-11-05, subscriptions/listen.")
	p.Sample(float64(g.streams.session.Load()), "kind", "session")
	p.Sample(float64(g.streams.sse.Load()), "kind", "sse")
	p.Sample(float64(g.listens.Load()), "kind", "listen")
	p.One("berth_parked_calls", metrics.Gauge, "Calls that wait for their client's input.", float64(g.lot.load()))
	p.One("berth_spool_bytes", metrics.Gauge, "What is too long for memory, in files.", float64(g.spool.Used()))
	p.Family("berth_callers_refused_total", metrics.Counter, "Requests whose sender was not let in, by why.")
	for i := range refusals {
		p.Sample(float64(g.refused[i].Load()), "reason", i.String())
	}
	p.Family("berth_messages_dropped_total", metrics.Counter, "Messages of servers that reached nobody: answers to who no longer waits, what is nobody's, and progress that comes too fast.")
	p.Sample(float64(g.counts.stale.Load()), "reason", "late")
	p.Sample(float64(g.counts.unowned.Load()), "reason", "unowned")
	p.Sample(float64(g.counts.progress.Load()), "reason", "progress")
	p.One("process_start_time_seconds", metrics.Gauge, "When the gateway began, in seconds since 1970.", float64(g.began.UnixMilli())/1000)
}

// runtimeFigures are what Go says of the process. Package runtime/metrics would not
// stop it for some microseconds, but costs whoever starts berth 15 KiB of memory.
func runtimeFigures(p *metrics.Page) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.One("go_goroutines", metrics.Gauge, "Goroutines that there are.", float64(runtime.NumGoroutine()))
	p.One("go_memstats_sys_bytes", metrics.Gauge, "Memory that Go has from the system.", float64(m.Sys))
	p.One("go_memstats_heap_alloc_bytes", metrics.Gauge, "Memory of objects, those not yet collected among them.", float64(m.HeapAlloc))
	p.One("go_gc_cycles_total", metrics.Counter, "Garbage collections.", float64(m.NumGC))
}
