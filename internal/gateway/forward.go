package gateway

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// exchange is one request of a client's that a child answers.
type exchange struct {
	by  *caller
	m   jsonrpc.Message
	out outlet // for what belongs to the request until it is answered
	// reach is what the caller may use at a joint.
	reach Reach
	// account is nil unless the request is a call.
	account *account
}

// forward has a child answer a request and returns the line of the answer, once
// a call is on record.
func (s *server) forward(ctx context.Context, x exchange) []byte {
	rules, err := s.rules(x.by)
	if err == nil {
		err = s.permitted(ctx, x, rules)
	}
	if err != nil {
		return s.refusal(x, err)
	}
	line := s.answered(ctx, x)
	if len(rules) > 0 && x.m.Method == "tools/list" {
		return s.allowedTools(x, line, rules)
	}
	return line
}

// answered is forward for what is allowed.
func (s *server) answered(ctx context.Context, x exchange) []byte {
	if line, ok := s.listing(ctx, x); ok {
		return line
	}
	x.account = s.account(x)
	x.account.from(ctx, x.m.Params)
	err := s.mayRecord(x.account)
	var line []byte
	if err == nil {
		line, err = s.carry(ctx, x)
	}
	if err != nil {
		line = s.refusal(x, err)
	}
	if unwritten := x.account.close(line, err); unwritten != nil && err == nil {
		return s.refusal(x, unwritten)
	}
	return line
}

// carry has a child answer a request. Where the child went away meanwhile, it is
// asked once more if that can do no harm, or if the child has not seen the
// request.
func (s *server) carry(ctx context.Context, x exchange) ([]byte, error) {
	passed := &witness{outlet: x.out}
	x.out = passed
	leave, err := s.gate.enter(ctx, x.by, s.set())
	x.account.waited()
	if err != nil {
		return nil, err
	}
	defer leave()
	for again := false; ; again = true {
		c, err := s.up(ctx, x.by)
		x.account.started(c)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx) // the session has ended, for this is another server
		}
		var line []byte
		if err == nil {
			c.touch()
			line, err = s.through(ctx, c, x)
			c.touch()
		}
		if errors.Is(err, errChildGone) && !again && ctx.Err() == nil &&
			(errors.Is(err, errNotSent) || harmless(x.m.Method) || !passed.saw() && s.mayRetry(x.m)) {
			continue
		}
		return line, err
	}
}

// witness is an outlet that knows whether anything passed.
type witness struct {
	outlet
	any atomic.Bool
}

func (w *witness) put(line []byte) {
	w.any.Store(true)
	w.outlet.put(line)
}

func (w *witness) saw() bool { return w.any.Load() }

// mayRetry says whether the user allows the tool that is called to be called a
// second time.
func (s *server) mayRetry(m jsonrpc.Message) bool {
	if m.Method != "tools/call" {
		return false
	}
	tool := stringOf(jsonrpc.Get(m.Params, "name"))
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.settings.RetryTools, func(pattern string) bool {
		ok, err := path.Match(pattern, tool)
		return ok && err == nil
	})
}

// harmless says whether a request may be carried out twice.
func harmless(method string) bool { return bridge.Harmless(method) }

// through sends a request through one child, in the child's era.
func (s *server) through(ctx context.Context, c *child, x exchange) ([]byte, error) {
	if x.by.modern != (c.era == mcp.Modern) && !bridge.Crosses(x.m.Method) {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found: " + x.m.Method + " means nothing to this server, which speaks another era of MCP"}
	}
	switch {
	case x.by.modern && c.era == mcp.Legacy:
		return s.parkable(ctx, c, x)
	case !x.by.modern && c.era == mcp.Modern:
		return s.rounds(ctx, c, x)
	}
	if err := s.checkTask(x); err != nil {
		return nil, err
	}
	leave, err := s.enter(ctx, c, x)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := c.begin(ctx, x.by, x.m, x.m.Params)
	if err != nil {
		return nil, err
	}
	e, err := c.run(ctx, k, x)
	if err != nil {
		return nil, err
	}
	r := jsonrpc.Rewrite{ID: x.m.ID}
	if !x.by.modern && e.m.Kind == jsonrpc.Response {
		result := e.m.Result
		if x.m.Method == "tasks/list" {
			result = s.ownTasks(x.by, result)
		}
		r.Result = changedOnly(e.m.Result, bridge.Downgrade(x.by.session.version, x.m.Method, result))
	}
	return e.m.Rewrite(r)
}

