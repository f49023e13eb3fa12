package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// The headers of the Streamable HTTP transport.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
	headerLast    = "Last-Event-ID"
)

// promoteAfter is how long an answer may take before the response becomes a
// stream of events: clients and proxies give up on one that says nothing.
const promoteAfter = 200 * time.Millisecond

// streamable is /servers/NAME/mcp, for clients of both eras: the era is chosen
// for each request.
func (g *Gateway) streamable(w http.ResponseWriter, r *http.Request, s *server) {
	version := r.Header.Get(headerVersion)
	switch r.Method {
	case http.MethodPost:
		g.post(w, r, s)
	case http.MethodGet:
		if bridge.IsModern(version) {
			notAllowed(w, "POST")
			return
		}
		g.get(w, r, s)
	case http.MethodDelete:
		if bridge.IsModern(version) {
			notAllowed(w, "POST")
			return
		}
		v, ok := s.visit(w, r, false, nil)
		if !ok {
			return
		}
		defer v.end()
		if session := sessionFor(w, r, s); session != nil {
			session.end(errSessionEnded)
			w.WriteHeader(http.StatusNoContent)
		}
	default:
		notAllowed(w, "GET, POST, DELETE")
	}
}

func notAllowed(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	refuse(w, http.StatusMethodNotAllowed, "this method is not allowed here")
}

func (g *Gateway) post(w http.ResponseWriter, r *http.Request, s *server) {
	body, ok := g.readBody(w, r)
	if !ok {
		return
	}
	defer g.spool.Release(body)
	if !accepts(r, "application/json") && !accepts(r, "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, "the client must accept application/json or text/event-stream")
		return
	}
	m, ok := parse(w, body)
	if !ok {
		return
	}
	v, ok := s.visit(w, r, startsWork(m), body)
	if !ok {
		return
	}
	defer v.end()
	switch {
	case !isModern(r.Header.Get(headerVersion), m):
		s.postLegacy(w, r, m, body)
	case m.Kind == jsonrpc.Request && m.Method == "subscriptions/listen":
		v.end() // it has no end of its own
		if !s.postListen(w, r, m) {
			if v, ok := s.visit(w, r, true, body); ok {
				v.end() // cannot happen: it has moved
			}
		}
	default:
		s.postModern(w, r, m)
	}
}

// startsWork says whether a message is one for which another may have to wait: not
// one that belongs to a request which is being served, or parked.
func startsWork(m jsonrpc.Message) bool {
	if m.Kind == jsonrpc.Request {
		_, state, retry := bridge.Answers(m.Params)
		return !retry || state == ""
	}
	return m.Kind == jsonrpc.Batch
}

// isModern says whether a message is a modern client's. The version in the
// header is a date, so text order is its order.
func isModern(version string, m jsonrpc.Message) bool {
	if bridge.IsModern(version) {
		return true
	}
	_, _, ok := bridge.ClientOf(m.Params)
	return ok
}

// postModern serves one message of a modern client.
func (s *server) postModern(w http.ResponseWriter, r *http.Request, m jsonrpc.Message) {
	switch m.Kind {
	case jsonrpc.Request:
	case jsonrpc.Notification:
		w.WriteHeader(http.StatusAccepted) // there is none that means anything over HTTP
		return
	default:
		refuse(w, http.StatusBadRequest, "a client of this revision sends requests only")
		return
	}
	ctx := r.Context()
	if !s.headersAgree(w, r, m) {
		return
	}
	out := newModernOut(w, r, s.g)
	out.end(s.modernRequest(ctx, callerIn(ctx), m, out))
}

// headersAgree says whether the headers of a modern request say what its body does;
// it has answered if not.
func (s *server) headersAgree(w http.ResponseWriter, r *http.Request, m jsonrpc.Message) bool {
	ctx := r.Context()
	m, err := s.schemaNeeds(ctx, m)
	if err != nil {
		line := s.refusal(exchange{m: m}, err)
		writeLine(w, statusOf(w, line), line)
		return false
	}
	e := bridge.CheckHeaders(r.Header, m, func(tool string) []byte { return s.schema(ctx, tool) })
	if e == nil {
		return true
	}
	if line, err := jsonrpc.NewError(m.ID, e); err == nil {
		writeLine(w, bridge.Status(e.Code), line)
	}
	return false
}

