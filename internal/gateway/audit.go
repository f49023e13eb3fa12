package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// Bounds on what a record takes from a client, in bytes.
const (
	labelMost     = 100
	toolMost      = 256
	argumentsMost = 16 << 10
)

// account is the audit record of one call, from its arrival to its answer. The
// goroutine that serves the call owns it. A nil account is that of a request
// which is no call: nothing is noted.
type account struct {
	srv  *server
	call berth.Call
	pid  int
	mark time.Time // since when what is noted next has lasted
	told bool      // the outcome is known

	began  time.Time
	origin origin
}

// account opens the record of a request that is a call.
func (s *server) account(x exchange) *account {
	if x.m.Method != "tools/call" {
		return nil
	}
	set := s.set()
	now := time.Now()
	a := &account{srv: s, mark: now, began: now}
	a.call.Tool = capped(stringOf(jsonrpc.Get(x.m.Params, "name")), toolMost)
	a.call.Principal, a.call.Caller = x.by.Principal, x.by.Client
	a.call.Client = x.by.label(set.Mask)
	a.call.BytesIn = x.m.Size() - len(x.m.Params) + int(s.g.spool.Size(x.m.Params))
	if args := jsonrpc.Get(x.m.Params, "arguments"); args != nil {
		a.call.ArgumentsSHA256 = s.g.digest(args)
		if set.Arguments && len(args) <= argumentsMost && !s.g.spool.Marked(args) {
			a.call.Arguments = masked(set.Mask, string(args))
		}
	}
	return a
}

// digest is the hash, in hexadecimal, of what raw, which may have marks, stands for.
func (g *Gateway) digest(raw []byte) string {
	var sum [sha256.Size]byte
	if g.spool.Marked(raw) {
		h := sha256.New()
		_ = g.spool.WriteTo(h, raw) // of what cannot be read again there will be no call
		h.Sum(sum[:0])
	} else {
		sum = sha256.Sum256(raw)
	}
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

func masked(mask func(string) string, text string) string {
	if mask == nil {
		return text
	}
	return mask(text)
}

func capped(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// label is what the client calls itself.
func (c *caller) label(mask func(string) string) string {
	c.labelled.Do(func() {
		info := c.client.Info
		if c.session != nil {
			info = c.session.client.Info
		}
		name := stringOf(jsonrpc.Get(info, "name")) + " " + stringOf(jsonrpc.Get(info, "version"))
		c.labelIs = capped(masked(mask, strings.TrimSpace(name)), labelMost)
	})
	return c.labelIs
}

// waited notes that the call has waited for its turn.
func (a *account) waited() {
	if a != nil {
		a.call.QueueMicros += a.lap()
	}
}

// started notes that the call has waited for the server to be up.
func (a *account) started(c *child) {
	if a == nil {
		return
	}
	a.call.StartMicros += a.lap()
	if c != nil {
		a.pid, a.call.Restarts = c.pid, c.restarts
	}
}

func (a *account) lap() int64 {
	now := time.Now()
	took := now.Sub(a.mark).Microseconds()
	a.mark = now
	return took
}

// answered notes what the child answered.
func (a *account) answered(m jsonrpc.Message) {
	if a == nil {
		return
	}
	a.told = true
	switch {
	case m.Kind == jsonrpc.ErrorResponse:
		a.call.Outcome, a.call.Code = berth.CallError, jsonrpc.DecodeError(m.Error).Code
	// A result may be long, and few have the words.
	case bytes.Contains(m.Result, []byte("input_required")) && bridge.ResultType(m.Result) == "input_required":
		a.call.Outcome = berth.CallAsks
	case bytes.Contains(m.Result, []byte("isError")) && string(jsonrpc.Get(m.Result, "isError")) == "true":
		a.call.Outcome = berth.CallFailed
	default:
		a.call.Outcome = berth.CallDone
	}
}

// asks notes that the answer is a question.
func (a *account) asks() {
	if a != nil {
		a.call.Outcome, a.told = berth.CallAsks, true
	}
}

// close writes the record of a call that has this answer, or failed for this
// reason. If it returns an error, a result must not be sent: the record of it is
// not on the disk, as it is to be.
func (a *account) close(line []byte, why error) error {
	if a == nil {
		return nil
	}
	a.call.RunMicros = a.lap()
	a.call.BytesOut = int(a.srv.g.spool.Size(line))
	if why != nil {
		a.call.Outcome = a.outcomeOf(why)
		var own *jsonrpc.Error
		if errors.As(why, &own) {
			a.call.Code = own.Code
		} else if errors.Is(why, errBusy) {
			a.call.Code = codeBusy
		}
	} else if !a.told {
		if m, err := jsonrpc.Parse(line); err == nil {
			a.answered(m)
		}
	}
	a.srv.figures.call(&a.call)
	rec := berth.Record{Server: a.srv.name, Action: berth.ActionToolCall, PID: a.pid, Call: &a.call}
	a.tell(rec)
	if a.srv.set().Strict {
		if err := a.srv.g.journal.Commit(rec); err != nil {
			return fmt.Errorf("the call was answered, but its record is not on the disk: %w", err)
		}
		return nil
	}
	if err := a.srv.g.journal.Append(rec); err != nil {
		a.srv.g.log.Warn("record a call", "server", a.srv.name, "error", err)
	}
	return nil
}

// outcomeOf says how a call ended that has no answer.
func (a *account) outcomeOf(why error) berth.CallOutcome {
	switch {
	case errors.Is(why, errBusy):
		return berth.CallRefused
	case errors.Is(why, errTimeout):
		return berth.CallTimeout
	case errors.Is(why, errChildGone):
		return berth.CallLost
	case errors.Is(why, errCancelled), errors.Is(why, errSessionEnded), errors.Is(why, errRevoked), errors.Is(why, context.Canceled):
		return berth.CallCancelled
	case a.pid == 0:
		return berth.CallRefused
	}
	return berth.CallError
}

// mayRecord says why a call must not be made: its record is to be on the disk
// before its answer is sent, and the disk takes none.
func (s *server) mayRecord(a *account) error {
	if a == nil || !s.set().Strict {
		return nil
	}
	return s.g.journal.Ready()
}
