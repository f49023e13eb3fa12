package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// listen is a modern client's subscriptions/listen on a server whose child is
// legacy.
type listen struct {
	id     []byte        // the request's, as the client wrote it
	filter bridge.Filter // guarded by server.mu
	there  bool          // its child serves it: here it only hears what the gateway has to say
	events *inbox        // what the client has not been sent yet
}

// listensMost bounds the subscriptions/listen of modern clients of one gateway.
const listensMost = 10000

// listenFor serves a modern client's subscriptions/listen until ctx ends. The
// child may come and go meanwhile.
func (s *server) listenFor(ctx context.Context, x exchange) ([]byte, error) {
	filter, err := bridge.ParseListen(x.m.Params)
	if err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: err.Error()}
	}
	if s.g.listens.Add(1) > listensMost {
		s.g.listens.Add(-1)
		return nil, busy("%d clients listen", listensMost)
	}
	defer s.g.listens.Add(-1)
	if len(filter.URIs) > 0 {
		s.following(1)
		defer s.following(-1)
	}
	acknowledged := false
	for {
		came := s.coming()
		m, runs := s.lookUp(x.by)
		switch {
		case m == nil || runs || len(filter.URIs) > 0: // it is there, or has to be
		case m.Era == mcp.Legacy:
			return nil, s.listenHere(ctx, x, filter.Within(m.Info().Capabilities), acknowledged)
		default:
			if err := s.listenAside(ctx, x, filter.Within(m.Info().Capabilities), &acknowledged, came); err != nil {
				return nil, err
			}
			continue
		}
		c, err := s.up(ctx, x.by)
		if err != nil {
			return nil, err
		}
		if c.era == mcp.Legacy {
			return nil, s.listenHere(ctx, x, filter.Within(c.info.Capabilities), acknowledged)
		}
		line, err := s.listenThere(ctx, c, x, filter, &acknowledged)
		if errors.Is(err, errWithdrawn) {
			return nil, nil
		}
		if err == nil || ctx.Err() != nil {
			return line, err
		}
		// The child went away: its successor is asked the same.
	}
}

// coming returns what is closed when the next process of the server is there.
func (s *server) coming() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.came
}

// following counts the modern clients that follow resources: their server is not
// put to rest.
func (s *server) following(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follows += n
}

// listenAside serves a subscriptions/listen while there is no process that could,
// which nobody else needs: until there is one.
func (s *server) listenAside(ctx context.Context, x exchange, filter bridge.Filter, acknowledged *bool, came <-chan struct{}) error {
	l, leave := s.join(x, filter, true)
	defer leave()
	if !*acknowledged {
		*acknowledged = true
		x.out.put(bridge.Acknowledged(x.m.ID, filter))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-came:
			cancel(errCame)
		case <-stop:
		}
	}()
	if err := s.relay(ctx, x, l); !errors.Is(err, errCame) {
		return err
	}
	return nil
}

// errCame: there is a process.
var errCame = errors.New("the server's process is there")

// join has a client hear what is said to everyone who listens.
func (s *server) join(x exchange, filter bridge.Filter, there bool) (l *listen, leave func()) {
	l = &listen{id: x.m.ID, filter: filter, there: there, events: newInbox(s.g.spool)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listens[l] = struct{}{}
	return l, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listens, l)
		l.events.close()
	}
}

// relay passes on what one hears until ctx ends.
func (s *server) relay(ctx context.Context, x exchange, l *listen) error {
	for {
		e, err := l.events.take(ctx)
		if err == nil {
			err = e.err
		}
		if err != nil {
			return err
		}
		x.out.put(e.line)
	}
}

// listenHere collects what a legacy child tells everyone. It is begun before the
// client is told so, and what it is told waits for it in an inbox: the goroutine
// that reads the child must not wait for a client.
func (s *server) listenHere(ctx context.Context, x exchange, filter bridge.Filter, acknowledged bool) error {
	l, leave := s.join(x, filter, false)
	var followed []string
	defer func() {
		leave()
		for _, uri := range followed {
			s.unsubscribe(x.by, uri)
		}
	}()
	for _, uri := range filter.URIs {
		if err := s.subscribe(ctx, x.by, uri); err != nil {
			s.g.log.Debug("subscribe", "server", s.name, "error", err)
			continue
		}
		followed = append(followed, uri)
	}
	filter.URIs = followed
	s.mu.Lock()
	l.filter = filter
	s.mu.Unlock()
	if !acknowledged {
		x.out.put(bridge.Acknowledged(x.m.ID, filter))
	}
	return s.relay(ctx, x, l)
}