// postListen serves subscriptions/listen until the client leaves, or the server
// moves to another gateway: then its client listens there. It returns false if that
// was before anything was sent.
func (s *server) postListen(w http.ResponseWriter, r *http.Request, m jsonrpc.Message) (served bool) {
	if !s.headersAgree(w, r, m) {
		return true
	}
	ctx, stop := s.whileHere(r.Context())
	defer stop()
	out := newModernOut(w, r, s.g)
	line := s.modernRequest(ctx, callerIn(ctx), m, out)
	if errors.Is(context.Cause(ctx), errMoved) {
		return out.drop()
	}
	out.end(line)
	return true
}

// modernOut is the response to a modern request: JSON if the answer is all there
// is to say, events otherwise.
type modernOut struct {
	w         http.ResponseWriter
	sse, json bool // what the client accepts
	g         *Gateway

	mu     sync.Mutex // guards the fields below and writes to w
	later  *time.Timer
	events *eventWriter
	ended  bool
}

func newModernOut(w http.ResponseWriter, r *http.Request, g *Gateway) *modernOut {
	o := &modernOut{w: w, g: g, sse: accepts(r, "text/event-stream"), json: accepts(r, "application/json")}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.later = time.AfterFunc(promoteAfter, o.live)
	return o
}

// put sends what belongs to the request. A client that takes no events misses it.
func (o *modernOut) put(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || !o.begin() {
		return
	}
	if o.events.event("", string(line)) == nil {
		_ = o.events.flush() // the end of the client ends the request
	}
}

// begin makes the response a stream. The caller holds the mutex.
func (o *modernOut) begin() bool {
	if o.events == nil && o.sse {
		o.events = o.g.events(o.w)
	}
	return o.events != nil
}

// live shows a client that waits that the request lives: by the head of the
// stream first, by comments from then on.
func (o *modernOut) live() {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
		return
	case o.events != nil:
		_ = o.events.comment()
	case o.begin():
		_ = o.events.flush()
	}
	o.later.Reset(commentEvery)
}

// end sends the answer; nil if there is none because the client left.
func (o *modernOut) end(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.later.Stop()
	if line == nil {
		return
	}
	if !o.json {
		o.begin()
	}
	if o.events != nil {
		if o.events.event("", string(line)) == nil {
			_ = o.events.flush()
		}
		return
	}
	writeAnswer(o.w, o.g.spool, statusOf(o.w, line), line)
}

// drop ends the response without an answer, and says whether it had begun.
func (o *modernOut) drop() (begun bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.later.Stop()
	return o.events != nil
}

// statusOf is the HTTP status of an answer. It sets the header that belongs to it.
func statusOf(w http.ResponseWriter, line []byte) int {
	m, err := jsonrpc.Parse(line)
	if err != nil || m.Kind != jsonrpc.ErrorResponse {
		return http.StatusOK
	}
	e := jsonrpc.DecodeError(m.Error)
	if after := retryAfter(e); after != "" {
		w.Header().Set("Retry-After", after)
		return http.StatusTooManyRequests
	}
	return bridge.Status(e.Code)
}

// sessionFor returns the session that a request names; it has answered if that
// is nil.
func sessionFor(w http.ResponseWriter, r *http.Request, s *server) *session {
	id := r.Header.Get(headerSession)
	if id == "" {
		refuse(w, http.StatusBadRequest, "the header "+headerSession+" is missing")
		return nil
	}
	session := s.session(id, callerIn(r.Context()))
	if session == nil {
		noSession(w, errors.New("no such session; initialize again"))
		return nil
	}
	if v := r.Header.Get(headerVersion); v != "" && (!bridge.Supported(v) || bridge.IsModern(v)) {
		refuse(w, http.StatusBadRequest, "unsupported "+headerVersion)
		return nil
	}
	return session
}

// noSession: "the client MUST start a new session by sending a new
// InitializeRequest".
func noSession(w http.ResponseWriter, why error) {
	refuse(w, http.StatusNotFound, why.Error())
}

