package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// The transport of 2024-11-05, "HTTP with SSE": one stream of events for all that
// the client is told, and a place to post messages to, which the first event
// names. Its session ends with the stream.

// oldStream is GET /servers/NAME/sse.
func (g *Gateway) oldStream(w http.ResponseWriter, r *http.Request, s *server) {
	if !accepts(r, "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, "the client must accept text/event-stream")
		return
	}
	v, ok := s.visit(w, r, true, nil)
	if !ok {
		return
	}
	defer v.end()
	defer streaming(&g.streams.sse)()
	events := s.g.events(w)
	o := &oldClient{
		id: newID(), by: callerIn(r.Context()), abort: events.abort,
		queue: s.g.spool.NewQueue(slowMemory, slowMost), more: make(chan struct{}, 1),
		cut: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	defer o.queue.Close()
	s.mu.Lock()
	if s.old == nil {
		s.old = map[string]*oldClient{}
	}
	s.old[o.id] = o
	s.mu.Unlock()
	defer func() {
		close(o.gone)
		s.mu.Lock()
		delete(s.old, o.id)
		s.mu.Unlock()
		if session := o.sessionNow(); session != nil {
			session.end(errSessionEnded)
		}
	}()
	if events.named("endpoint", s.path()+"/messages?sessionId="+o.id) != nil || events.flush() != nil {
		return
	}
	v.end() // it has no end of its own
	comment := time.NewTicker(commentEvery)
	defer comment.Stop()
	for {
		var err error
		select {
		case <-o.more:
			err = o.write(r.Context(), events)
		case <-comment.C:
			err = events.comment()
		case <-o.cut:
			if o.write(r.Context(), events) != nil { // what was said before
				events.abort()
			}
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			events.abort()
			return
		}
	}
}

// oldClient is one client of the old transport.
type oldClient struct {
	id    string
	by    Caller
	abort func()        // has the stream end in the middle
	queue *spool.Queue  // what it has not read yet
	more  chan struct{} // holds a token when there may be something in the queue
	cut   chan struct{} // holds a token when the stream is to end
	gone  chan struct{} // closed when the stream has ended

	mu      sync.Mutex // guards the fields below
	session *session
	behind  bool // it reads too slowly
}

func (o *oldClient) sessionNow() *session {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.session
}

// put queues a message for the stream; a client that does not read is cut off.
func (o *oldClient) put(line []byte) {
	if line == nil {
		return // it was cancelled
	}
	if o.queue.Put(line) != nil {
		o.mu.Lock()
		o.behind = true
		o.mu.Unlock()
		o.abort()
	}
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// write writes what is queued.
func (o *oldClient) write(ctx context.Context, events *eventWriter) error {
	for ctx.Err() == nil {
		o.mu.Lock()
		behind := o.behind
		o.mu.Unlock()
		if behind {
			return errBehind
		}
		line, ok, err := o.queue.Take()
		if err != nil || !ok {
			return err
		}
		if err := events.event("", string(line)); err != nil {
			return err
		}
		if err := events.flush(); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// cutOff ends the stream.
func (o *oldClient) cutOff() {
	select {
	case o.cut <- struct{}{}:
	default:
	}
}

// oldMessage is POST /servers/NAME/messages.
func (g *Gateway) oldMessage(w http.ResponseWriter, r *http.Request, s *server) {
	// Of a server that has moved, such sessions have ended: the answer is below.
	err := s.tenure.enter(r.Context(), false)
	if err == nil {
		defer s.tenure.exit()
	}
	s.mu.Lock()
	o := s.old[r.URL.Query().Get("sessionId")]
	s.mu.Unlock()
	if err != nil || o == nil || o.by != callerIn(r.Context()) {
		refuse(w, http.StatusNotFound, "no such session; open the stream again")
		return
	}
	body, ok := g.readBody(w, r)
	if !ok {
		return
	}
	served := false // in a goroutine, which releases the body
	defer func() {
		if !served {
			g.spool.Release(body)
		}
	}()
	m, ok := parse(w, body)
	if !ok {
		return
	}
	session := o.sessionNow()
	if session == nil && (m.Kind != jsonrpc.Request || m.Method != "initialize") {
		refuse(w, http.StatusBadRequest, "initialize comes first")
		return
	}
	ctx := r.Context()
	if m.Kind == jsonrpc.Batch {
		o.batch(w, r, session, body)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	switch m.Kind {
	case jsonrpc.Request:
		if session == nil {
			s.serving(func() { o.put(o.initialize(s, m)) })
			return
		}
		served = true
		s.serving(func() {
			defer g.spool.Release(body)
			o.put(session.request(ctx, m, o))
		})
	case jsonrpc.Notification:
		session.notified(ctx, m)
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		session.replied(m)
	}
}

// batch takes a batch, which only some revisions have.
func (o *oldClient) batch(w http.ResponseWriter, r *http.Request, s *session, body []byte) {
	if !bridge.Batches(s.version) {
		refuse(w, http.StatusBadRequest, "this revision of MCP has no batches")
		return
	}
	ctx := r.Context()
	requests, ok := s.takeBatch(ctx, body)
	if !ok {
		refuse(w, http.StatusBadRequest, "the batch holds something that is no message")
		return
	}
	w.WriteHeader(http.StatusAccepted)
	if len(requests) > 0 {
		s.srv.serving(func() { o.put(s.batch(ctx, requests, o)) })
	}
}

// initialize opens the session of an old client.
func (o *oldClient) initialize(s *server, m jsonrpc.Message) []byte {
	session, line := s.initialize(s.ctx, o.by, m)
	if session == nil {
		return line
	}
	session.use() // until the stream ends: it is never idle
	session.listen(o)
	session.onEnd(func(error) { o.cutOff() })
	o.mu.Lock()
	o.session = session
	o.mu.Unlock()
	select {
	case <-o.gone:
		session.end(errSessionEnded)
	default:
	}
	return line
}
