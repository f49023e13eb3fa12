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
)

// A modern client takes no requests: where a legacy child asks it something
// during a call, the call is parked, its client is answered "input_required",
// and the call goes on when the client comes again with the answers.

const (
	// parkFor is how long a client may take for its answers.
	parkFor = 10 * time.Minute
	// parkedMost bounds how many calls of one gateway wait for their clients.
	parkedMost = 256
	// leftFor is how long a call goes on of which the client has hung up: it
	// may come again with the same answers.
	leftFor = 10 * time.Second
	// doneFor is how long the outcome of a call is kept for a client that did not
	// get it, and doneMost for how many calls.
	doneFor  = time.Minute
	doneMost = 256
)

// parked is a call that waits for its client, or has done so.
type parked struct {
	id    string
	child *child
	call  *call
	timer *time.Timer // gives it up, or forgets it

	mu    sync.Mutex // guards the fields below
	state parkedState
	round int
	asks  map[string]event  // what is to be answered in this round, by key
	given map[string][]byte // what of that was answered
	turns []*turn           // what became of each round's answers
}

type parkedState int

const (
	waits  parkedState = iota // for its client
	runs                      // it was answered
	done                      // the child has answered
	gaveUp                    // the child was told to stop
)

// turn is the outcome of one round, for the client and its duplicates.
type turn struct {
	done    chan struct{}
	outcome outcome // once done is closed
	waiting int     // guarded by parked.mu
	cancel  context.CancelCauseFunc
}

// outcome is what a request is answered with: what the child said, all of it but
// for a result or an error that takes the place of its own; or these alone.
type outcome struct {
	m               jsonrpc.Message
	result, refused []byte
}

// line is the answer to the request of that id.
func (o outcome) line(id []byte) ([]byte, error) {
	switch {
	case o.m.Kind == jsonrpc.Response && o.refused == nil:
		return o.m.Rewrite(jsonrpc.Rewrite{ID: id, Result: o.result})
	case o.m.Kind == jsonrpc.ErrorResponse && o.result == nil:
		return o.m.Rewrite(jsonrpc.Rewrite{ID: id, Error: o.refused})
	case o.refused != nil:
		return jsonrpc.NewError(id, jsonrpc.DecodeError(o.refused))
	}
	return jsonrpc.NewResult(id, o.result)
}

// lot is where calls are parked.
type lot struct {
	seal

	mu      sync.Mutex // guards the fields below
	calls   map[string]*parked
	waiting int // of them, those whose child has not answered
	closed  bool
}

func newLot(key []byte) (*lot, error) {
	seal, err := newSeal(key)
	return &lot{calls: map[string]*parked{}, seal: seal}, err
}

// load is how many calls wait for their clients.
func (l *lot) load() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

func (l *lot) find(id string) *parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[id]
}

// parkable is through for a modern client of a legacy child.
func (s *server) parkable(ctx context.Context, c *child, x exchange) ([]byte, error) {
	var t ticket
	if answers, state, retry := bridge.Answers(x.m.Params); retry && state != "" {
		var err error
		if t, err = s.g.lot.redeem(state, binding(s, x), time.Now()); err != nil {
			return nil, err
		}
		if t.ID != "" {
			p := s.g.lot.find(t.ID)
			if p == nil {
				return nil, errTicket
			}
			return s.resume(ctx, x, p, t.Round, answers)
		}
	}
	if err := s.checkTool(ctx, c, x.m); err != nil {
		return nil, err
	}
	if level := stringOf(x.by.client.LogLevel); level != "" {
		s.raiseLevel(ctx, c, level)
	}
	leave, err := s.enter(ctx, c, x)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := c.begin(ctx, x.by, x.m, t.params(x.m))
	if err != nil {
		return nil, err
	}
	e, asks, err := c.runOrAsk(ctx, k, x)
	if err != nil {
		c.abandon(k, reasonOf(err))
		return nil, err
	}
	if asks == nil {
		o, err := s.translated(c, k, x, e)
		if err != nil {
			return nil, err
		}
		return o.line(x.m.ID)
	}
	result, err := s.park(c, k, x, asks)
	if err != nil {
		c.abandon(k, nil)
		return nil, err
	}
	x.account.asks()
	return jsonrpc.NewResult(x.m.ID, result)
}