// postLegacy serves one message, or a batch, of a legacy client.
func (s *server) postLegacy(w http.ResponseWriter, r *http.Request, m jsonrpc.Message, body []byte) {
	if m.Kind == jsonrpc.Request && m.Method == "initialize" {
		session, line := s.initialize(r.Context(), callerIn(r.Context()), m)
		if session != nil {
			session.keep()
			w.Header().Set(headerSession, session.id)
		}
		s.legacyAnswer(w, r, line)
		return
	}
	session := sessionFor(w, r, s)
	if session == nil {
		return
	}
	defer session.use()()
	ctx := r.Context()
	switch m.Kind {
	case jsonrpc.Notification:
		session.notified(ctx, m)
		w.WriteHeader(http.StatusAccepted)
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		session.replied(m)
		w.WriteHeader(http.StatusAccepted)
	case jsonrpc.Request:
		session.respond(w, r, [][]byte{m.ID}, func(out outlet) []byte { return session.request(ctx, m, out) })
	case jsonrpc.Batch:
		session.postBatch(w, r, body)
	}
}

// legacyAnswer sends a message by the kind of content that the client takes.
func (s *server) legacyAnswer(w http.ResponseWriter, r *http.Request, line []byte) {
	if accepts(r, "application/json") {
		writeLine(w, http.StatusOK, line)
		return
	}
	e := s.g.events(w)
	if e.event("", string(line)) == nil {
		_ = e.flush()
	}
}

// respond answers a POST of the session's: with JSON, or with a stream of events
// once there is more to say than the answer, or the answer takes long. A stream
// outlives the connection: "disconnection SHOULD NOT be interpreted as […]
// cancelling".
func (s *session) respond(w http.ResponseWriter, r *http.Request, ids [][]byte, answer func(outlet) []byte) {
	out := &lateStream{session: s, answers: ids, w: w, r: r}
	if accepts(r, "text/event-stream") {
		if accepts(r, "application/json") {
			promote := time.AfterFunc(promoteAfter, func() { out.open() })
			defer promote.Stop()
		} else {
			out.open()
		}
	} else {
		out.plain = true
	}
	line := answer(out)
	if st := out.close(); st != nil {
		if line != nil { // nil: the client cancelled the request
			st.put(line)
		}
		st.finish()
		<-out.served
		return
	}
	if why := s.over(); why != nil && !errors.Is(why, errClosed) {
		noSession(w, why)
		return
	}
	if line == nil {
		w.WriteHeader(http.StatusAccepted) // it was cancelled
		return
	}
	writeAnswer(w, s.srv.g.spool, http.StatusOK, line)
}

// lateStream makes the response a stream when something is to be sent before the
// answer.
type lateStream struct {
	session *session
	answers [][]byte // ids of the requests that it answers
	w       http.ResponseWriter
	r       *http.Request
	served  chan struct{} // closed when nothing more is written to w

	mu     sync.Mutex // guards the fields below
	stream *stream
	plain  bool // it is too late for a stream, or the client takes none
}

// open returns the stream, nil if there is none.
func (l *lateStream) open() *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil && !l.plain {
		st := l.session.newStream()
		st.answers = l.answers
		l.stream, l.served = st, make(chan struct{})
		l.session.srv.g.running.Go(func() {
			defer close(l.served)
			err := st.serve(l.r.Context(), l.session.srv.g.events(l.w), -1) // the client may come back for the rest
			if conn := entranceOf(l.r).conn; errors.Is(err, errBehind) && conn != nil {
				conn.Close() // or it would not know before the answer
			}
		})
	}
	return l.stream
}

// close returns the stream for the answer; if it is nil, there will be none.
func (l *lateStream) close() *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plain = true
	return l.stream
}

// put sends what comes before the answer; a client that takes no events misses
// it.
func (l *lateStream) put(line []byte) {
	if st := l.open(); st != nil {
		st.put(line)
	}
}