// changedOnly returns b, or nil if it is a itself: then nothing is to be
// rewritten.
func changedOnly(a, b []byte) []byte {
	if len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) {
		return nil
	}
	return b
}

// enter waits for the call's turn: what asks its client something runs alone on a
// legacy child, since nothing else tells whom it asks.
func (s *server) enter(ctx context.Context, c *child, x exchange) (leave func(), err error) {
	asks := asksOf(x.m)
	if c.era == mcp.Modern || asks == "" {
		return func() {}, nil
	}
	leave, err = c.turn.enter(ctx, s.asks(asks))
	x.account.waited()
	return leave, err
}

// run passes on what belongs to a call until it is answered. If ctx ends first,
// the child is told. Questions that are moot then are withdrawn before it returns.
func (c *child) run(ctx context.Context, k *call, x exchange) (event, error) {
	defer k.asking.Wait()
	for {
		e, err := k.events.take(ctx)
		if err == nil {
			err = e.err
		}
		if err != nil {
			c.abandon(k, reasonOf(err))
			return e, err
		}
		switch e.m.Kind {
		case jsonrpc.Notification:
			if line, err := restored(k, e, x.m.ID); err == nil {
				x.out.put(line)
			}
			if e.m.Method == "notifications/cancelled" {
				return e, errWithdrawn
			}
		case jsonrpc.Request:
			c.pass(ctx, k, e, x)
		default:
			x.account.answered(e.m)
			return c.srv.screenedEvent(x, e)
		}
	}
}

// errWithdrawn: the server has ended a subscription, which has no answer then.
var errWithdrawn = errors.New("the server has ended the subscription")

// restored gives a notification the client's own progress token and id.
func restored(k *call, e event, id []byte) ([]byte, error) {
	params := e.m.Params
	var err error
	switch {
	case e.m.Method == "notifications/progress" && k.token == nil:
		return nil, errors.New("the client wants no progress")
	case e.m.Method == "notifications/progress":
		params, err = jsonrpc.Set(params, k.token, "progressToken")
	case e.m.Method == "notifications/cancelled":
		params, err = jsonrpc.Set(params, id, "requestId")
	case bridge.Subscription(params) != nil:
		params = bridge.Tag(params, id)
	default:
		return e.line, nil
	}
	if err != nil {
		return nil, err
	}
	return e.m.Rewrite(jsonrpc.Rewrite{Params: params})
}

// pass hands a request of the child's to the client and its answer back, in a
// goroutine of its own: the call goes on meanwhile.
func (c *child) pass(ctx context.Context, k *call, e event, x exchange) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	a := c.asked[string(e.m.ID)]
	if a == nil {
		c.mu.Unlock()
		cancel()
		return // it was withdrawn
	}
	a.cancel = cancel
	c.mu.Unlock()
	s := x.by.session
	if id := jsonrpc.Get(e.m.Params, "elicitationId"); id != nil {
		c.srv.elicits(stringOf(id), s)
	}
	k.asking.Add(1)
	c.srv.g.running.Go(func() {
		defer k.asking.Done()
		c.passTo(ctx, s, x.out, a, e.m)
	})
}

// mostRounds bounds how often a modern child may ask for input before it answers
// one request.
const mostRounds = 10

