// Package remote makes a server that is reached by HTTP one that speaks lines: MCP
// on stdin and stdout on one side, Streamable HTTP of either era, or the HTTP with
// SSE of 2024-11-05, on the other.
//
//	gateway ⇄ shim ⇄ lines ⇄ Run ⇄ HTTP ⇄ server
//
// It moves raw messages and looks only at what the transport needs: the envelope,
// the protocol version, the names that headers repeat. Who speaks which era, what
// is asked again and what is not, is decided by those who write the lines. Nothing
// is sent twice: an answer that got lost is fetched where the transport can resume,
// and is otherwise an error that says that the outcome is not known.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// Auth gets into a server that asks who is there. A nil Auth has nothing to say.
type Auth interface {
	// Authorize adds to a request what shows who asks.
	Authorize(*http.Request) error
	// Challenge is told of an answer 401 or 403. Nil means that the same request
	// is worth one more try; an error is final.
	Challenge(context.Context, *http.Response) error
}

// Options of Run.
type Options struct {
	// URL is the server's, as the user typed it; see guard.CheckURL.
	URL string
	// Header is sent with each request to the server's origin. Its values may be
	// secrets.
	Header http.Header
	// Auth may be nil.
	Auth Auth
	// Client is the HTTP client; default guard.New(URL, nil).
	Client *http.Client
	// UserAgent names this program.
	UserAgent string
	// Scratch makes a nameless file, for messages of more than 1 MiB; nil: they
	// are taken into memory.
	Scratch func() (*os.File, error)
	// Log takes a line for people: what was wrong with the connection.
	Log func(string)
	// Mask hides secrets in what is said of an answer; may be nil.
	Mask func(string) string
}

const (
	// headerTimeout bounds the time until an answer begins, to what a server has
	// nothing to think about; shakeTimeout that to a handshake. Other requests are
	// bounded by those who make them, who cancel them.
	headerTimeout = 30 * time.Second
	shakeTimeout  = 80 * time.Second
	// endTimeout bounds the farewell.
	endTimeout = 3 * time.Second
	// lateTimeout is how long a request of the legacy era that was cancelled is
	// still listened to, and a stream after the answer that it was for.
	lateTimeout = 5 * time.Second
	// queued is how many notifications and answers may wait to be sent.
	queued = 256
	// toolsMost bounds the tools whose arguments headers repeat.
	toolsMost = 4096
	// filesMost bounds what waits in files.
	filesMost = 1 << 30
)

// remote is one run. Each request has a goroutine; notifications and answers go
// one after another.
type remote struct {
	o      Options
	url    *url.URL
	client *http.Client
	out    *output
	ctx    context.Context
	fatal  context.CancelCauseFunc
	queue  chan func()
	files  *spool.Store

	mu      sync.Mutex // guards the fields below
	session string     // of the legacy era, "" for none
	version string     // that was negotiated, in the legacy era
	calls   map[string]*call
	tools   map[string][]bridge.ParamHeader
	old     *url.URL // where messages go in the transport of 2024-11-05; nil in others
}

// call is a request that was sent and has no answer yet.
type call struct {
	m        jsonrpc.Message
	modern   bool
	ctx      context.Context
	cancel   context.CancelCauseFunc
	answered bool // guarded by remote.mu
	quiet    bool // its client gave it up; guarded by remote.mu
}

// errWithdrawn: who asked wants no answer any more.
var errWithdrawn = errors.New("cancelled")

