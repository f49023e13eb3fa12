package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// route takes one message of the child's that its session did not ask for. It
// runs in the goroutine that reads the child, in the order of the lines, and
// never waits.
func (c *child) route(m jsonrpc.Message, line []byte) {
	switch m.Kind {
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		c.answered(m, line)
	case jsonrpc.Notification:
		c.notified(m, line)
	case jsonrpc.Request:
		c.requested(m, line)
	}
}

// answered gives an answer to the call that waits for it. What the child still
// asked on behalf of that call is moot.
func (c *child) answered(m jsonrpc.Message, line []byte) {
	id, _ := m.StringID()
	c.mu.Lock()
	k := c.calls[id]
	asked := k != nil && k.asked
	c.settled = true
	c.mu.Unlock()
	if k == nil {
		c.srv.g.spool.Release(line)
		c.srv.g.counts.stale.Add(1) // it was given up, or a gateway before this one asked
		return
	}
	m, line = c.fold(k, asked, m, line)
	if k.mayBeTask && m.Kind == jsonrpc.Response {
		c.taskMade(k, m.Result)
	}
	c.forget(k)
	k.events.put(event{m: m, line: line})
}

// notified finds out whom a notification belongs to: by its key where it has
// one, else by who is using the child.
func (c *child) notified(m jsonrpc.Message, line []byte) {
	if strings.HasPrefix(m.Method, linesOwn) {
		c.srv.g.counts.unowned.Add(1) // no server says what only the gateway does
		return
	}
	if strings.HasSuffix(m.Method, "/list_changed") {
		c.stale()
		c.srv.outdated(m.Method)
	}
	if id := bridge.Subscription(m.Params); id != nil {
		if m.Method == "notifications/tools/list_changed" {
			c.forgetTools()
		}
		c.give(stringOf(id), m, line)
		return
	}
	if c.ofTask(m, line) {
		return
	}
	switch m.Method {
	case "notifications/progress":
		id := stringOf(jsonrpc.Get(m.Params, "progressToken"))
		if !c.progressed(id) {
			c.srv.g.counts.progress.Add(1)
			return
		}
		c.give(id, m, line)
	case "notifications/cancelled":
		c.withdrawn(m, line)
	case "notifications/message":
		c.logged(m, line)
	case "notifications/resources/updated":
		c.updated(stringOf(jsonrpc.Get(m.Params, "uri")), m, line)
	case "notifications/tools/list_changed":
		c.forgetTools()
		c.changed(m, line)
	case "notifications/prompts/list_changed", "notifications/resources/list_changed":
		c.changed(m, line)
	case "notifications/elicitation/complete":
		c.srv.completed(stringOf(jsonrpc.Get(m.Params, "elicitationId")), line)
	default:
		if k := c.sole(); k != nil {
			k.events.put(event{m: m, line: line})
			return
		}
		c.srv.g.counts.unowned.Add(1)
	}
}

// give hands a message to the call of that id.
func (c *child) give(id string, m jsonrpc.Message, line []byte) {
	c.mu.Lock()
	k := c.calls[id]
	c.mu.Unlock()
	if k == nil {
		c.srv.g.counts.stale.Add(1)
		return
	}
	k.events.put(event{m: m, line: line})
}

// withdrawn: a legacy child takes a request to a client back, a modern one ends a
// subscription.
func (c *child) withdrawn(m jsonrpc.Message, line []byte) {
	id := string(jsonrpc.Get(m.Params, "requestId"))
	if c.era == mcp.Modern {
		c.mu.Lock()
		k := c.calls[stringOf([]byte(id))]
		c.mu.Unlock()
		if k == nil || k.method != "subscriptions/listen" {
			c.srv.g.counts.stale.Add(1)
			return
		}
		c.forget(k)
		k.events.put(event{m: m, line: line})
		return
	}
	c.mu.Lock()
	a := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if a != nil {
		c.settle(a)
	}
}