// translated is a legacy child's answer to a call as a modern client's.
func (s *server) translated(c *child, k *call, x exchange, e event) (outcome, error) {
	if e.m.Kind == jsonrpc.Response {
		asks, state, ok, err := bridge.AsksIn(x.m.Method, e.m.Result)
		switch {
		case err != nil:
			return outcome{}, fmt.Errorf("the server's answer: %w", err)
		case ok:
			result, err := s.demandAnew(x, asks, ticket{Pass: true, State: state})
			return outcome{result: result}, err
		}
		result := bridge.ResultToModern(x.m.Method, e.m.Result, c.identity())
		return outcome{m: e.m, result: changedOnly(e.m.Result, result)}, nil
	}
	if asks, ok := bridge.AsksOf(e.m.Error); ok {
		// "URL elicitation required": once the pages were opened, the request is to
		// be made again.
		result, err := s.demandAnew(x, asks, ticket{})
		return outcome{result: result}, err
	}
	if lack := c.lackOf(k); lack != nil {
		said := *lack
		said.Message += "; " + jsonrpc.DecodeError(e.m.Error).Message
		return s.refused(x, &said), nil
	}
	refused, _ := bridge.ErrorToModern(x.m.Method, e.m.Error)
	return outcome{m: e.m, refused: changedOnly(e.m.Error, refused)}, nil
}

// demandAnew is the input_required result of a call that has ended with what its
// server wants to know: it is made anew with the answers.
func (s *server) demandAnew(x exchange, asks []bridge.Ask, t ticket) ([]byte, error) {
	for _, a := range asks {
		if refused := bridge.Allowed(a.Method, a.Params, x.by.capabilities(), true); refused != nil {
			return nil, refused
		}
	}
	x.account.asks()
	return bridge.InputRequired(asks, s.g.lot.issue(t, binding(s, x))), nil
}

// park puts a call aside and returns what its client is told.
func (s *server) park(c *child, k *call, x exchange, asks map[string]event) ([]byte, error) {
	p := &parked{id: newID(), child: c, call: k, asks: asks, given: map[string][]byte{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := s.g.lot
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return nil, errClosed
	case l.waiting >= parkedMost:
		l.mu.Unlock()
		return nil, busy("%d calls wait for their clients' input", parkedMost)
	}
	l.calls[p.id] = p
	l.waiting++
	l.mu.Unlock()
	c.park(k, true)
	p.timer = time.AfterFunc(parkFor, func() { s.g.running.Go(func() { l.expire(p) }) })
	return s.demand(p, x), nil
}

// demand is the input_required result of what the present round lacks. The caller
// holds the mutex.
func (s *server) demand(p *parked, x exchange) []byte {
	var list []bridge.Ask
	for _, key := range slices.Sorted(maps.Keys(p.asks)) {
		if p.given[key] == nil {
			list = append(list, bridge.Ask{Key: key, Method: p.asks[key].m.Method, Params: p.asks[key].m.Params})
		}
	}
	return bridge.InputRequired(list, s.g.lot.issue(ticket{ID: p.id, Round: p.round}, binding(s, x)))
}

// expire is the end of a parked call's time.
func (l *lot) expire(p *parked) {
	p.mu.Lock()
	state := p.state
	p.mu.Unlock()
	switch state {
	case waits:
		l.drop(p, []byte(`"the client did not answer"`))
	case done:
		l.forget(p)
	}
}

// drop gives a parked call up.
func (l *lot) drop(p *parked, reason []byte) {
	p.mu.Lock()
	before := p.state
	if before == waits || before == runs {
		p.state = gaveUp
	}
	p.timer.Stop()
	p.mu.Unlock()
	l.forget(p)
	if before == waits || before == runs {
		l.mu.Lock()
		l.waiting--
		l.mu.Unlock()
		p.child.abandon(p.call, reason)
	}
}

func (l *lot) forget(p *parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, p.id)
}

// finish keeps the outcome of a parked call that was answered for a while: its
// client may ask for it again.
func (l *lot) finish(p *parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == gaveUp {
		return
	}
	p.state = done
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
	if len(l.calls)-l.waiting > doneMost {
		delete(l.calls, p.id)
		p.timer.Stop()
		return
	}
	p.timer.Reset(doneFor)
}

// lost: the process has ended whose calls these are. Who comes with answers is
// told so for a while.
func (l *lot) lost(c *child) {
	for _, p := range l.all() {
		p.mu.Lock()
		if p.child == c && p.state == waits {
			p.timer.Reset(doneFor)
		}
		p.mu.Unlock()
	}
}

func (l *lot) all() []*parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.calls))
}

// close gives all calls up that are parked, and takes no more.
func (l *lot) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range l.all() {
		all.Go(func() { l.drop(p, []byte(`"the gateway is ending"`)) })
	}
	all.Wait()
}