// Run relays between lines and the server until in ends, which is the orderly end
// and returns nil, or until the connection is no use any more: then the error says
// why, and *Lost or *Unreachable say what it means.
func Run(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	u, err := guard.CheckURL(o.URL)
	if err != nil {
		return err
	}
	if o.Client == nil {
		if o.Client, err = guard.New(o.URL, nil); err != nil {
			return err
		}
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Mask == nil {
		o.Mask = func(s string) string { return s }
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &remote{
		o: o, url: u, client: o.Client, ctx: ctx, fatal: cancel, queue: make(chan func(), queued),
		calls: map[string]*call{}, tools: map[string][]bridge.ParamHeader{},
	}
	if o.Scratch != nil {
		r.files = spool.New(filesMost, o.Scratch)
		defer r.files.Close()
	}
	r.out = &output{w: out, files: r.files}
	go r.sendQueued()
	ended := make(chan error, 1)
	go func() { ended <- r.read(in) }()
	select {
	case err := <-ended:
		r.farewell()
		return err
	case <-ctx.Done():
		err := context.Cause(ctx)
		// Whoever reads the lines tells a server that has no words from one that
		// cannot be reached: "it ended when it was asked for its era" is what he
		// would make of nothing.
		r.out.lastWord(err)
		return err
	}
}

// read takes the lines until they end.
func (r *remote) read(in io.Reader) error {
	lines := jsonrpc.NewReader(in, 0)
	for {
		line, err := lines.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, jsonrpc.ErrTooLong):
			r.o.Log(err.Error())
			continue
		case err != nil:
			return fmt.Errorf("read stdin: %w", err)
		}
		line = bytes.Clone(line)
		m, err := jsonrpc.Parse(line)
		if err != nil || m.Kind == jsonrpc.Batch {
			r.o.Log("a line that is no single message was not sent")
			continue
		}
		r.send(m, line)
	}
}

// send passes on one message.
func (r *remote) send(m jsonrpc.Message, line []byte) {
	switch {
	case m.Kind == jsonrpc.Request:
		r.request(m, line)
	case m.Method == "notifications/cancelled" && r.withdraw(m):
	case m.Method == "notifications/initialized":
		// What follows must not overtake it, and the stream of the server's own
		// messages exists from then on.
		done := make(chan struct{})
		r.enqueue(func() {
			defer close(done)
			r.tell(m, line)
		})
		select {
		case <-done:
		case <-r.ctx.Done():
		}
		if r.endpoint() == nil {
			go r.listen()
		}
	default:
		r.enqueue(func() { r.tell(m, line) })
	}
}

func (r *remote) enqueue(f func()) {
	select {
	case r.queue <- f:
	case <-r.ctx.Done():
	}
}

func (r *remote) sendQueued() {
	for {
		select {
		case f := <-r.queue:
			f()
		case <-r.ctx.Done():
			return
		}
	}
}

// withdraw ends a request whose client gave it up. In the modern era that is the
// end of its stream, and all that the server is told: the result is true. In the
// legacy era the server has to be told in words, and the end of a stream means
// nothing.
func (r *remote) withdraw(m jsonrpc.Message) bool {
	r.mu.Lock()
	c := r.calls[string(jsonrpc.Get(m.Params, "requestId"))]
	if c != nil {
		c.quiet = true
	}
	r.mu.Unlock()
	switch {
	case c == nil:
		return false
	case c.modern:
		c.cancel(errWithdrawn)
		return true
	}
	time.AfterFunc(lateTimeout, func() {
		c.cancel(errWithdrawn)
		r.finish(c) // in the old transport nobody else does
	})
	return false
}

// endpoint is where messages go in the transport of 2024-11-05, nil in others.
func (r *remote) endpoint() *url.URL {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.old
}

