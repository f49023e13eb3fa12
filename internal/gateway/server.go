package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
)

// server is one server and all clients that use it through this gateway.
type server struct {
	g    *Gateway
	name string
	// ctx ends with Close, or when another gateway is to serve the server.
	ctx    context.Context
	stop   context.CancelCauseFunc
	tenure tenure
	// joint is nil unless this is the shell of one: it has clients, and no process.
	joint *joint
	// edition counts the moments since which its lists may be others.
	edition atomic.Uint64
	// changes counts how often its settings may have changed.
	changes atomic.Uint64

	mu       sync.Mutex // guards the fields below
	settings Settings
	hearers  map[*joint]bool  // that it is a member of
	watched  bool             // somebody wants to know when its lists change, whoever listens
	slots    map[string]*slot // its processes, by the tag of their instance
	noProbe  bool             // the server ends when it is asked for its era
	doubts   bool             // what is remembered of its era is not believed
	subs     subscriptions    // of all who share its processes
	single   bool             // it has turned out to speak the legacy era only
	came     chan struct{}    // closed when the next process is there
	follows  int              // modern clients that follow resources
	invited  bool             // a client has come and found no process: it may have one
	sessions map[string]*session
	listens  map[*listen]struct{} // of modern clients on a legacy child
	watch    *watch               // on a modern child, for legacy sessions
	askers   map[string]bool      // tools that ask their client something
	elicited map[string]*session  // elicitation ids, to whom each was shown
	tasks    tasks
	old      map[string]*oldClient
	lines    map[*lineClient]struct{} // every connection of lines

	gate    gate
	figures figures
	pins    pins
}

// set returns the server's settings.
func (s *server) set() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

func newServer(g *Gateway, name string, set Settings) *server {
	s := &server{
		g: g, name: name, settings: set,
		slots: map[string]*slot{}, sessions: map[string]*session{}, listens: map[*listen]struct{}{},
		askers: map[string]bool{}, elicited: map[string]*session{},
		came: make(chan struct{}), lines: map[*lineClient]struct{}{},
	}
	s.ctx, s.stop = context.WithCancelCause(g.ctx)
	if profile, ok := profileOf(name); ok {
		s.joint = newJoint(g, s, profile)
	}
	s.recall()
	return s
}

// slot is where a child of the server is, or will be.
type slot struct {
	tag     string  // of the instance; "" is the server's own process
	era     mcp.Era // the only one that may be spoken to it, or ""
	child   *child  // nil while there is none
	coming  *arrival
	session *session      // the only one that uses it; nil: any
	subs    subscriptions // of that session
	everUp  bool          // a child was there: what follows is a replacement
	// held is closed when the process may be reached again; nil if it may be.
	held chan struct{}
	demand
}

// hold keeps everyone from the process of a slot until release is called: it is
// being ended on purpose.
func (s *server) hold(sl *slot) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holding(sl)
}

// holding is hold for who holds the mutex.
func (s *server) holding(sl *slot) (release func()) {
	held := make(chan struct{})
	sl.held = held
	return func() {
		s.mu.Lock()
		if sl.held == held {
			sl.held = nil
		}
		s.mu.Unlock()
		close(held)
	}
}

// free waits until nobody holds the slot.
func (s *server) free(ctx context.Context, sl *slot) error {
	s.mu.Lock()
	held := sl.held
	s.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// eraOf is the only era that may be spoken in a slot, or "".
func (s *server) eraOf(sl *slot) mcp.Era {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sl.era
}

// legacyTag is the instance of a server that serves legacy clients, if it has a
// process for each era.
const legacyTag = "legacy"

// slotFor returns the slot of the child that a client uses. The caller holds the
// mutex.
func (s *server) slotFor(by *caller) *slot {
	set := s.settings
	tag, era := "", set.Era
	if by != nil && by.session != nil && by.session.tag != "" {
		tag, era = by.session.tag, mcp.Legacy
	} else if set.Both && (by == nil || !by.modern) && !s.single {
		// One that has turned out to speak one era only has one process.
		tag, era = legacyTag, mcp.Legacy
	}
	if s.slots[tag] == nil {
		s.slots[tag] = &slot{tag: tag, era: era}
		if by != nil && by.session != nil && by.session.tag != "" {
			s.slots[tag].session = by.session
		}
	}
	return s.slots[tag]
}

// childOf returns the child that a client uses, nil while there is none.
func (s *server) childOf(by *caller) *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slotFor(by).child
}

func (s *server) everyChild() []*child {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*child
	for _, sl := range s.slots {
		if sl.child != nil {
			all = append(all, sl.child)
		}
	}
	return all
}

// arrival is one attempt to have a child, for all who wait for it.
type arrival struct {
	fresh bool // for a client that has just come
	done  chan struct{}
	child *child
	err   error
}

// startTimeout bounds how long a server may take until it answers: one that npx
// has to download first needs a minute.
const startTimeout = 90 * time.Second

// up returns the child that a client uses, starting it where it does not run. A
// server that its user stopped is started for a client that comes, and for no
// other.
func (s *server) up(ctx context.Context, by *caller) (*child, error) { return s.upFor(ctx, by, false) }

