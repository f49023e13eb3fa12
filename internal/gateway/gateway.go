// Package gateway lets any number of MCP clients share the servers of a home:
// by HTTP, by HTTP with SSE as of 2024-11-05, or as a stream of lines, whatever
// revision of MCP either side speaks.
//
//	client ──HTTP──▶ door ──▶ session ──┐
//	client ──HTTP──▶ door ──────────────┼─▶ server ──▶ child ──socket──▶ shim
//	client ─lines──▶ door ──▶ session ──┘
//
// A server has one child, which speaks one era of MCP for its whole life. A
// legacy client has a session; a modern one has none, each of its requests
// stands alone. Package bridge says what a message of one era is in the other;
// this package knows who asked what.
//
// The gateway can be killed at any time: it holds nothing that its successor
// cannot find out, and no server ends with it.
package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/policy"
	"github.com/berth-run/berth/internal/spool"
	"github.com/berth-run/berth/supervisor"
)

// Settings are what a server's file says to the gateway.
type Settings struct {
	// Era is the only one to speak to the server; "" finds out.
	Era mcp.Era
	// Both has a server that speaks both eras be spoken to in each client's own:
	// by two processes, if clients of both come.
	Both bool
	// PerSession gives each legacy session a process of its own.
	PerSession bool
	// Roots are directories that a legacy server is told of, instead of its clients'.
	Roots []string
	// EndOnCrash ends the sessions that use a process when that ends: it has
	// state that they rely on.
	EndOnCrash bool
	// RetryTools are patterns of the tools that may be called a second time where
	// the process ended during a call; see path.Match.
	RetryTools []string
	// Calls is how many requests of one principal are at the server at once; 0 is
	// callsMost. Rate is how many a second are let through; 0 is any number.
	Calls int
	Rate  float64
	// CallTimeout is how long a request may take without an answer or a report of
	// progress; 0 is callTimeout.
	CallTimeout time.Duration
	// Strict has the record of a call be on the disk before its answer is sent.
	Strict bool
	// Arguments has the record hold the call's arguments and not only their hash.
	Arguments bool
	// Mask hides secrets in what a record takes from a client; nil hides none.
	Mask func(string) string
	// Manifest is what a manifest of the server is known by, and Spec what stands
	// for how it is run (home.SpecDigest); "" keeps none.
	Manifest, Spec string
	// EraKey is what the server's era is remembered by (home.Server.EraKey); "" has
	// it asked each time.
	EraKey string
	// Tools are those that may be called, by anyone.
	Tools policy.Tools
	// PinTools withholds tools that are not what was approved.
	PinTools bool
	// IdleTimeout is how long nobody calls the server before its process is
	// stopped until somebody does; 0 is for ever.
	IdleTimeout time.Duration
	// Disabled: Options.Permit refuses it. Clients are told when this changes.
	Disabled bool
}

// Options are what a Gateway needs.
type Options struct {
	Home    *home.Home
	Manager *supervisor.Manager
	// Up has the server run, or returns why it does not. Fresh means that a client
	// has just come; otherwise a server that its user stopped is left alone.
	Up func(ctx context.Context, name string, fresh bool) error
	// Settings returns berth.ErrNoServer for a server that is not installed.
	Settings func(name string) (Settings, error)
	// Key seals what clients keep for the gateway: 32 bytes.
	Key []byte
	// Origins and Hosts are allowed besides those of this machine.
	Origins, Hosts []string
	// Replace hands this gateway over to the one at the other end of a connection of
	// HandoverProtocol, which it closes; explicit says that the user wants that. It
	// returns false if this gateway stays. Nil refuses.
	Replace func(explicit bool) (hand func(net.Conn), ok bool)
	// Heir is set where another gateway hands its servers over to this one, which
	// serves none until Adopt, and knows of nothing else until Inherit, is called.
	Heir bool
	// Members are the servers that clients have at one address: all that they may
	// use, or those of a profile. It returns berth.ErrNoServer for a profile that
	// there is not. Nil has no such addresses.
	Members func(profile string) (Members, error)
	// Reach is what a caller may use at the address of a profile, or of none (""); an
	// error allows nothing. Nil allows everything.
	Reach func(who Caller, profile string) (Reach, error)
	// Called, unless it is nil, hears of each call of a tool once it has its answer.
	Called func(Called)
	// Permit is why a server may not be used at all, asked for each request; nil is
	// never.
	Permit func(server string) error
	// Pins says whether a server's tools are compared with what was approved, asked for
	// each request; nil is what its Settings say.
	Pins func(server string) bool
	// HelloWait and ListWait are how long initialize and server/discover, and the
	// lists, of a server of which nothing is known wait for its process; 0 is
	// helloWait and listWait.
	HelloWait, ListWait time.Duration
	// HeaderWait is how long the header of a request may take, and BodyWait its body,
	// with a second more for each bodyPace of it; 0 is headerWait and bodyWait.
	HeaderWait, BodyWait time.Duration
	// WriteWait is how long a client of events may take for the next bytes, 30 s if it
	// is 0.
	WriteWait time.Duration
	// Conns bounds the connections of one listener; 0 is connsMost, or what the limit on
	// open files lets there be.
	Conns int
	// Log receives what no client can be told; nil discards it.
	Log *slog.Logger
}