// listenThere has a modern child serve the request; acknowledged says whether
// the client has heard that it is listened for.
func (s *server) listenThere(ctx context.Context, c *child, x exchange, filter bridge.Filter, acknowledged *bool) ([]byte, error) {
	l, leave := s.join(x, filter, true)
	defer leave()
	listening, cancel := context.WithCancel(ctx)
	var aside sync.WaitGroup
	defer aside.Wait()
	defer cancel()
	var once sync.Once
	begin := func() { once.Do(func() { aside.Go(func() { _ = s.relay(listening, x, l) }) }) }
	if *acknowledged {
		begin()
	}
	k, err := c.begin(ctx, x.by, x.m, s.ownSubscriptions(x))
	if err != nil {
		return nil, err
	}
	quiet := x
	quiet.out = outletFunc(func(line []byte) {
		m, err := jsonrpc.Parse(line)
		if err == nil && m.Method == "notifications/subscriptions/acknowledged" {
			if *acknowledged {
				return
			}
			*acknowledged = true
			defer begin()
		}
		x.out.put(line)
	})
	e, err := c.run(ctx, k, quiet)
	if err != nil {
		return nil, err
	}
	r := jsonrpc.Rewrite{ID: x.m.ID}
	if bridge.Subscription(e.m.Result) != nil {
		r.Result = bridge.Tag(e.m.Result, x.m.ID)
	}
	return e.m.Rewrite(r)
}

// outletFunc is a function as an outlet.
type outletFunc func(line []byte)

func (f outletFunc) put(line []byte) { f(line) }

// watch is one subscriptions/listen of ours on a modern child, for all legacy
// sessions.
type watch struct {
	child  *child
	uris   []string
	cancel context.CancelFunc
	heard  chan struct{} // closed once the child has acknowledged it, or has ended it
}

// watchWait bounds how long who wants to hear of something waits for the child to say
// that it is listened for.
const watchWait = 2 * time.Second

// await returns when what happens from now on will be told; the watch may be nil.
func (w *watch) await(ctx context.Context) {
	if w == nil {
		return
	}
	late := time.NewTimer(watchWait)
	defer late.Stop()
	select {
	case <-w.heard:
	case <-late.C:
	case <-ctx.Done():
	}
}

// syncWatch has the watch be what the legacy sessions need now, and returns it; nil if
// they need none.
func (s *server) syncWatch(c *child) *watch {
	if c == nil || c.era != mcp.Modern {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slotFor(nil).child != c {
		return nil // legacy clients have another process
	}
	uris := slices.Sorted(maps.Keys(s.subs))
	if len(s.sessions) == 0 && !s.watched {
		if s.watch != nil {
			s.watch.cancel()
			s.watch = nil
		}
		return nil
	}
	if s.watch != nil && s.watch.child == c && slices.Equal(s.watch.uris, uris) {
		return s.watch
	}
	ctx, cancel := context.WithCancel(s.ctx)
	last := s.watch
	w := &watch{child: c, uris: uris, cancel: cancel, heard: make(chan struct{})}
	s.watch = w
	s.g.running.Go(func() {
		defer cancel()
		heard := sync.OnceFunc(func() { close(w.heard) })
		defer heard()
		s.watchOn(ctx, w, last, heard)
	})
	return w
}

// watchOn keeps one watch. The one before ends when the child has acknowledged
// this one, so that nothing falls in between.
func (s *server) watchOn(ctx context.Context, w, last *watch, heard func()) {
	c := w.child
	endLast := func() {
		if last != nil {
			last.cancel()
			last = nil
		}
	}
	defer endLast()
	filter := bridge.Filter{
		Tools: true, Prompts: true, Resources: true, URIs: w.uris,
	}.Within(c.info.Capabilities)
	line, err := jsonrpc.NewRequest([]byte("0"), "subscriptions/listen", bridge.ListenParams(filter, bridge.Client{Capabilities: []byte("{}"), Info: mcp.ClientInfo()}))
	if err != nil {
		return
	}
	m, err := jsonrpc.Parse(line)
	if err != nil {
		return
	}
	k, err := c.begin(ctx, &caller{modern: true}, m, m.Params)
	if err != nil {
		return
	}
	x := exchange{m: m, out: outletFunc(func(line []byte) {
		m, err := jsonrpc.Parse(line)
		if err != nil {
			return
		}
		if m.Method == "notifications/subscriptions/acknowledged" {
			heard()
			endLast()
			return
		}
		c.heard(m)
	})}
	_, _ = c.run(ctx, k, x) // it ends with ctx or the child, or the server ends it
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == w {
		s.watch = nil // who needs it opens another
	}
}

// heard passes on to the legacy sessions what a modern child told our watch.
func (c *child) heard(m jsonrpc.Message) {
	params := bridge.Untag(m.Params)
	line, err := jsonrpc.NewNotification(m.Method, params)
	if err != nil {
		return
	}
	if m.Method == "notifications/resources/updated" {
		c.tellSubscribers(stringOf(jsonrpc.Get(params, "uri")), line)
		return
	}
	c.tellSessions(line)
}

// changed passes on a legacy child's list_changed.
func (c *child) changed(m jsonrpc.Message, line []byte) {
	c.tellSessions(line)
	c.tellListens(m.Method, m.Params, false)
}

// announce tells everyone who uses the child that a list may have changed.
func (s *server) announce(c *child, method string) {
	line, err := jsonrpc.NewNotification(method, nil)
	if err != nil {
		return
	}
	s.outdated(method)
	c.tellSessions(line)
	c.tellListens(method, nil, true)
}

// updated passes on a legacy child's news of a resource.
func (c *child) updated(uri string, m jsonrpc.Message, line []byte) {
	c.tellSubscribers(uri, line)
	c.tellListens(m.Method, m.Params, false)
}

func (c *child) tellSessions(line []byte) {
	for _, session := range c.hearers() {
		session.tell(line)
	}
}

func (s *server) everySession() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sessions))
}

