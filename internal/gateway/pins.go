package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/pin"
)

// What a server says of its tools is pinned: the tools that it listed when nothing was
// approved are, and from then on one that is new or another is taken out of each list,
// and its calls are refused, until `berth approve` has it. Lists are looked at as the
// server sent them, before they are put in other words for a client.

// pins is what is known of a server's approvals.
type pins struct {
	mu   sync.Mutex // guards the fields below
	read home.Stamp // of the file, when it was read
	book *pin.Book  // nil: nothing is approved yet
	err  error      // the file cannot be read
	told string     // of the approved tools, which clients were told of
}

// errWithheld is why a tool may not be called.
func errWithheld(server string) string {
	return fmt.Sprintf("what the server says of it is not what was approved; `berth approve %s` shows what is new", server)
}

// pinsTools says whether the server's tools are compared with what was approved.
func (s *server) pinsTools() bool {
	if pins := s.g.o.Pins; pins != nil {
		return pins(s.name)
	}
	return s.set().PinTools
}

// approved is the book of the server, nil if nothing is approved yet; on is false if its
// tools are not pinned.
func (s *server) approved() (b *pin.Book, on bool, err error) {
	if s.joint != nil || !s.pinsTools() {
		return nil, false, nil
	}
	p := &s.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := s.g.home.ApprovalsStamp(s.name)
	if stamp.Settled && stamp == p.read {
		return p.book, true, p.err
	}
	p.read = stamp
	p.book, p.err = ReadBook(s.g.home, s.name)
	if p.told == "" && p.book != nil {
		p.told = p.book.Sum()
	}
	return p.book, true, p.err
}

// ReadBook returns what is approved of a server's tools, nil if nothing is yet.
func ReadBook(h *home.Home, server string) (*pin.Book, error) {
	data, err := h.ReadApprovals(server)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := pin.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	return b, nil
}

// SeeTools writes down tools that a server lists: as approved if nothing is, and all is
// every tool that there is, else those that are not what was approved as waiting. It
// returns the book as it is then.
func SeeTools(h *home.Home, server string, tools []pin.Tool, all bool) (b *pin.Book, err error) {
	if b, err = ReadBook(h, server); err != nil || b != nil && !b.Clone().See(tools, time.Time{}) || b == nil && !all {
		return b, err
	}
	err = h.UpdateApprovals(server, func(old []byte) ([]byte, error) {
		if old == nil {
			b = pin.New(tools, time.Now())
			return b.Encode()
		}
		if b, err = pin.Parse(old); err != nil {
			return nil, fmt.Errorf("server %q: %w", server, err)
		}
		if !b.See(tools, time.Now()) {
			return nil, nil
		}
		return b.Encode()
	})
	return b, err
}

// see is SeeTools with what cannot be written told to who keeps the gateway.
func (s *server) see(tools []pin.Tool, all bool) (*pin.Book, error) {
	b, err := SeeTools(s.g.home, s.name, tools, all)
	if err != nil {
		s.g.log.Warn("what is known of the server's tools is not kept", "server", s.name, "error", err)
	}
	return b, err
}

// screened is a page of a list of tools, as the server sent it, without those that are
// withheld.
func (s *server) screened(page []byte) ([]byte, error) {
	b, on, err := s.approved()
	if !on || err == nil && b == nil && jsonrpc.Get(page, "nextCursor") != nil {
		return page, err // the whole list, which comes soon, is what is approved
	}
	if err != nil {
		return nil, err
	}
	tools := toolsIn(page)
	if b == nil || !allAllowed(b, tools) {
		// What cannot be written down is withheld all the same.
		if seen, _ := s.see(tools, true); seen != nil {
			b = seen
		}
	}
	if b == nil {
		return page, nil // nothing can be written here at all
	}
	kept := jsonrpc.EditElements(jsonrpc.Get(page, "tools"), func(raw []byte) []byte {
		t, err := pin.Of(raw)
		if err != nil || !b.Allows(t) {
			return nil
		}
		return raw
	})
	if kept == nil {
		return page, nil
	}
	return jsonrpc.Set(page, kept, "tools")
}