func (s *server) upFor(ctx context.Context, by *caller, fresh bool) (*child, error) {
	if by == nil || !by.modern {
		if err := s.knowEra(ctx, fresh); err != nil {
			return nil, err
		}
	}
	s.refresh()
	for {
		s.mu.Lock()
		sl := s.slotFor(by)
		fresh = fresh || s.invited && sl.session == nil
		if c := sl.child; c != nil && !c.gone() {
			s.mu.Unlock()
			return c, nil
		}
		a := sl.coming
		if a == nil {
			a = &arrival{fresh: fresh, done: make(chan struct{})}
			sl.coming = a
			s.g.running.Go(func() { s.arrive(sl, a) })
		}
		s.mu.Unlock()
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.err == nil || a.fresh || !fresh {
			return a.child, a.err
		}
	}
}

// refresh reads the server's settings again while no process of it is used.
func (s *server) refresh() {
	s.mu.Lock()
	vacant := s.unused()
	s.mu.Unlock()
	if !vacant {
		return
	}
	if set, err := s.g.o.Settings(s.name); err == nil {
		s.mu.Lock()
		s.take(set)
		s.mu.Unlock()
	}
}

// unused says whether no process of the server is used. The caller holds the
// mutex.
func (s *server) unused() bool {
	for _, sl := range s.slots {
		if sl.child != nil {
			return false
		}
	}
	return true
}

// take takes settings that were read. What was found out of another command line
// is forgotten. The caller holds the mutex.
func (s *server) take(set Settings) {
	if set.Manifest != s.settings.Manifest {
		s.single, s.noProbe, s.doubts = false, false, false
	}
	s.edition.Add(1)
	if own := s.slots[""]; own != nil && own.child == nil {
		own.era = set.Era
	}
	s.settings = set
}

// knowEra has the server's own process up before a legacy client gets one of its
// own, if it is to have a process for each era: it may speak one only.
func (s *server) knowEra(ctx context.Context, fresh bool) error {
	s.mu.Lock()
	own := s.slots[""]
	known := !s.settings.Both || s.single || own != nil && (own.everUp || own.manifest != nil)
	s.mu.Unlock()
	if known || shim.Listens(s.g.home, berth.InstanceName(s.name, legacyTag)) {
		return nil
	}
	_, err := s.upFor(ctx, &caller{modern: true}, fresh)
	return err
}

// arrive carries out one attempt.
func (s *server) arrive(sl *slot, a *arrival) {
	defer s.g.starts.enter(s.ctx, s.g.home, s.instance(sl))()
	ctx, cancel := context.WithTimeoutCause(s.ctx, startTimeout, fmt.Errorf("server %q did not answer within %v", s.name, startTimeout))
	defer cancel()
	a.child, a.err = s.reach(ctx, sl, a.fresh)
	anew := a.err == nil && s.meet(sl, a.child)
	s.mu.Lock()
	sl.coming = nil
	replaced, rested := false, sl.rested
	if a.err == nil {
		sl.child = a.child
		replaced, sl.everUp = sl.everUp, true
		s.single = s.single || sl.tag == "" && a.child.era == mcp.Legacy
		sl.rested = false
		s.invited = s.invited && sl.session != nil
		close(s.came)
		s.came = make(chan struct{})
	}
	s.mu.Unlock()
	s.edition.Add(1)
	if a.err == nil {
		// Those that were initialized by the process before it meanwhile.
		anew = s.meet(sl, a.child) || anew
		s.cancelAbandoned(ctx, a.child)
		// Of one that was at rest the lists are known, and compared; see survey.
		s.restore(ctx, a.child, (replaced || anew) && !rested)
		if s.ctx.Err() != nil {
			a.child.close() // Close, or leave, may not have seen it
		}
		s.g.running.Go(a.child.survey)
		s.g.running.Go(a.child.idle)
	}
	close(a.done)
}

// reach starts a process of the server where it does not run, attaches, and asks
// for a fresh one where only that can be spoken to.
func (s *server) reach(ctx context.Context, sl *slot, fresh bool) (*child, error) {
	name := s.instance(sl)
	deaths := 0
	for {
		if err := s.free(ctx, sl); err != nil {
			return nil, err
		}
		if err := s.g.o.Up(ctx, name, fresh); err != nil {
			return nil, err
		}
		c, err := connect(ctx, s, name, sl)
		var changed *shim.GenerationError
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, err
		case errors.Is(err, berth.ErrHeld):
			// A command of the user's; it is short.
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return nil, err
			}
		case errors.Is(err, mcp.ErrNeedsFresh):
			st, statusErr := s.g.o.Manager.Status(ctx, name)
			if statusErr != nil {
				return nil, statusErr
			}
			if err := s.g.o.Manager.Renew(ctx, name, st.Generation); err != nil && !errors.Is(err, shim.ErrGone) {
				return nil, err
			}
		case errors.As(err, &changed), errors.Is(err, shim.ErrGone), errors.Is(err, berth.ErrNotRunning):
			if errors.Is(err, mcp.ErrDiedOnProbe) {
				s.mu.Lock()
				s.noProbe = true
				s.mu.Unlock()
			}
			if deaths++; deaths >= mostDeaths {
				return nil, fmt.Errorf("server %q ended %d times before it answered: %w", s.name, deaths, err)
			}
		default:
			return nil, err
		}
	}
}

