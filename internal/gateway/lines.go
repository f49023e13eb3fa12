package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

// LinesProtocol is the protocol that a client of /servers/NAME/lines upgrades its
// connection to: MCP as on stdio, one message a line, both ways.
const LinesProtocol = "mcp-lines"

// PatientHeader is set by a client of lines that wants to know what the server says
// of itself, and waits for it: Berth's own commands.
const PatientHeader = "Berth-Patient"

// What a client of that protocol is told besides: notifications that are no
// server's.
const (
	// LinesEnded: the session is over, since the server is not what it was; its
	// client has to begin anew. Params: {"reason"}.
	LinesEnded = linesOwn + "ended"
	// LinesSession comes before the answer to initialize and names the session. A
	// client that lost its connection says that name in the header
	// Mcp-Session-Id of the next, and goes on with the session if the answer has
	// that header, too. Params: {"id"}.
	LinesSession = linesOwn + "session"
	// LinesProcess comes before the answer to initialize if the server's process
	// has state that sessions rely on: one that names another process than before
	// is the end of the session. Params: {"process"}.
	LinesProcess = linesOwn + "process"
	// LinesMoved is the last that is said: another gateway goes on with the server.
	// What the client asked and has no answer to was not begun, and is to be asked
	// there.
	LinesMoved = linesOwn + "moved"

	linesOwn = "notifications/berth/"
)

// lines is GET /servers/NAME/lines: what `berth proxy` speaks. The connection is
// one legacy session once the client has initialized; modern requests stand
// alone.
func (g *Gateway) lines(w http.ResponseWriter, r *http.Request, s *server) {
	if !bySocket(r) {
		refuse(w, http.StatusNotFound, "this is for the socket of the home")
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), LinesProtocol) {
		w.Header().Set("Upgrade", LinesProtocol)
		refuse(w, http.StatusUpgradeRequired, "this is for berth proxy")
		return
	}
	v, ok := s.visit(w, r, false, nil)
	if !ok {
		return
	}
	defer v.end()
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer g.connected(-1)
	defer entranceOf(r).guest.leave()
	defer conn.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + LinesProtocol + "\r\n"
	session, release := s.vacant(r.Header.Get(headerSession), callerIn(r.Context()))
	if session != nil {
		head += headerSession + ": " + r.Header.Get(headerSession) + "\r\n"
	}
	if _, err := conn.Write([]byte(head + "\r\n")); err != nil {
		release() // the client may try again
		return
	}
	ctx, cancel := context.WithCancelCause(withCaller(g.ctx, callerIn(r.Context())))
	ctx = withPatience(ctx, r.Header.Get(PatientHeader) != "")
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	l := &lineClient{srv: s, by: callerIn(r.Context()), conn: conn, cancel: cancel, more: make(chan struct{}, 1), queue: g.spool.NewQueue(slowMemory, slowMost), inFlight: map[string]lineRequest{}}
	defer l.queue.Close()
	defer s.leaves(l)
	s.comes(l)
	if session != nil {
		l.have(session)
	}
	v.end() // what it asks are visits of their own
	var writing sync.WaitGroup
	writing.Go(func() { l.write(ctx) })
	l.read(ctx, buf.Reader)
	l.close(ctx)
	writing.Wait()
}

// lineClient is a client on a connection of lines.
type lineClient struct {
	srv      *server
	by       Caller
	conn     net.Conn
	cancel   context.CancelCauseFunc
	requests sync.WaitGroup
	more     chan struct{}
	queue    *spool.Queue // what the client has not read yet

	mu       sync.Mutex // guards the fields below
	ended    bool
	parting  error // why the connection is to end once all is sent; nil: it is not
	session  *session
	inFlight map[string]lineRequest // modern requests, by raw id
}

// lineRequest is a modern request that is being served.
type lineRequest struct {
	cancel  context.CancelCauseFunc
	endless bool // it has no answer while its client listens
}

// read takes the client's messages until it ends its side.
func (l *lineClient) read(ctx context.Context, r *bufio.Reader) {
	in := jsonrpc.NewReader(r, shim.MaxLine)
	l.spills(in)
	for {
		line, err := in.Next()
		if errors.Is(err, jsonrpc.ErrTooLong) {
			l.complain(jsonrpc.CodeInvalidRequest, err)
			continue
		}
		if err != nil {
			return
		}
		line = bytes.Clone(line)
		m, err := jsonrpc.Parse(line)
		if err != nil {
			l.complain(jsonrpc.CodeParseError, err)
			continue
		}
		l.take(ctx, m, line)
	}
}