// Gateway serves the servers of one home.
type Gateway struct {
	o    Options
	home *home.Home
	log  *slog.Logger
	lot  *lot
	mux  *http.ServeMux
	// life begins the ids of events; it differs from those of gateways before.
	life   string
	ledger *ledger
	// journal takes the records of calls.
	journal *home.AuditJournal
	// spool holds what is too long for memory.
	spool *spool.Store

	ctx      context.Context // ends with Close
	stop     context.CancelCauseFunc
	running  group
	counts   counts
	sessions atomic.Int64
	listens  atomic.Int64
	streams  struct{ session, sse atomic.Int64 } // that clients listen to
	refused  [refusals]atomic.Uint64             // who was not let in, by why
	refusals *refusedCallers
	turned   [noRooms]atomic.Uint64 // connections that were closed or refused, by why
	began    time.Time
	starts   *starts
	visits   visits
	heir     atomic.Pointer[heir] // nil: this gateway stays

	mu        sync.Mutex // guards the fields below
	servers   map[string]*server
	leftovers map[string]bool // instances that a gateway before this one left, and that are being stopped
	conns     int
	idle      time.Time     // since when there are no connections
	moved     chan struct{} // closed when conns changes
}

// counts is what reached nobody.
type counts struct{ stale, unowned, long, progress atomic.Uint64 }

// errClosed: the gateway is ending.
var errClosed = errors.New("the gateway is ending")

