package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/spool"
)

// Lines of a server's that are longer than shim.LongLine go to a file while they
// are read. What passes through the gateway is the outline of the message (see
// package spool); who writes it to the client at last fills it in from the file.

const (
	// spoolMost bounds what waits in files, of all servers and clients.
	spoolMost = 1 << 30
	// longMost bounds a message of a server's that is no answer: it is taken into
	// memory.
	longMost = 16 << 20
)

// longLine is one long line of a server's.
type longLine struct {
	*spool.Spill
	g        *Gateway
	instance string
	own      string // begins the ids of requests of the gateway's own
}

func (g *Gateway) longLine(instance, own string) *longLine {
	return &longLine{g.spool.Begin(), g, instance, own}
}

// Finish implements shim.Spill. An answer that could not be kept becomes an error,
// which its caller gets; anything else of that kind is dropped.
func (l *longLine) Finish() []byte {
	line, why := l.Spill.Finish()
	if line == nil {
		return l.refuse(why)
	}
	m, err := jsonrpc.Parse(line)
	if err != nil {
		l.g.spool.Release(line)
		return line // whoever parses it next says why
	}
	answer := m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse
	switch id, _ := m.StringID(); {
	case why != nil && answer:
		if line, err = jsonrpc.NewError(m.ID, &jsonrpc.Error{
			Code:    jsonrpc.CodeInternalError,
			Message: fmt.Sprintf("the server's answer has %d bytes and could not be kept until the client reads it: %v; the request was carried out", l.Size(), why),
		}); err != nil {
			return l.refuse(err)
		}
		return line
	case why != nil:
		return l.refuse(why)
	case answer && !strings.HasPrefix(id, l.own):
		return line
	case !answer && l.Size() > longMost:
		l.g.spool.Release(line)
		return l.refuse(fmt.Errorf("at most %d may have it", longMost))
	}
	if line, err = l.g.spool.Whole(line); err != nil {
		return l.refuse(err)
	}
	return line
}

// refuse drops the message: what it returns is none.
func (l *longLine) refuse(why error) []byte {
	l.g.counts.long.Add(1)
	l.g.log.Warn("a long message of the server's was dropped", "server", l.instance, "bytes", l.Size(), "error", why)
	return nil
}

// fold takes an answer into memory if something in it has to be looked at that its
// outline has not. It runs in the goroutine that reads the child: the answer is on
// this machine's disk, or in its cache.
func (c *child) fold(k *call, asked bool, m jsonrpc.Message, line []byte) (jsonrpc.Message, []byte) {
	store := c.srv.g.spool
	if !store.Marked(line) || !asked && !c.looksInside(k, m) {
		return m, line
	}
	whole, err := store.Whole(line)
	if err == nil {
		var full jsonrpc.Message
		if full, err = jsonrpc.Parse(whole); err == nil {
			return full, whole
		}
	}
	if line, err = jsonrpc.NewError(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the server's answer could not be read again: " + err.Error()}); err == nil {
		if failed, err := jsonrpc.Parse(line); err == nil {
			return failed, line
		}
	}
	return m, line
}

// looksInside says whether the gateway reads or rewrites more of this answer than
// an outline has.
func (c *child) looksInside(k *call, m jsonrpc.Message) bool {
	if m.Kind == jsonrpc.ErrorResponse {
		return true
	}
	switch k.method {
	case "tools/call", "prompts/get":
		if s := k.by.session; s != nil && s.version < "2025-06-18" {
			return true // content that such a client does not know becomes text
		}
	case "resources/read":
	default:
		return true
	}
	store := c.srv.g.spool
	crosses := k.by.modern != (c.era == mcp.Modern)
	for name, value := range jsonrpc.Members(m.Result) {
		switch name {
		case "content", "contents", "messages":
		case "structuredContent":
			if crosses && store.Marked(value) {
				return true
			}
		case "_meta", "resultType", "isError", "task":
			if store.Marked(value) {
				return true
			}
		}
	}
	return bridge.ResultType(m.Result) != "complete"
}

// writeLong writes the answer that line, which has marks, stands for.
func writeLong(w http.ResponseWriter, store *spool.Store, status int, line []byte) {
	defer store.Release(line)
	p, err := store.Parts(line)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the server's answer is not kept any more")
		return
	}
	defer p.Close()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", fmt.Sprint(p.Size()))
	w.WriteHeader(status)
	_, _ = p.WriteTo(&patientWriter{w, http.NewResponseController(w), writeTimeout}) // a client that left waits for nothing
}

// longEvent writes one event whose data has marks, and forgets the data if the
// client has it now.
func (e *eventWriter) longEvent(id, data string) error {
	p, err := e.store.Parts([]byte(data))
	if err != nil {
		return err
	}
	defer p.Close()
	w := &patientWriter{e.w, e.rc, e.wait}
	head := "event: message\ndata: "
	if id != "" {
		head = "id: " + id + "\n" + head
	}
	if _, err = io.WriteString(w, head); err == nil {
		_, err = p.WriteLine(w)
	}
	if err == nil {
		_, err = io.WriteString(w, "\n\n")
	}
	if err == nil {
		err = e.rc.Flush()
	}
	if err == nil {
		e.store.Release([]byte(data))
	}
	return err
}

// patientWriter gives the client its time for each piece.
type patientWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	wait time.Duration
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.rc.SetWriteDeadline(time.Now().Add(p.wait)) // not every writer has one
	return p.w.Write(b)
}

// writeLong writes the line that one with marks stands for.
func (l *lineClient) writeLong(line []byte) error {
	store := l.srv.g.spool
	defer store.Release(line)
	p, err := store.Parts(line)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err = p.WriteLine(l.conn); err == nil {
		_, err = l.conn.Write([]byte{'\n'})
	}
	return err
}

// whole takes an answer that becomes part of another into memory.
func (s *server) whole(m jsonrpc.Message, line []byte) []byte {
	if line == nil {
		return nil
	}
	all, err := s.g.spool.Whole(line)
	if err != nil {
		return s.refusal(exchange{m: m}, errors.Join(errors.New("the server's answer could not be read again"), err))
	}
	return all
}