// begin notes a request.
func (r *remote) begin(m jsonrpc.Message) *call {
	c := &call{m: m, modern: isModern(m)}
	c.ctx, c.cancel = context.WithCancelCause(r.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[string(m.ID)] = c
	return c
}

// finish forgets a request.
func (r *remote) finish(c *call) {
	c.cancel(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[string(c.m.ID)] == c {
		delete(r.calls, string(c.m.ID))
	}
}

// isModern says whether a request is of the modern era: such a one says so itself.
func isModern(m jsonrpc.Message) bool {
	return jsonrpc.Get(m.Params, "_meta", "io.modelcontextprotocol/protocolVersion") != nil
}

// answer takes a line of the server's: who waits for it hears of it, and it is
// passed on. It says whether the line answers c.
func (r *remote) answer(line []byte, c *call) (mine bool) {
	m, err := jsonrpc.Parse(line)
	if err != nil {
		r.drop(line)
		r.o.Log(r.o.Mask("the server sent what is no message: " + err.Error()))
		return false
	}
	switch m.Kind {
	case jsonrpc.Response, jsonrpc.ErrorResponse:
	case jsonrpc.Batch: // of 2025-03-26
		for element := range jsonrpc.Elements(line) {
			mine = r.answer(element, c) || mine
		}
		return mine
	default:
		r.pass(line)
		return false
	}
	r.mu.Lock()
	to := r.calls[string(m.ID)]
	late := to == nil || to.answered || to.quiet
	if to != nil {
		to.answered = true
	}
	r.mu.Unlock()
	if late {
		r.drop(line)
		return to != nil && to == c
	}
	line = r.learn(to, m, line)
	r.pass(line)
	if to != c {
		r.finish(to) // by another stream than its own: the old transport's
	}
	return to == c
}

// learn keeps what later requests need of an answer, which it returns.
func (r *remote) learn(c *call, m jsonrpc.Message, line []byte) []byte {
	switch {
	case m.Kind != jsonrpc.Response:
	case c.m.Method == "initialize":
		if version, ok := jsonrpc.Text(jsonrpc.Get(m.Result, "protocolVersion")); ok && isHeaderValue(version) {
			r.mu.Lock()
			r.version = version
			r.mu.Unlock()
		}
	case c.m.Method == "tools/list" && c.modern:
		whole := line
		if r.files != nil && r.files.Marked(line) {
			var err error
			if whole, err = r.files.Whole(line); err != nil {
				return line
			}
			if m, err = jsonrpc.Parse(whole); err != nil {
				return whole
			}
		}
		r.learnTools(m.Result)
		return whole
	}
	return line
}

func (r *remote) learnTools(result []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tool := range jsonrpc.Elements(jsonrpc.Get(result, "tools")) {
		name, ok := jsonrpc.Text(jsonrpc.Get(tool, "name"))
		if !ok {
			continue
		}
		params := bridge.ParamHeaders(jsonrpc.Get(tool, "inputSchema"))
		if len(params) > 0 && len(r.tools) < toolsMost {
			r.tools[name] = params
		} else {
			delete(r.tools, name)
		}
	}
}

// pass writes a line for whoever asks.
func (r *remote) pass(line []byte) {
	if err := r.out.line(line); err != nil {
		r.fatal(fmt.Errorf("write to stdout: %w", err))
	}
}

// drop forgets a line that nobody is to hear.
func (r *remote) drop(line []byte) {
	if r.files != nil && r.files.Marked(line) {
		r.files.Release(line)
	}
}

// refuse answers a request with an error, once.
func (r *remote) refuse(c *call, e *jsonrpc.Error) {
	r.mu.Lock()
	late := c.answered || c.quiet
	c.answered = true
	r.mu.Unlock()
	if late {
		return
	}
	e.Message = r.o.Mask(e.Message)
	line, err := jsonrpc.NewError(c.m.ID, e)
	if err != nil {
		return // an id that was parsed is one
	}
	r.pass(line)
}

// farewell sends what still waits, and ends the session: "Clients that no longer need a particular session
// SHOULD send an HTTP DELETE" (2025-03-26, transports, session management).
func (r *remote) farewell() {
	sent := make(chan struct{})
	r.enqueue(func() { close(sent) })
	select {
	case <-sent:
	case <-time.After(endTimeout):
	case <-r.ctx.Done():
	}
	r.mu.Lock()
	session, old := r.session, r.old
	r.mu.Unlock()
	if session == "" || old != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), endTimeout)
	defer cancel()
	if resp, err := r.do(ctx, wish{method: http.MethodDelete, url: r.url}); err == nil {
		discard(resp)
	}
}