// logged passes a log message on if it can only be one client's: nothing in it
// says whose it is.
func (c *child) logged(m jsonrpc.Message, line []byte) {
	c.mu.Lock()
	k, _ := c.suspect(false)
	var by *caller
	if k != nil {
		by = k.by
	}
	c.mu.Unlock()
	if k == nil || !severe(stringOf(jsonrpc.Get(m.Params, "level")), by.level()) {
		c.srv.g.counts.unowned.Add(1)
		return
	}
	k.events.put(event{m: m, line: line})
}

// sole returns a call of the one client that uses the child now, nil if there
// are several or none.
func (c *child) sole() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, _ := c.suspect(false)
	return k
}

// suspect returns the call that something without a key belongs to, the latest of
// the one client's; or nil, and what may have been meant. Calls that wait for their
// client's input do nothing meanwhile, so they count only where there are no
// others; for a question, those that servers do not ask for count after those that
// they do. The caller holds the mutex.
func (c *child) suspect(question bool) (k *call, asking []string) {
	var several bool
	for rank := range 3 {
		for _, other := range c.calls {
			if other.rank(question) != rank || other.method == "subscriptions/listen" {
				continue
			}
			if other.asks != "" {
				asking = append(asking, other.asks)
			}
			switch {
			case k == nil:
				k = other
			case k.by != other.by:
				several = true
			case later(other.id, k.id):
				k = other
			}
		}
		if k != nil {
			break
		}
	}
	if several {
		return nil, asking
	}
	return k, asking
}

// rank orders calls by how likely it is that something without a key belongs to
// them. The caller holds child.mu.
func (k *call) rank(question bool) int {
	switch {
	case k.parked:
		return 2
	case question && !mayAsk(k.method):
		return 1
	}
	return 0
}

// mayAsk says whether servers ask their clients something for the sake of such a
// request; of methods that are not known, they may.
func mayAsk(method string) bool {
	switch method {
	case "ping", "logging/setLevel", "completion/complete",
		"tools/list", "prompts/list", "resources/list", "resources/templates/list",
		"resources/subscribe", "resources/unsubscribe",
		"tasks/get", "tasks/list", "tasks/cancel":
		return false
	}
	return true
}

// asksOf is what is remembered of a request whose server asks its client something;
// "" for one that never waits for its turn.
func asksOf(m jsonrpc.Message) string {
	switch m.Method {
	case "tools/call":
		return stringOf(jsonrpc.Get(m.Params, "name"))
	case "prompts/get":
		return "prompts/get " + stringOf(jsonrpc.Get(m.Params, "name"))
	case "resources/read":
		return "resources/read " + stringOf(jsonrpc.Get(m.Params, "uri"))
	}
	return ""
}

// later compares two ids of ours.
func later(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// requested deals with a request of the child's: Berth answers it, or the client
// whose call is the only one in flight.
func (c *child) requested(m jsonrpc.Message, line []byte) {
	if c.era == mcp.Modern {
		// "The server MUST NOT send JSON-RPC requests", and the client no
		// responses: there is no way to answer.
		c.srv.g.counts.unowned.Add(1)
		return
	}
	switch m.Method {
	case "ping":
		c.respond(m.ID, []byte("{}"), nil)
		return
	case "roots/list":
		if c.own == nil && !c.mayAskRoots() {
			c.respond(m.ID, nil, errRoots)
			return
		}
	}
	if c.own != nil {
		c.askSession(m, c.own)
		return
	}
	if id := relatedTask(m); c.tasks && id != nil {
		k, known := c.srv.tasks.byID(stringOf(id))
		if maker := c.srv.maker(k); known && maker != nil {
			c.askSession(m, maker)
		} else {
			c.respond(m.ID, nil, errNoMaker)
		}
		return
	}
	c.mu.Lock()
	if c.asked == nil || c.asked[string(m.ID)] != nil {
		c.mu.Unlock() // there is one answer to one id
		c.srv.g.counts.unowned.Add(1)
		return
	}
	k, asking := c.suspect(true)
	var refused *jsonrpc.Error
	declines := false // the call's goroutine says so, once it knows what else is asked
	switch {
	case len(c.asked) >= askedMost:
		refused = errManyAsks
	case k == nil && len(asking) == 0:
		refused = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "no client is waiting for this server, so nobody can be asked"}
	case k == nil:
		refused = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "several clients use this server now, and which of them is meant cannot be told; call again"}
	default:
		refused = k.refuses(m)
		declines = refused != nil && k.by.modern && m.Method == "elicitation/create"
		if refused != nil && !declines {
			k.lacks(m)
			break
		}
		a := &ask{id: m.ID, call: k}
		c.asked[string(m.ID)] = a
		c.putDown(a)
	}
	c.mu.Unlock()
	if len(asking) > 0 {
		// From now on they run alone, so that this cannot happen again.
		c.srv.asking(asking, k != nil)
	}
	if refused != nil && !declines {
		c.respond(m.ID, nil, refused)
		return
	}
	k.events.put(event{m: m, line: line, refused: refused})
}