// postBatch serves a batch, which only 2025-03-26 has, and answers with one
// array.
func (s *session) postBatch(w http.ResponseWriter, r *http.Request, body []byte) {
	if !bridge.Batches(s.version) {
		refuse(w, http.StatusBadRequest, "this revision of MCP has no batches")
		return
	}
	requests, ok := s.takeBatch(r.Context(), body)
	switch {
	case !ok:
		refuse(w, http.StatusBadRequest, "the batch holds something that is no message")
	case len(requests) == 0:
		w.WriteHeader(http.StatusAccepted)
	default:
		ctx := r.Context()
		var ids [][]byte
		for _, m := range requests {
			ids = append(ids, m.ID)
		}
		s.respond(w, r, ids, func(out outlet) []byte { return s.batch(ctx, requests, out) })
	}
}

// batchMost bounds the messages of a batch.
const batchMost = 100

// takeBatch handles what needs no answer and returns the requests.
func (s *session) takeBatch(ctx context.Context, body []byte) (requests []jsonrpc.Message, ok bool) {
	var all []jsonrpc.Message
	for element := range jsonrpc.Elements(body) {
		m, err := jsonrpc.Parse(element)
		if err != nil || m.Kind == jsonrpc.Batch || len(all) == batchMost {
			return nil, false
		}
		all = append(all, m)
	}
	for _, m := range all {
		switch m.Kind {
		case jsonrpc.Request:
			requests = append(requests, m)
		case jsonrpc.Notification:
			s.notified(ctx, m)
		default:
			s.replied(m)
		}
	}
	return requests, len(all) > 0
}

// batch serves the requests of a batch side by side; nil if all were cancelled.
func (s *session) batch(ctx context.Context, requests []jsonrpc.Message, out outlet) []byte {
	answers := make([][]byte, len(requests))
	var all sync.WaitGroup
	for i, m := range requests {
		all.Go(func() { answers[i] = s.srv.whole(m, s.request(ctx, m, out)) })
	}
	all.Wait()
	array := []byte{'['}
	for _, a := range answers {
		if a == nil {
			continue // it was cancelled
		}
		if len(array) > 1 {
			array = append(array, ',')
		}
		array = append(array, a...)
	}
	if len(array) == 1 {
		return nil
	}
	return append(array, ']')
}

// get is the stream of a session for what belongs to no request, or the rest of
// another stream.
func (g *Gateway) get(w http.ResponseWriter, r *http.Request, s *server) {
	if !accepts(r, "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, "the client must accept text/event-stream")
		return
	}
	v, ok := s.visit(w, r, false, nil)
	if !ok {
		return
	}
	defer v.end()
	session := sessionFor(w, r, s)
	if session == nil {
		return
	}
	defer session.use()()
	if !session.watches(1) {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, fmt.Sprintf("this session has %d streams open", streamsMost))
		return
	}
	defer session.watches(-1)
	if last := r.Header.Get(headerLast); last != "" {
		e, ok := parseEventID(last)
		switch st := session.stream(e); {
		case st != nil:
			if st.general {
				defer session.listen(st)()
				defer streaming(&g.streams.session)()
			}
			v.end() // it has no end of its own
			_ = st.serve(r.Context(), g.events(w), e.n)
			return
		case ok && e.life != g.life && e.general:
			// It was a stream of a gateway that has ended; this is another.
		case ok && e.life != g.life && len(e.answers) > 0:
			session.lament(w, e.answers)
			return
		default:
			refuse(w, http.StatusNotFound, "no stream has that event")
			return
		}
	}
	st := session.newGeneralStream()
	defer session.listen(st)()
	defer streaming(&g.streams.session)()
	v.end()                                    // it has no end of its own
	_ = st.serve(r.Context(), g.events(w), -1) // until the client goes
}

// lament answers requests that a gateway which has ended took with it.
func (s *session) lament(w http.ResponseWriter, ids [][]byte) {
	events := s.srv.g.events(w)
	for _, id := range ids {
		line, err := jsonrpc.NewError(id, &jsonrpc.Error{
			Code:    jsonrpc.CodeInternalError,
			Message: "the gateway ended before the server had answered; whether the request was carried out is not known",
		})
		if err != nil || events.event("", string(line)) != nil {
			return
		}
	}
	_ = events.flush()
}