func toolsIn(page []byte) (tools []pin.Tool) {
	for raw := range jsonrpc.Elements(jsonrpc.Get(page, "tools")) {
		if t, err := pin.Of(raw); err == nil {
			tools = append(tools, t)
		}
	}
	return tools
}

func allAllowed(b *pin.Book, tools []pin.Tool) bool {
	for _, t := range tools {
		if !b.Allows(t) {
			return false
		}
	}
	return true
}

// screenedEvent is screened for the answer of a process.
func (s *server) screenedEvent(x exchange, e event) (event, error) {
	if x.m.Method != "tools/list" || e.m.Kind != jsonrpc.Response || !s.pinsTools() {
		return e, nil
	}
	line, err := s.g.spool.Whole(e.line)
	if err != nil {
		return e, err
	}
	m, err := jsonrpc.Parse(line)
	if err != nil {
		return e, err
	}
	result, err := s.screened(m.Result)
	if err != nil {
		return e, err
	}
	if line, err = m.Rewrite(jsonrpc.Rewrite{Result: changedOnly(m.Result, result)}); err != nil {
		return e, err
	}
	if m, err = jsonrpc.Parse(line); err != nil {
		return e, err
	}
	e.line, e.m = line, m
	return e, nil
}

// withheld says whether a tool may not be called since it is not what was approved. One
// that was approved and is not listed is the server's to refuse.
func (s *server) withheld(ctx context.Context, by *caller, tool string) (why string) {
	b, on, err := s.approved()
	switch {
	case !on:
		return ""
	case err != nil:
		return err.Error()
	case b == nil:
		return "" // the first list approves
	}
	if _, ever := b.Approved[tool]; !ever {
		if len(b.Approved) == 0 && len(b.Pending) == 0 {
			return "" // it listed nothing: what it has, it does not list
		}
		return errWithheld(s.name)
	}
	now, listed := s.definition(ctx, by, tool)
	if listed && !b.Allows(now) {
		_, _ = s.see([]pin.Tool{now}, false) // it is refused in any case
		return errWithheld(s.name)
	}
	return ""
}

// definition is what the server says of a tool now.
func (s *server) definition(ctx context.Context, by *caller, tool string) (t pin.Tool, listed bool) {
	c, err := s.up(ctx, by)
	if err != nil {
		return pin.Tool{}, false // the call itself says why
	}
	t = c.facts(ctx, tool).pin
	return t, t.Name != ""
}

// pinAll pins the tools of a manifest.
func (s *server) pinAll(m *mcp.Manifest) {
	if !s.pinsTools() || m == nil {
		return
	}
	_, _ = s.see(ToolsOf(m), true) // it has been said
}

// ToolsOf are the tools that a manifest lists.
func ToolsOf(m *mcp.Manifest) (tools []pin.Tool) {
	for _, page := range m.Lists["tools/list"] {
		tools = append(tools, toolsIn(page)...)
	}
	return tools
}

// ApprovalsChanged is to be called when what is approved of a server's tools may have
// changed: the clients of those for which it has are told.
func (g *Gateway) ApprovalsChanged() {
	g.mu.Lock()
	servers := slices.Collect(maps.Values(g.servers))
	g.mu.Unlock()
	for _, s := range servers {
		if s.approvalsChanged() {
			s.rulesChanged()
		}
	}
}

// approvalsChanged says whether other tools are approved than clients were told of. That
// the first are takes nothing away.
func (s *server) approvalsChanged() bool {
	b, on, _ := s.approved()
	now := ""
	if on && b != nil {
		now = b.Sum()
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	changed := s.pins.told != "" && s.pins.told != now
	s.pins.told = now
	return changed
}
