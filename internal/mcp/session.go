package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

const (
	// maxReplies is how many answers to a server's own requests may wait to be
	// sent. A server that asks more without reading gets no answer.
	maxReplies = 16
	// cancelTimeout bounds how long a call whose context ended tries to tell
	// the server.
	cancelTimeout = time.Second
)

// Session speaks to one generation of one server. Its methods may be called by
// several goroutines.
type Session struct {
	mu      sync.Mutex // guards the fields below, up to the blank line
	pending map[string]*pending
	last    uint64 // number of the last request
	info    Info
	err     error // why reading ended
	dropped Dropped
	lines   uint64 // of MCP
	odd     string // the first line that is not
	probed  bool   // server/discover was sent

	conn    Conn
	other   func(jsonrpc.Message, []byte) // see Options.Other
	roots   []string                      // see Options.Roots
	prefix  string                        // of our ids: "b<epoch>-"
	writing chan struct{}                 // holds a token while a line is written
	replies chan []byte
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when err is set
	wg      sync.WaitGroup
}

// Dropped counts messages from the server that nobody asked for.
type Dropped struct {
	// Stale are answers to requests of another epoch: their asker is gone.
	Stale uint64
	// Unknown are answers to no request, or to one that was given up.
	Unknown uint64
	// Invalid are lines that are not JSON-RPC.
	Invalid uint64
	// Refused are requests of the server's that were not answered.
	Refused uint64
}

// pending is a request that waits for its answer.
type pending struct {
	id     string
	method string
	answer chan answer // takes one
}

// answer is a result, or an error: *jsonrpc.Error if it is the server's, else
// why there will be no answer.
type answer struct {
	result json.RawMessage
	err    error
}

func newSession(ctx context.Context, conn Conn, o Options) *Session {
	// The session outlives the call that makes it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &Session{
		pending: make(map[string]*pending),
		conn:    conn,
		other:   o.Other,
		roots:   o.Roots,
		prefix:  fmt.Sprintf("b%d-", conn.Epoch()),
		writing: make(chan struct{}, 1),
		replies: make(chan []byte, maxReplies),
		cancel:  cancel,
		ended:   make(chan struct{}),
	}
	s.wg.Go(func() { s.read(ctx) })
	s.wg.Go(func() { s.reply(ctx) })
	return s
}

// Close ends the session and waits for its goroutines. The server is told
// nothing, and the Conn stays open, though a Read of it was cut short.
func (s *Session) Close() {
	s.cancel(ErrClosed)
	s.wg.Wait()
}

// Info returns what the server said of itself.
func (s *Session) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Dropped returns what was dropped so far.
func (s *Session) Dropped() Dropped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Ended is closed when the session can do nothing more: it was closed, or the
// server is gone. Err says why.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Err returns why the session ended, or nil.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// read owns the Conn's reading side. It ends the session when that ends.
func (s *Session) read(ctx context.Context) {
	for {
		line, err := s.conn.Read(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			s.end(err)
			return
		}
		s.receive(line)
	}
}

// end fails what waits and what will be asked.
func (s *Session) end(err error) {
	s.mu.Lock()
	s.err = err
	waiting := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, p := range waiting {
		p.answer <- answer{err: err}
	}
	close(s.ended)
	s.cancel(err)
}

// receive takes one line from the server.
func (s *Session) receive(line []byte) {
	m, err := jsonrpc.Parse(line)
	if err == nil && m.Kind == jsonrpc.Batch {
		// Revision 2025-03-26 had batches.
		var elements []json.RawMessage
		if err = json.Unmarshal(line, &elements); err == nil {
			for _, e := range elements {
				if len(bytes.TrimSpace(e)) > 0 && e[0] == '{' {
					s.receive(e)
				}
			}
			return
		}
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dropped.Invalid++
		if s.odd == "" {
			s.odd = fmt.Sprintf("%.80q", line)
		}
		return
	}
	if !s.take(m) && s.other != nil {
		s.other(m, line)
	}
}

// take handles a message that the session itself waits for, or that nobody else
// would; it returns false for one that is another's.
func (s *Session) take(m jsonrpc.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Kind {
	case jsonrpc.Response:
		return s.deliver(m, answer{result: m.Result})
	case jsonrpc.ErrorResponse:
		return s.deliver(m, answer{err: jsonrpc.DecodeError(m.Error)})
	case jsonrpc.Request:
		if s.echo(m) {
			return true
		}
		s.lines++
		if s.other == nil || m.Method == methodRoots && len(s.roots) > 0 {
			s.answer(m)
			return true
		}
		return false
	}
	s.lines++
	return false
}

// deliver gives an answer to who waits for it and says whether somebody did.
// The caller holds the mutex.
func (s *Session) deliver(m jsonrpc.Message, a answer) bool {
	s.lines++
	id, _ := m.StringID()
	if p := s.pending[id]; p != nil {
		delete(s.pending, id)
		p.answer <- a
		return true
	}
	switch {
	case s.otherEpoch(id):
		s.dropped.Stale++
	case s.other != nil:
		return false
	default:
		s.dropped.Unknown++
	}
	return true
}