// hearers are the sessions that what the child says to everyone is for: one that
// has its own process hears that and no other.
func (c *child) hearers() []*session {
	if own := c.slot.session; own != nil {
		return []*session{own}
	}
	return slices.DeleteFunc(c.srv.everySession(), func(s *session) bool { return s.tag != "" })
}

func (c *child) tellSubscribers(uri string, line []byte) {
	for _, session := range c.hearers() {
		session.mu.Lock()
		wants := false
		for want := range session.subs {
			wants = wants || bridge.Concerns(uri, want)
		}
		session.mu.Unlock()
		if wants {
			session.tell(line)
		}
	}
}

// tellListens tells those that listen here, and the others too if it is the
// gateway's own word.
func (c *child) tellListens(method string, params []byte, ours bool) {
	if c.slot.session == nil { // modern clients share the other
		c.srv.tellListens(method, params, ours)
	}
}

func (s *server) tellListens(method string, params []byte, ours bool) {
	s.mu.Lock()
	var want []*listen
	for l := range s.listens {
		if (ours || !l.there) && l.filter.Passes(method, params) {
			want = append(want, l)
		}
	}
	s.mu.Unlock()
	for _, l := range want {
		if line, err := jsonrpc.NewNotification(method, bridge.Tag(params, l.id)); err == nil {
			l.events.put(event{line: line})
		}
	}
}

// completed passes on that an elicitation by URL is complete.
func (s *server) completed(id string, line []byte) {
	s.mu.Lock()
	session := s.elicited[id]
	delete(s.elicited, id)
	s.mu.Unlock()
	if session != nil {
		session.tell(line)
	}
}

// subscribe counts one more who wants updates of a resource; the first has the
// child asked for them.
func (s *server) subscribe(ctx context.Context, by *caller, uri string) error {
	s.mu.Lock()
	sl := s.slotFor(by)
	first := s.subsOf(sl).add(uri)
	s.mu.Unlock()
	c, err := s.up(ctx, by)
	if err == nil && c.era == mcp.Modern {
		s.syncWatch(c).await(ctx)
		return nil
	}
	if err == nil && first {
		_, err = c.inquire(ctx, "resources/subscribe", fmt.Appendf(nil, `{"uri":%s}`, jsonrpc.StringID(uri)))
	}
	if err != nil {
		s.drop(sl, uri)
	}
	return err
}

// subscriptions count the sessions and listens that want updates of a URI.
type subscriptions map[string]int

// subsOf are the subscriptions of those who use a process. The caller holds the
// mutex.
func (s *server) subsOf(sl *slot) *subscriptions {
	if sl.session != nil {
		return &sl.subs
	}
	return &s.subs
}

// add counts one more and says whether it is the first.
func (n *subscriptions) add(uri string) bool {
	if *n == nil {
		*n = subscriptions{}
	}
	(*n)[uri]++
	return (*n)[uri] == 1
}

// unsubscribe counts one less.
func (s *server) unsubscribe(by *caller, uri string) {
	s.mu.Lock()
	sl := s.slotFor(by)
	s.mu.Unlock()
	s.drop(sl, uri)
}

// drop is unsubscribe for the clients of one process.
func (s *server) drop(sl *slot, uri string) {
	s.mu.Lock()
	subs := *s.subsOf(sl)
	last := subs[uri] == 1
	if last {
		delete(subs, uri)
	} else if subs[uri] > 1 {
		subs[uri]--
	}
	c := sl.child
	s.mu.Unlock()
	if !last || c == nil || s.ctx.Err() != nil {
		return
	}
	if c.era == mcp.Modern {
		s.syncWatch(c)
		return
	}
	s.g.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, abandonTimeout)
		defer cancel()
		_, _ = c.inquire(ctx, "resources/unsubscribe", fmt.Appendf(nil, `{"uri":%s}`, jsonrpc.StringID(uri)))
	})
}