// mostDeaths is how often a server may end before it has answered.
const mostDeaths = 3

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *server) skipsProbe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.noProbe
}

// lost: the child's process has ended. Clients keep their sessions; where
// somebody waits for news of it, another is brought up at once.
func (s *server) lost(c *child) {
	s.mu.Lock()
	sl := c.slot
	if sl.child == c {
		sl.child = nil
	}
	ends := s.settings.EndOnCrash
	wanted := len(*s.subsOf(sl)) > 0
	var by *caller // whose process it was; nil: everyone's
	if sl.session != nil {
		by = sl.session.who
	} else {
		wanted = wanted || len(s.listens) > 0 || ends && len(s.sessions) > 0
	}
	resting := c.resting
	s.mu.Unlock()
	s.edition.Add(1)
	s.elicitationsEnd()
	s.g.lot.lost(c)
	if resting {
		return // nobody uses it
	}
	if ends && errors.As(c.session.Err(), new(*shim.GenerationError)) {
		s.bereave(c)
	}
	if wanted && s.ctx.Err() == nil {
		s.g.running.Go(func() {
			// Without one there is no news; the next request says why.
			_, _ = s.up(s.ctx, by)
		})
	}
}

// restore tells a new process what the one before it had been told.
func (s *server) restore(ctx context.Context, c *child, replaced bool) {
	if c.era == mcp.Legacy {
		s.mu.Lock()
		uris := slices.Collect(maps.Keys(*s.subsOf(c.slot)))
		s.mu.Unlock()
		for _, uri := range uris {
			_, _ = c.inquire(ctx, "resources/subscribe", fmt.Appendf(nil, `{"uri":%s}`, jsonrpc.StringID(uri)))
		}
		s.syncLevel(ctx, c)
	} else {
		s.syncWatch(c).await(ctx)
	}
	if replaced {
		// What it lists may differ from what the last one did.
		for _, what := range listKinds() {
			if c.declares(what, "listChanged") {
				s.announce(c, "notifications/"+what+"/list_changed")
			}
		}
	}
}

// Bounds on the sessions of one gateway, and on those of one server that have a
// process each.
const (
	sessionsMost = 10000
	ownMost      = 32
)

// admit takes a session in and gives it a process of its own if it is to have
// one.
func (s *server) admit(session *session) error {
	if !s.g.count(session, 1) {
		return busy("%d clients have sessions", sessionsMost)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settings.PerSession {
		for n := 1; session.tag == ""; n++ {
			if n > ownMost {
				s.g.count(session, -1)
				return busy("%d clients have a process of this server each", ownMost)
			}
			// Names are used again: what is kept of each is bounded, too.
			if tag := sessionTag(n); s.slots[tag] == nil && !s.g.isLeftover(s.name, tag) {
				session.tag = tag
				s.slotFor(session.who)
			}
		}
	}
	s.sessions[session.key] = session
	return nil
}

// count takes note of a session more, or less, and says whether there may be so
// many. The parts of one are one.
func (g *Gateway) count(session *session, more int64) bool {
	if ownerOf(session.key) != "" {
		return true
	}
	if g.sessions.Add(more) > sessionsMost && more > 0 {
		g.sessions.Add(-more)
		return false
	}
	return true
}

// forgetSession is the end of a session, and of its own process.
func (s *server) forgetSession(session *session) {
	s.mu.Lock()
	_, there := s.sessions[session.key]
	delete(s.sessions, session.key)
	sl := s.slots[session.tag]
	s.mu.Unlock()
	if !there {
		return
	}
	s.g.count(session, -1)
	if session.tag == "" || session.outlives() {
		return
	}
	s.g.running.Go(func() {
		s.mu.Lock()
		c := sl.child
		s.mu.Unlock()
		if c != nil {
			c.close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if _, err := s.g.o.Manager.Stop(ctx, berth.InstanceName(s.name, session.tag)); err != nil {
			s.g.log.Warn("stop the process of a session", "server", s.name, "error", err)
		}
		s.mu.Lock()
		delete(s.slots, session.tag)
		s.mu.Unlock()
	})
}

// stopTimeout bounds the stop of a session's own process.
const stopTimeout = 30 * time.Second

// session returns the session of that id if it belongs to the caller.
func (s *server) session(id string, by Caller) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessions[keyOf(id)]
	if session == nil || session.who.Caller != by {
		return nil
	}
	return session
}

// asking remembers that tools ask their client something: from then on each runs
// alone. Of several that were running, one did; certain says that it is known
// which.
func (s *server) asking(tools []string, certain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tool := range tools {
		if certain && len(tools) > 1 {
			break // one client's own: no harm can come of it
		}
		if !s.askers[tool] {
			s.askers[tool] = true
			s.g.ledger.note(record{Server: s.name, Asker: tool})
		}
	}
}

func (s *server) asks(tool string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askers[tool]
}