// otherEpoch says whether an id was made by a Session of another epoch.
func (s *Session) otherEpoch(id string) bool {
	rest, ok := strings.CutPrefix(id, "b")
	if !ok || strings.HasPrefix(id, s.prefix) {
		return false
	}
	epoch, n, ok := strings.Cut(rest, "-")
	if !ok {
		return false
	}
	_, err1 := strconv.ParseUint(epoch, 10, 64)
	_, err2 := strconv.ParseUint(n, 10, 64)
	return err1 == nil && err2 == nil
}

// echo says whether the message is a request of ours that came back: the
// program repeats its input, as cat does. The caller holds the mutex.
func (s *Session) echo(m jsonrpc.Message) bool {
	id, _ := m.StringID()
	p := s.pending[id]
	if p == nil || p.method != m.Method {
		return false
	}
	delete(s.pending, id)
	p.answer <- answer{err: fmt.Errorf("%w: the program sent our own request back", ErrNotMCP)}
	return true
}

// answer replies to a request of the server's: to ping as it must be, to all
// else that we do not offer it. The caller holds the mutex.
func (s *Session) answer(m jsonrpc.Message) {
	if s.info.Era == Modern {
		// "Server NEVER sends JSON-RPC requests; client NEVER sends responses."
		s.dropped.Refused++
		return
	}
	var (
		line []byte
		err  error
	)
	switch {
	case m.Method == "ping":
		line, err = jsonrpc.NewResult(m.ID, []byte("{}"))
	case m.Method == methodRoots && len(s.roots) > 0:
		line, err = jsonrpc.NewResult(m.ID, rootsResult(s.roots))
	default:
		line, err = jsonrpc.NewError(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found"})
	}
	if err != nil {
		s.dropped.Refused++
		return
	}
	select {
	case s.replies <- line:
	default:
		s.dropped.Refused++
	}
}

// reply writes what answer queues. Were the reader to write, a server that
// reads nothing until it has written would wait for us, and we for it.
func (s *Session) reply(ctx context.Context) {
	for {
		select {
		case line := <-s.replies:
			if s.write(ctx, line, nil) != nil {
				return // the reader learns why
			}
		case <-ctx.Done():
			return
		}
	}
}

// write writes one line at a time.
func (s *Session) write(ctx context.Context, line, note []byte) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-s.ended:
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.conn.Write(ctx, line, note)
}

// begin sends a request. Who begins one takes its answer or forgets it.
func (s *Session) begin(ctx context.Context, method string, params, note []byte) (*pending, error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil, s.err
	}
	s.last++
	p := &pending{id: s.prefix + strconv.FormatUint(s.last, 10), method: method, answer: make(chan answer, 1)}
	s.pending[p.id] = p
	s.mu.Unlock()

	line, err := jsonrpc.NewRequest(jsonrpc.StringID(p.id), method, params)
	if err == nil {
		err = s.write(ctx, line, note)
	}
	if err != nil {
		s.forget(p)
		return nil, fmt.Errorf("send %s: %w", method, err)
	}
	return p, nil
}

// forget gives a request up; its answer will be dropped.
func (s *Session) forget(p *pending) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, p.id)
}

// Request sends a request and waits for its result, which is as the server sent
// it. Params is JSON, or nil for none; what the era demands is the caller's
// affair. An error of the server's is a *jsonrpc.Error. If ctx ends first, the
// server is told so.
func (s *Session) Request(ctx context.Context, method string, params []byte) (json.RawMessage, error) {
	return s.request(ctx, method, params)
}

// Send writes one line to the server, beside the requests of the session. It is
// the caller's, with an id that no Session makes ("b", digits, "-", digits).
func (s *Session) Send(ctx context.Context, line []byte) error { return s.write(ctx, line, nil) }

func (s *Session) request(ctx context.Context, method string, params []byte) (json.RawMessage, error) {
	p, err := s.begin(ctx, method, params, nil)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-p.answer:
		var refused *jsonrpc.Error
		if a.err != nil && !errors.As(a.err, &refused) {
			a.err = fmt.Errorf("no answer to %s: %w", method, a.err)
		}
		return a.result, a.err
	case <-ctx.Done():
		s.forget(p)
		s.tellCancelled(ctx, p)
		return nil, fmt.Errorf("no answer to %s: %w", method, context.Cause(ctx))
	}
}

// tellCancelled obeys "cancellation: stdio = notifications/cancelled", which
// both eras have in common.
func (s *Session) tellCancelled(ctx context.Context, p *pending) {
	line, err := jsonrpc.NewNotification(methodCancelled, fmt.Appendf(nil, `{"requestId":%s,"reason":"the caller gave up"}`, jsonrpc.StringID(p.id)))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	// It is a courtesy: if it fails, the answer is dropped all the same.
	s.write(ctx, line, nil)
}

// heard says whether the server has sent anything of MCP.
func (s *Session) heard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines > 0
}

// sofar says in words what the server has sent.
func (s *Session) sofar() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lines > 0:
		return fmt.Sprintf("messages it sent otherwise: %d", s.lines)
	case s.odd != "":
		return fmt.Sprintf("lines it printed that are not MCP: %d, first %s", s.dropped.Invalid, s.odd)
	}
	return "it printed nothing that looks like MCP"
}