// complain answers what could not be read. Older clients want an id that is null.
func (l *lineClient) complain(code int64, err error) {
	id := []byte("null")
	if session := l.sessionNow(); session == nil || session.version >= "2025-11-25" {
		id = nil
	}
	if line, err := jsonrpc.NewError(id, &jsonrpc.Error{Code: code, Message: err.Error()}); err == nil {
		l.put(line)
	}
}

// take handles one message of the client's.
func (l *lineClient) take(ctx context.Context, m jsonrpc.Message, line []byte) {
	session := l.sessionNow()
	switch {
	case m.Kind == jsonrpc.Batch && session != nil && bridge.Batches(session.version):
		requests, ok := session.takeBatch(ctx, line)
		if !ok {
			l.complain(jsonrpc.CodeInvalidRequest, jsonrpc.ErrInvalid)
		} else if len(requests) > 0 {
			l.visit(ctx, m, line, func() []byte { return session.batch(ctx, requests, l) })
		}
	case m.Kind == jsonrpc.Batch:
		l.complain(jsonrpc.CodeInvalidRequest, errors.New("this revision of MCP has no batches"))
	case m.Kind == jsonrpc.Request && isModern("", m):
		l.modern(ctx, m, line)
	case m.Kind == jsonrpc.Request && m.Method == "initialize" && session == nil:
		// Nothing else can be served before.
		if l.srv.tenure.enter(ctx, true) == nil {
			l.initialize(ctx, m)
			l.srv.tenure.exit()
		}
	case m.Kind == jsonrpc.Notification && m.Method == "notifications/cancelled":
		if !l.cancelModern(m.Params) && session != nil {
			session.notified(ctx, m)
		}
	case session == nil && m.Kind == jsonrpc.Request:
		l.srv.g.spool.Release(line)
		if line, err := jsonrpc.NewError(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "initialize comes first"}); err == nil {
			l.put(line)
		}
	case session == nil:
	case m.Kind == jsonrpc.Request:
		// It begins before the next message is read, which may cancel it.
		ctx, done, err := session.begin(ctx, m.ID)
		if err == nil && l.serving(m.ID) {
			done()
			err = errSameID
		}
		if err != nil {
			l.srv.g.spool.Release(line)
			l.put(l.srv.refusal(exchange{m: m}, err))
			return
		}
		l.visit(ctx, m, line, func() []byte {
			line := session.serve(ctx, m, l)
			done()
			return line
		})
	case m.Kind == jsonrpc.Notification:
		session.notified(ctx, m)
	default:
		session.replied(m)
	}
}

func (l *lineClient) sessionNow() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (l *lineClient) initialize(ctx context.Context, m jsonrpc.Message) {
	session, line := l.srv.initialize(ctx, l.by, m)
	if session == nil {
		l.put(line)
		return
	}
	if process := session.process(); process != "" {
		l.tell(LinesProcess, "process", process)
	}
	session.use() // until the connection ends: it is never idle
	session.lines = true
	session.keep()
	l.tell(LinesSession, "id", session.id)
	l.put(line)
	l.have(session)
}

// have makes the session, which is in use, this connection's.
func (l *lineClient) have(session *session) {
	session.listen(l)
	l.mu.Lock()
	l.session = session
	l.mu.Unlock()
	session.onEnd(l.part)
}

// part ends the connection because the session has ended.
func (l *lineClient) part(why error) {
	if !errors.Is(why, errServerChanged) && !errors.Is(why, errServerCrashed) {
		return // the connection is what has ended
	}
	l.tell(LinesEnded, "reason", why.Error())
	l.mu.Lock()
	l.parting = why
	l.mu.Unlock()
	l.wake()
}

func (l *lineClient) tell(method, member, text string) {
	if line, err := jsonrpc.NewNotification(method, fmt.Appendf(nil, `{%q:%s}`, member, jsonrpc.StringID(text))); err == nil {
		l.put(line)
	}
}

// modern serves one modern request, which notifications/cancelled may end.
func (l *lineClient) modern(ctx context.Context, m jsonrpc.Message, line []byte) {
	session := l.sessionNow()
	if l.serving(m.ID) || session != nil && session.serving(m.ID) {
		l.srv.g.spool.Release(line)
		l.put(l.srv.refusal(exchange{m: m}, errSameID))
		return
	}
	key := idKey(m.ID)
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	l.inFlight[key] = lineRequest{cancel, m.Method == "subscriptions/listen"}
	l.mu.Unlock()
	serve := func() []byte {
		defer cancel(nil)
		line := l.srv.modernRequest(ctx, l.by, m, l)
		l.mu.Lock()
		delete(l.inFlight, key)
		l.mu.Unlock()
		if errors.Is(context.Cause(ctx), errCancelled) {
			l.srv.g.spool.Release(line)
			return nil
		}
		return line
	}
	if m.Method == "subscriptions/listen" { // it ends with the connection
		l.requests.Go(func() {
			if line := serve(); !l.srv.hasLeft() { // or its client listens elsewhere
				l.put(line)
			}
		})
		return
	}
	l.visit(ctx, m, line, serve)
}

