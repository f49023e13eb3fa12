package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// What a legacy child asks during a modern client's call is gathered into rounds, each
// a result of that call.

// runOrAsk is run until the child has answered, or asks something. What it asks
// at the same time comes together.
func (c *child) runOrAsk(ctx context.Context, k *call, x exchange) (event, map[string]event, error) {
	asks := map[string]event{}
	var refused []event
	var gathered <-chan time.Time
	for {
		e, ok, err := k.events.takeUntil(ctx, gathered)
		switch {
		case err != nil:
			return e, nil, err
		case !ok:
			if err := c.refuse(ctx, k, refused, len(asks) > 0); err != nil {
				return e, nil, err
			}
			if len(asks) > 0 {
				return e, asks, nil
			}
			refused, gathered = nil, nil
			continue
		case e.err != nil:
			return e, nil, e.err
		}
		switch e.m.Kind {
		case jsonrpc.Notification:
			if line, err := restored(k, e, x.m.ID); err == nil {
				x.out.put(line)
			}
		case jsonrpc.Request:
			if e.refused != nil {
				refused = append(refused, e)
			} else {
				asks[freeKey(asks, bridge.KeyOf(e.m.Method, e.m.Params))] = e
			}
			if gathered == nil {
				gathered = time.After(gatherFor)
			}
		default:
			x.account.answered(e.m)
			e, err = c.srv.screenedEvent(x, e)
			return e, nil, err
		}
	}
}

// freeKey is a key that nothing else in a round has.
func freeKey(asks map[string]event, key string) string {
	free := key
	for n := 2; ; n++ {
		if _, taken := asks[free]; !taken {
			return free
		}
		free = key + "_" + strconv.Itoa(n)
	}
}

// refuse answers elicitations that the client did not declare. Where it is asked
// something else in the same round, the child hears that nobody made a choice, which
// any server takes: an error would have it give up what the client can be asked.
func (c *child) refuse(ctx context.Context, k *call, refused []event, others bool) error {
	for _, e := range refused {
		c.mu.Lock()
		a := c.asked[string(e.m.ID)]
		if !others {
			k.lacks(e.m)
		}
		c.mu.Unlock()
		if a == nil {
			continue // it took the request back
		}
		var err error
		if others {
			err = c.answer(ctx, a, []byte(`{"action":"cancel"}`), nil)
		} else {
			err = c.answer(ctx, a, nil, e.refused)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lacks remembers that the child was refused what a call's client did not declare:
// if the call fails, that is why. The caller holds child.mu.
func (k *call) lacks(m jsonrpc.Message) {
	if k.by.modern && k.lack == nil {
		k.lack = bridge.Allowed(m.Method, m.Params, k.by.capabilities(), true)
	}
}

// lackOf is the error for that, nil if there was nothing.
func (c *child) lackOf(k *call) *jsonrpc.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return k.lack
}

// errRoots: what a shared child keeps of one client's roots, others would get.
var errRoots = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Berth declares no roots: a client's would become everyone's"}

// mayAskRoots says whether a question for roots may belong to a call of a modern
// client's, whose roots are for that call. A legacy client's are for all that it
// does, and what a child asks before it has answered anything is for all that it will
// do: those it is never told. Where clients must not share state, it is told nobody's.
func (c *child) mayAskRoots() bool {
	if c.srv.set().PerSession {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		if k.by.modern && !k.early && mayAsk(k.method) {
			return true
		}
	}
	return false
}

// refuses says why the client of a call cannot be asked something; nil if it can. The
// caller holds child.mu.
func (k *call) refuses(m jsonrpc.Message) *jsonrpc.Error {
	if m.Method == "roots/list" && (!k.by.modern || k.early) {
		return errRoots
	}
	return bridge.Allowed(m.Method, m.Params, k.by.capabilities(), false)
}
