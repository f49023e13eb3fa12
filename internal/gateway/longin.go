package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

// What a client sends goes to a file as a server's lines do (see long.go), where it
// is a long request in which nothing long is looked at: the arguments of a call. The
// file is kept until the request is answered, since it may be made a second time.
// Whoever serves the request releases it.

// longIn takes one long message of a client's.
type longIn struct {
	*spool.Spill
	g *Gateway
	// refuse is told the answer to a message that is not taken.
	refuse func(id []byte, e *jsonrpc.Error)
}

func (g *Gateway) longIn(refuse func(id []byte, e *jsonrpc.Error)) *longIn {
	return &longIn{g.spool.Begin(), g, refuse}
}

// Finish implements jsonrpc.Spill. What it returns is nil if the message was refused.
func (l *longIn) Finish() []byte {
	line, why := l.Spill.Finish()
	var m jsonrpc.Message
	if line != nil {
		var bad error
		if m, bad = jsonrpc.Parse(line); bad != nil {
			l.g.spool.Release(line)
			if why == nil {
				return line // whoever parses it next says why
			}
		}
	}
	var id []byte
	if m.Kind == jsonrpc.Request && !l.g.spool.Marked(m.ID) {
		id = m.ID
	}
	switch {
	case why != nil && (m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse):
		return l.noAnswer(m.ID, why)
	case errors.Is(why, jsonrpc.ErrInvalid), errors.Is(why, jsonrpc.ErrOutline):
		l.refuse(nil, l.tooLong())
		return nil
	case errors.Is(why, spool.ErrFull):
		l.refuse(id, busy("the message has %d bytes, and %v", l.Size(), why).(*busyError).reply())
		return nil
	case why != nil:
		l.refuse(id, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: fmt.Sprintf("the message has %d bytes and could not be kept: %v", l.Size(), why)})
		return nil
	case m.Kind == jsonrpc.Request && !l.g.looksInto(m, line):
		l.g.spool.Hold(line)
		return line
	case l.Size() <= longMost:
		whole, err := l.g.spool.Whole(line)
		if err != nil {
			l.refuse(id, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the message could not be read again: " + err.Error()})
		}
		return whole
	}
	l.g.spool.Release(line)
	if m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse {
		return l.noAnswer(m.ID, l.tooLong())
	}
	l.refuse(id, l.tooLong())
	return nil
}

// noAnswer is what who asked the client hears in the place of its answer.
func (l *longIn) noAnswer(id []byte, why error) []byte {
	line, err := jsonrpc.NewError(id, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: fmt.Sprintf("the client's answer has %d bytes and was not taken: %v", l.Size(), why)})
	if err != nil {
		return nil
	}
	return line
}

func (l *longIn) tooLong() *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: fmt.Sprintf("a message of this kind may have %d bytes, not %d", longMost, l.Size())}
}

// looksInto says whether the gateway reads or rewrites more of a request than its
// outline has: its params are all that may be long, and of those no member that means
// something here.
func (g *Gateway) looksInto(m jsonrpc.Message, line []byte) bool {
	switch m.Method {
	case "initialize", "subscriptions/listen":
		return true
	}
	for name, value := range jsonrpc.Members(line) {
		if name != "params" && g.spool.Marked(value) {
			return true
		}
	}
	if !bytes.HasPrefix(m.Params, []byte{'{'}) {
		return g.spool.Marked(m.Params)
	}
	for name, value := range jsonrpc.Members(m.Params) {
		switch name {
		case "_meta", "name", "uri", "ref", "cursor", "level", "task", "taskId", "requestState", "inputResponses", "notifications", "requestId":
			if g.spool.Marked(value) {
				return true
			}
		}
	}
	return false
}

// inMemory is a request with a member of its params in memory that an outline does
// not have.
func (g *Gateway) inMemory(m jsonrpc.Message, member string) (jsonrpc.Message, error) {
	value := jsonrpc.Get(m.Params, member)
	if !g.spool.Marked(value) {
		return m, nil
	}
	if n := g.spool.Size(value); n > longMost {
		return m, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("the %s of this request may have %d bytes, not %d", member, longMost, n)}
	}
	whole, err := g.spool.Copy(value)
	if err != nil {
		return m, err
	}
	params, err := jsonrpc.Set(m.Params, whole, member)
	if err != nil {
		return m, err
	}
	line, err := m.Rewrite(jsonrpc.Rewrite{Params: params})
	if err != nil {
		return m, err
	}
	return jsonrpc.Parse(line)
}

// readLong is readBody of what goes on behind head.
func (g *Gateway) readLong(w http.ResponseWriter, r *http.Request, head []byte) ([]byte, error) {
	l := g.longIn(func(id []byte, e *jsonrpc.Error) {
		line, err := jsonrpc.NewError(id, e)
		if err != nil {
			line = nil // cannot happen
		}
		status := http.StatusRequestEntityTooLarge
		if e.Code != jsonrpc.CodeInvalidRequest {
			status = statusOf(w, line)
		}
		writeLine(w, status, line)
	})
	_, _ = l.Write(head)
	for buf := head[:min(cap(head), 64<<10)]; ; {
		n, err := r.Body.Read(buf)
		_, _ = l.Write(buf[:n])
		switch {
		case l.Lost():
			unread(w, r)
			return l.Finish(), nil
		case err == io.EOF:
			return l.Finish(), nil
		case err != nil:
			l.Abort()
			return nil, err
		}
	}
}

// writeLong writes the line that one with marks stands for.
func (c conn) writeLong(ctx context.Context, line []byte) error {
	p, err := c.spool.Parts(line)
	if err != nil {
		return err
	}
	defer p.Close()
	return c.attachment.WriteLong(ctx, p.Size(), func(w io.Writer) error {
		_, err := p.WriteLine(w)
		return err
	})
}

// spills has the long lines of a client go to files.
func (l *lineClient) spills(in *jsonrpc.Reader) {
	in.SpillTo(shim.LongLine, func() jsonrpc.Spill {
		return l.srv.g.longIn(func(id []byte, e *jsonrpc.Error) {
			if id == nil {
				l.complain(e.Code, e)
				return
			}
			if line, err := jsonrpc.NewError(id, e); err == nil {
				l.put(line)
			}
		})
	})
}

// schemaNeeds has the arguments of a call in memory if its tool wants some of them
// in the headers of the request, too.
func (s *server) schemaNeeds(ctx context.Context, m jsonrpc.Message) (jsonrpc.Message, error) {
	if m.Method != "tools/call" || !s.g.spool.Marked(m.Params) {
		return m, nil
	}
	if len(bridge.ParamHeaders(s.schema(ctx, stringOf(jsonrpc.Get(m.Params, "name"))))) == 0 {
		return m, nil
	}
	return s.g.inMemory(m, "arguments")
}