// visit serves a request in a goroutine of its own, as a visit. Where the server has
// moved, its client asks elsewhere: it is not answered here.
func (l *lineClient) visit(ctx context.Context, m jsonrpc.Message, line []byte, serve func() []byte) {
	l.requests.Go(func() {
		defer l.srv.g.spool.Release(line)
		err := l.srv.tenure.enter(ctx, startsWork(m))
		switch {
		case err == nil:
			defer l.srv.tenure.exit()
		case l.srv.hasLeft():
			return
		} // else it was cancelled, or the connection has ended: serve sees that
		l.put(serve())
	})
}

// move has the client go on at the gateway that serves the server now. Only where
// no request of its is being served, it is told so: what has no answer was not begun.
func (l *lineClient) move(unserved bool) {
	if line, err := jsonrpc.NewNotification(LinesMoved, nil); err == nil && unserved {
		l.put(line)
	}
	l.mu.Lock()
	l.parting = errMoved
	l.mu.Unlock()
	l.wake()
}

// comes and leaves keep the list of the connections of lines.
func (s *server) comes(l *lineClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[l] = struct{}{}
}

func (s *server) leaves(l *lineClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, l)
}

// serving says whether a modern request of that id is being served. Only the
// goroutine that reads adds one.
func (l *lineClient) serving(id []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.inFlight[idKey(id)]
	return ok
}

// cancelModern obeys notifications/cancelled with these params, if it is about a
// modern request.
func (l *lineClient) cancelModern(params []byte) bool {
	l.mu.Lock()
	r, ok := l.inFlight[idKey(jsonrpc.Get(params, "requestId"))]
	l.mu.Unlock()
	if ok {
		r.cancel(cancelling(params))
	}
	return ok
}

// put queues a line for the client; one that does not read is cut off.
func (l *lineClient) put(line []byte) {
	if line == nil {
		return
	}
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if !ended && l.queue.Put(line) != nil {
		l.cancel(errSlowClient)
	}
	l.wake()
}

func (l *lineClient) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// write sends what is queued until close has been called and all is sent.
func (l *lineClient) write(ctx context.Context) {
	for {
		l.mu.Lock()
		ended, parting := l.ended, l.parting
		l.mu.Unlock()
		// What they follow is in the queue by now.
		for line, ok, err := l.queue.Take(); ok || err != nil; line, ok, err = l.queue.Take() {
			if err == nil {
				err = l.writeOne(line)
			}
			if err != nil {
				l.cancel(err)
				return
			}
		}
		if parting != nil {
			l.cancel(parting)
			return
		}
		if ended {
			return
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return
		}
	}
}

// writeOne writes one line.
func (l *lineClient) writeOne(line []byte) error {
	if l.srv.g.spool.Marked(line) {
		return l.writeLong(line)
	}
	bufs := net.Buffers{oneLine(line), []byte{'\n'}}
	_, err := bufs.WriteTo(l.conn)
	return err
}

// oneLine is a message without line breaks between its tokens, each of which becomes
// a blank. There are readers to which CR alone is one.
func oneLine(line []byte) []byte {
	if bytes.IndexByte(line, '\n') < 0 && bytes.IndexByte(line, '\r') < 0 {
		return line
	}
	line = bytes.Clone(line)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	return line
}

// lastAnswers is how long a client that has ended its input may wait for the
// answers that it is still owed.
const lastAnswers = 60 * time.Second

// close is the end of the client's input: what it asked is still answered, but
// for what has no end.
func (l *lineClient) close(ctx context.Context) {
	l.mu.Lock()
	for _, r := range l.inFlight {
		if r.endless {
			r.cancel(errCancelled)
		}
	}
	l.mu.Unlock()
	answered := make(chan struct{})
	go func() {
		l.requests.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
	case <-time.After(lastAnswers):
	}
	if session := l.sessionNow(); session != nil {
		if l.srv.ctx.Err() != nil {
			session.end(errClosed) // the client comes back to the next gateway
		} else {
			session.end(errSessionEnded)
		}
	}
	l.mu.Lock()
	for _, r := range l.inFlight {
		r.cancel(errCancelled)
	}
	l.mu.Unlock()
	<-answered
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.wake()
}