// resume goes on with a parked call. The same answers a second time get the same
// result, and no second run.
func (s *server) resume(ctx context.Context, x exchange, p *parked, round int, answers map[string][]byte) ([]byte, error) {
	p.mu.Lock()
	if round < len(p.turns) {
		t := p.turns[round]
		t.waiting++
		p.mu.Unlock()
		return p.wait(ctx, t, x.m.ID)
	}
	if p.state != waits || round != p.round {
		p.mu.Unlock()
		return nil, errTicket
	}
	for key, e := range p.asks {
		if a := answers[key]; a != nil && !bridge.Answered(e.m.Method, a) {
			p.mu.Unlock()
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("inputResponses: what %q holds is no answer to %s; send the request again with one", key, e.m.Method)}
		}
	}
	for key := range p.asks {
		if answers[key] != nil {
			p.given[key] = answers[key]
		}
	}
	if len(p.given) < len(p.asks) {
		// "If the client fails to send all the information requested, the server
		// SHOULD respond with a new InputRequiredResult".
		result := s.demand(p, x)
		p.mu.Unlock()
		return jsonrpc.NewResult(x.m.ID, result)
	}
	asks, given := p.asks, p.given
	p.asks, p.given = nil, map[string][]byte{}
	p.round++
	p.state = runs
	p.timer.Stop()
	runCtx, cancel := context.WithCancelCause(s.ctx)
	t := &turn{done: make(chan struct{}), waiting: 1, cancel: cancel}
	p.turns = append(p.turns, t)
	p.mu.Unlock()
	rest := x
	rest.account = nil // it is this request's, which may be given up
	s.g.running.Go(func() {
		defer cancel(nil)
		defer close(t.done)
		o, err := s.goOn(runCtx, p, rest, asks, given)
		if err != nil {
			s.g.lot.drop(p, reasonOf(err))
			if errors.Is(err, errLeft) || errors.Is(err, errCancelled) {
				err = errTicket
			}
			o = s.refused(x, err)
		}
		t.outcome = o
	})
	return p.wait(ctx, t, x.m.ID)
}

// errLeft: nobody waits for the outcome of a call any more.
var errLeft = errors.New("the client has left")

// goOn gives the child its answers and waits for what comes of them. The call
// takes its turn again first: while it was parked others had theirs.
func (s *server) goOn(ctx context.Context, p *parked, x exchange, asks map[string]event, given map[string][]byte) (outcome, error) {
	c, k := p.child, p.call
	leave, err := s.enter(ctx, c, x)
	if err != nil {
		return outcome{}, err
	}
	defer leave()
	c.unpark(k, x)
	for _, key := range slices.Sorted(maps.Keys(asks)) {
		if err := c.deliver(ctx, asks[key].m.ID, given[key]); err != nil {
			return outcome{}, err
		}
	}
	e, more, err := c.runOrAsk(ctx, k, x)
	if err != nil {
		return outcome{}, err
	}
	if more == nil {
		s.g.lot.finish(p)
		o, err := s.translated(c, k, x, e)
		if err != nil {
			o = s.refused(x, err)
		}
		return o, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == gaveUp {
		return outcome{}, errClosed
	}
	p.asks, p.state = more, waits
	c.park(k, true)
	p.timer.Reset(parkFor)
	return outcome{result: s.demand(p, x)}, nil
}

// refused is the outcome of a call that failed.
func (s *server) refused(x exchange, err error) outcome {
	m, parseErr := jsonrpc.Parse(s.refusal(x, err))
	if parseErr != nil {
		panic("gateway: a line of ours is no message") // cannot happen
	}
	return outcome{refused: m.Error}
}

// unpark has a call go on for the request that its client made now.
func (c *child) unpark(k *call, x exchange) {
	c.park(k, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	k.by, k.token = x.by, jsonrpc.Get(x.m.Params, "_meta", "progressToken")
}

// deliver gives the child one answer of a client's.
func (c *child) deliver(ctx context.Context, id, answer []byte) error {
	c.mu.Lock()
	a := c.asked[string(id)]
	c.mu.Unlock()
	if a == nil {
		return nil // it took the request back, or is gone
	}
	return c.answer(ctx, a, answer, nil)
}

// wait waits for a turn. When nobody does so any more, the call is given up: at
// once where the client has said so, else after a while.
func (p *parked) wait(ctx context.Context, t *turn, id []byte) ([]byte, error) {
	select {
	case <-t.done:
		p.leave(t)
		return t.outcome.line(id)
	case <-ctx.Done():
	}
	why := context.Cause(ctx)
	switch {
	case !p.leave(t):
	case errors.Is(why, errCancelled):
		t.cancel(why)
	default:
		time.AfterFunc(leftFor, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if t.waiting == 0 {
				t.cancel(errLeft)
			}
		})
	}
	return nil, why
}

// leave says whether it was the last who waited for a turn.
func (p *parked) leave(t *turn) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.waiting--
	return t.waiting == 0
}
