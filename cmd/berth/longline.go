package main

import (
	"context"
	"fmt"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

// spoolMost bounds what a proxy keeps in files, in bytes: an answer that is being
// written, and the next one, which is read meanwhile.
const spoolMost = 2 * (shim.MaxLine + 1<<20)

// askedMost bounds what a proxy keeps in files of requests that have no answer yet, in
// bytes: each may have to be made again.
const askedMost = 1 << 30

// longRequests has the long lines of the client go to files while they are read.
func (p *proxy) longRequests(ctx context.Context, r *jsonrpc.Reader) {
	r.SpillTo(shim.LongLine, func() jsonrpc.Spill { return &longRequest{Spill: p.asked.Begin(), proxy: p, ctx: ctx} })
}

// longRequest is one long line of the client's.
type longRequest struct {
	*spool.Spill
	proxy *proxy
	ctx   context.Context
}

// Finish implements jsonrpc.Spill. What the splice remembers beyond its answer is
// taken into memory; what cannot be kept is dropped, and a request answered so.
func (l *longRequest) Finish() []byte {
	line, why := l.Spill.Finish()
	m, bad := jsonrpc.Parse(line)
	if why == nil && bad != nil {
		return line // the gateway's to judge
	}
	if why == nil {
		switch m.Method {
		case "initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "notifications/initialized", "notifications/cancelled":
			line, why = l.proxy.asked.Whole(line)
		}
		if l.proxy.asked.Marked(m.ID) {
			line, why = l.proxy.asked.Whole(line)
		}
	}
	if why == nil {
		l.proxy.asked.Hold(line)
		return line
	}
	l.proxy.ui.warn("a message of %d bytes was dropped: %v", l.Size(), why)
	var id []byte
	if bad == nil && m.Kind == jsonrpc.Request {
		id = m.ID
	}
	if bad == nil && id == nil {
		return nil // it has no answer
	}
	line, err := jsonrpc.NewError(id, &jsonrpc.Error{
		Code:    jsonrpc.CodeInternalError,
		Message: fmt.Sprintf("the message has %d bytes and could not be kept: %v", l.Size(), why),
	})
	if err == nil {
		l.proxy.hand(l.ctx, piece{answer: line})
	}
	return nil
}

// longAnswers has the long lines of a gateway go to files while they are read. What
// the proxy sees of them is the outline, see package spool.
func (p *proxy) longAnswers(l *lines) {
	l.in.SpillTo(shim.LongLine, func() jsonrpc.Spill { return &longAnswer{Spill: p.spool.Begin(), proxy: p} })
}

// longAnswer is one long line.
type longAnswer struct {
	*spool.Spill
	proxy *proxy
}

// Finish implements jsonrpc.Spill. An answer that cannot be kept becomes an error;
// anything else of that kind is dropped.
func (l *longAnswer) Finish() []byte {
	line, why := l.Spill.Finish()
	if why == nil {
		return line
	}
	if m, err := jsonrpc.Parse(line); err == nil && (m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse) {
		line, err = jsonrpc.NewError(m.ID, &jsonrpc.Error{
			Code:    jsonrpc.CodeInternalError,
			Message: fmt.Sprintf("the answer has %d bytes and could not be kept until it was read: %v; the request was carried out", l.Size(), why),
		})
		if err == nil {
			return line
		}
	}
	l.proxy.ui.warn("a message of %d bytes was dropped: %v", l.Size(), why)
	return nil
}

// sayLong writes a line that may be an outline to the client, and forgets what it
// stands for.
func (p *proxy) sayLong(line []byte) error {
	if !p.spool.Marked(line) {
		return p.say(line)
	}
	defer p.spool.Release(line)
	parts, err := p.spool.Parts(line)
	if err != nil {
		return fmt.Errorf("read a long answer again: %w", err)
	}
	defer parts.Close()
	if _, err = parts.WriteLine(p.ui.out); err == nil {
		_, err = p.ui.out.Write([]byte{'\n'})
	}
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}