// New returns a gateway that serves nobody yet.
func New(o Options) (*Gateway, error) {
	lot, err := newLot(o.Key)
	if err != nil {
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	g := &Gateway{
		o: o, home: o.Home, log: o.Log, lot: lot, life: newID()[:8],
		servers: map[string]*server{}, leftovers: map[string]bool{}, idle: time.Now(), began: time.Now(), moved: make(chan struct{}),
		starts: newStarts(),
		spool:  spool.New(spoolMost, o.Home.Scratch),
	}
	g.visits = visits{open: map[*visitByToken]struct{}{}, wake: make(chan struct{}, 1)}
	g.o.WriteWait = cmp.Or(o.WriteWait, writeTimeout)
	g.o.HeaderWait, g.o.BodyWait = cmp.Or(o.HeaderWait, headerWait), cmp.Or(o.BodyWait, bodyWait)
	g.o.Conns = cmp.Or(o.Conns, connsFor(openFiles()))
	g.o.HelloWait, g.o.ListWait = cmp.Or(o.HelloWait, helloWait), cmp.Or(o.ListWait, listWait)
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.journal, g.refusals = o.Home.AuditJournal(), g.newRefusedCallers()
	g.ctx, g.stop = context.WithCancelCause(context.Background())
	g.mux = g.routes()
	g.ledger = openLedger(o.Home, g.log, o.Heir)
	if !o.Heir {
		if err := g.succeed(); err != nil {
			g.ledger.close()
			return nil, fmt.Errorf("make a gateway: %w", err)
		}
	}
	g.running.Go(g.expire)
	g.running.Go(func() { g.visits.watch(g.ctx) })
	return g, nil
}

// server returns the server of that name, or the shell of that joint.
func (g *Gateway) server(name string) (*server, error) {
	profile, isJoint := profileOf(name)
	if !isJoint || profile != "" {
		if err := berth.CheckName(cmp.Or(profile, name)); err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	s := g.servers[name]
	g.mu.Unlock()
	if s != nil {
		return s, nil
	}
	set, err := g.settingsOf(name)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s = g.servers[name]; s == nil {
		if g.replaced() {
			return nil, errMoved
		}
		s = newServer(g, name, set)
		g.servers[name] = s
	}
	return s, nil
}

// settingsOf returns the settings of a server. A joint has none, but has to be.
func (g *Gateway) settingsOf(name string) (Settings, error) {
	profile, isJoint := profileOf(name)
	if !isJoint {
		return g.o.Settings(name)
	}
	if g.o.Members == nil {
		return Settings{}, berth.ErrNoServer
	}
	_, err := g.o.Members(profile)
	return Settings{}, err
}

// Serve serves the connections of a listener until ctx ends or, where another
// gateway goes on with the listener, until it is closed.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, d Door) error {
	return g.serve(ctx, l, d, false)
}

// ServePassed is Serve for a listener to which only the gateway before this one,
// and who was told of it there, connects: it says for whom it asks.
func (g *Gateway) ServePassed(ctx context.Context, l net.Listener, d Door) error {
	return g.serve(ctx, l, d, true)
}

func (g *Gateway) serve(ctx context.Context, l net.Listener, d Door, passer bool) error {
	hall := newHall(g.o.Conns, &g.turned)
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: g.o.HeaderWait,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				g.connected(1)
			case http.StateClosed:
				g.connected(-1)
				hall.leave(c)
			}
		},
		BaseContext: func(net.Listener) context.Context { return g.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			caller, err := d.Who(plain(c))
			if err != nil {
				g.log.Warn("refused a connection", "error", err)
				c.Close()
			}
			in := entrance{door: d, passer: passer, conn: c}
			if !passer { // who passes a request on has counted it
				if in.guest = hall.enter(c, d.Tokens != nil); in.guest == nil {
					shut(c)
				}
			}
			return withCaller(context.WithValue(ctx, entranceKey{}, in), caller)
		},
	}
	stop := context.AfterFunc(ctx, func() {
		if g.replaced() {
			l.Close() // the connections are still served
			return
		}
		srv.Close()
	})
	defer stop()
	var served net.Listener = quickListener{l}
	if d.TLS != nil {
		served = tls.NewListener(served, d.TLS)
	}
	err := srv.Serve(served)
	if ctx.Err() != nil || g.ctx.Err() != nil || g.replaced() {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// connected counts the connections. One that was taken over for lines counts
// until those end.
func (g *Gateway) connected(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns += n
	g.idle = time.Now()
	close(g.moved)
	g.moved = make(chan struct{})
}

// AwaitIdle returns when nobody has been connected for so long, or with the cause
// of ctx's end.
func (g *Gateway) AwaitIdle(ctx context.Context, long time.Duration) error {
	for {
		g.mu.Lock()
		conns, since, moved := g.conns, time.Since(g.idle), g.moved
		g.mu.Unlock()
		if conns == 0 && since >= long {
			return nil
		}
		wait := time.NewTimer(max(long-since, time.Millisecond))
		if conns > 0 {
			wait.Stop()
		}
		select {
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		case <-moved:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// Close ends all conversations and lets go of the servers, which go on.
func (g *Gateway) Close() {
	g.stop(errClosed)
	g.lot.close()
	g.mu.Lock()
	servers := g.servers
	g.servers = map[string]*server{}
	g.mu.Unlock()
	for _, s := range servers {
		for _, session := range s.everySession() {
			session.end(errClosed)
		}
		for _, c := range s.everyChild() {
			c.close()
		}
	}
	g.running.Wait()
	g.spool.Close()
	g.ledger.close()
	if err := g.journal.Close(); err != nil {
		g.log.Warn("close the audit trail", "error", err)
	}
}

// expire ends sessions that nobody uses any more.
func (g *Gateway) expire() {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case now := <-tick.C:
			g.sweep(now)
		}
	}
}

// sweep ends the sessions that have expired by now, and has the others forget what
// they need not keep.
func (g *Gateway) sweep(now time.Time) {
	g.mu.Lock()
	servers := slices.Collect(maps.Values(g.servers))
	g.mu.Unlock()
	for _, s := range servers {
		for _, session := range s.everySession() {
			if session.expired(now) {
				session.end(errSessionEnded)
				continue
			}
			session.tidy(now)
			session.noteUse(now)
		}
	}
}

// group is a sync.WaitGroup whose Go may be called while Wait waits.
type group struct {
	mu   sync.Mutex // guards the fields below
	n    int
	zero chan struct{}
}

// Go runs f in a goroutine that Wait waits for.
func (g *group) Go(f func()) {
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
	go func() {
		defer g.done()
		f()
	}()
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.zero != nil {
		close(g.zero)
		g.zero = nil
	}
}

// Wait returns when nothing runs.
func (g *group) Wait() {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return
	}
	if g.zero == nil {
		g.zero = make(chan struct{})
	}
	zero := g.zero
	g.mu.Unlock()
	<-zero
}