// askSession passes a request of the child's to the session that is known to be
// meant.
func (c *child) askSession(m jsonrpc.Message, s *session) {
	if refused := bridge.Allowed(m.Method, m.Params, s.client.Capabilities, false); refused != nil {
		c.respond(m.ID, nil, refused)
		return
	}
	ctx, cancel := context.WithCancel(c.srv.ctx)
	a := &ask{id: m.ID, cancel: cancel}
	c.mu.Lock()
	full := len(c.asked) >= askedMost
	if c.asked == nil || c.asked[string(m.ID)] != nil || full {
		c.mu.Unlock()
		cancel()
		if full {
			c.respond(m.ID, nil, errManyAsks)
		}
		return
	}
	c.asked[string(m.ID)] = a
	c.putDown(a)
	c.mu.Unlock()
	c.srv.g.running.Go(func() { c.passTo(ctx, s, outletFunc(s.tell), a, m) })
}

// passTo hands a request of the child's to a client and its answer back.
func (c *child) passTo(ctx context.Context, s *session, out outlet, a *ask, m jsonrpc.Message) {
	defer a.cancel()
	r, err := s.ask(ctx, out, m.Method, bridge.Downgrade(s.version, m.Method, m.Params))
	if err != nil {
		r.refused = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the client did not answer: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	_ = c.answer(ctx, a, r.result, r.refused) // a child that is gone waits for nothing
}

// askedMost bounds the questions of a child's that wait for an answer, and
// respondMost the answers of ours that wait for the child to read them.
const (
	askedMost   = 1024
	respondMost = 64
)

var errManyAsks = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: fmt.Sprintf("%d questions to clients are unanswered already", askedMost)}

// respond answers a request of the child's in a goroutine of its own: the one that
// reads must not wait for a server that does not.
func (c *child) respond(id, result []byte, refused *jsonrpc.Error) {
	if c.responding.Add(1) > respondMost {
		c.responding.Add(-1)
		c.srv.g.counts.unowned.Add(1)
		return
	}
	c.srv.g.running.Go(func() {
		defer c.responding.Add(-1)
		ctx, cancel := context.WithTimeout(c.srv.g.ctx, 30*time.Second)
		defer cancel()
		_ = c.reply(ctx, id, result, refused) // a child that is gone waits for nothing
	})
}

// severe says whether a message of this level is wanted by who asked for the
// other; nobody who asked for none wants any.
func severe(level, wanted string) bool {
	least, ok := bridge.Severity(wanted)
	if !ok {
		return false
	}
	at, ok := bridge.Severity(level)
	return !ok || at >= least
}

// stringOf decodes a JSON string; of anything else it returns "".
func stringOf(raw []byte) string {
	s, _ := jsonrpc.Text(raw)
	return s
}