// rounds is through for a legacy client of a modern child: what the child wants
// to know comes as an answer, becomes requests to the client, and then the
// request is made again.
func (s *server) rounds(ctx context.Context, c *child, x exchange) ([]byte, error) {
	session := x.by.session
	client := session.client
	if level := session.askedLevel(); level != "" {
		client.LogLevel = jsonrpc.StringID(level)
	}
	params := bridge.ToModern(x.m.Params, client)
	for range mostRounds {
		k, err := c.begin(ctx, x.by, x.m, params)
		if err != nil {
			return nil, err
		}
		e, err := c.run(ctx, k, x)
		if err != nil {
			return nil, err
		}
		if e.m.Kind == jsonrpc.ErrorResponse {
			return e.m.Rewrite(jsonrpc.Rewrite{ID: x.m.ID, Error: changedOnly(e.m.Error, bridge.ErrorToLegacy(x.m.Method, e.m.Error))})
		}
		switch kind := bridge.ResultType(e.m.Result); kind {
		case "complete":
			result := bridge.Downgrade(session.version, x.m.Method, bridge.ResultToLegacy(x.m.Method, e.m.Result))
			return e.m.Rewrite(jsonrpc.Rewrite{ID: x.m.ID, Result: changedOnly(e.m.Result, result)})
		case "input_required":
		default:
			return nil, fmt.Errorf("the server's result is of type %.40q, which clients of this revision of MCP do not know", kind)
		}
		asks, state, _, err := bridge.ParseInputRequired(e.m.Result)
		if err != nil {
			return nil, fmt.Errorf("the server's answer: %w", err)
		}
		answers, err := askAll(ctx, session, x.out, asks)
		if err != nil {
			return nil, err
		}
		params = bridge.Retry(bridge.ToModern(x.m.Params, client), answers, state)
	}
	return nil, fmt.Errorf("the server asked for input %d times without an answer", mostRounds)
}

// askAll asks a client several things at once.
func askAll(ctx context.Context, session *session, out outlet, asks []bridge.Ask) (map[string][]byte, error) {
	type got struct {
		key string
		r   reply
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make(chan got, len(asks))
	for _, a := range asks {
		if refused := bridge.Allowed(a.Method, a.Params, session.client.Capabilities, false); refused != nil {
			return nil, refused
		}
		go func() {
			r, err := session.ask(ctx, out, a.Method, bridge.Downgrade(session.version, a.Method, a.Legacy(newID())))
			all <- got{a.Key, r, err}
		}()
	}
	answers := map[string][]byte{}
	for range asks {
		g := <-all
		switch {
		case g.err != nil:
			return nil, g.err
		case g.r.refused != nil:
			return nil, fmt.Errorf("the client refused the server's %w", g.r.refused)
		}
		answers[g.key] = g.r.result
	}
	return answers, nil
}

// refusal is the answer to a request that no child answered.
func (s *server) refusal(x exchange, err error) []byte {
	e := &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: err.Error()}
	var (
		own     *jsonrpc.Error
		tooMuch *busyError
	)
	switch {
	case errors.As(err, &own):
		e = own
	case errors.As(err, new(*noSuchError)):
		e.Code = jsonrpc.CodeInvalidParams
	case errors.As(err, &tooMuch):
		e = tooMuch.reply()
	case errors.Is(err, errTimeout) && !harmless(x.m.Method):
		e.Message += "; whether the request was carried out is not known"
	case errors.Is(err, errChildGone):
		e.Message = fmt.Sprintf("server %q went away before it answered", s.name)
		if !harmless(x.m.Method) && !errors.Is(err, errNotSent) {
			e.Message += "; whether the request was carried out is not known"
		}
	}
	line, err := jsonrpc.NewError(x.m.ID, e)
	if err != nil {
		panic("gateway: an id that was parsed is none") // cannot happen
	}
	return line
}

// elicits remembers to whom an elicitation by URL was shown: news of it follow.
func (s *server) elicits(id string, session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.elicited) < elicitedMost {
		s.elicited[id] = session
	}
}

// elicitedMost bounds how many elicitations are waited for.
const elicitedMost = 1024

func (s *server) elicitationsEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.elicited)
}

// gatherFor is how long requests of a child's that come together are waited for.
const gatherFor = 20 * time.Millisecond
