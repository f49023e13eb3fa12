package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
)

// Who asks what a server is and what it lists is answered without a process of
// it: by the manifest of its last run. Where there is none, by what is true of any
// server, and by what is known once its process is there.

const (
	// helloWait is how long who greets a server waits for a process of which
	// nothing is known, and listWait who asks for a list.
	helloWait = time.Second
	listWait  = 5 * time.Second
)

// provisional is the handshake of a session that was told what is true of any
// server.
const provisional = "provisional"

// errNotYet: the server's process is not there yet.
var errNotYet = errors.New("the server is still starting")

// answerer is who answers for a server.
type answerer struct {
	face
	child       *child // nil: there is no process
	provisional bool   // nothing is known but its name
}

func (c *child) answerer() answerer { return answerer{face: c.face, child: c} }

// greet returns who answers a client that has just come. A process is started for
// it where nothing is known of the server, but not waited for for long.
func (s *server) greet(ctx context.Context, by *caller) (answerer, error) {
	if err := s.permit(); err != nil {
		return answerer{}, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: err.Error()}
	}
	m, runs := s.lookUp(by)
	patient := by.patient || s.set().EndOnCrash // which must not begin with a process that it did not see
	if m != nil && !runs && !patient {
		s.invite()
		return answerer{face: faceOf(m)}, nil
	}
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !patient {
		defer time.AfterFunc(s.g.o.HelloWait, func() { cancel(errNotYet) }).Stop()
	}
	c, err := s.upFor(wait, by, true)
	switch {
	case err == nil:
		return c.answerer(), nil
	case !errors.Is(err, errNotYet):
		return answerer{}, err
	case m != nil:
		return answerer{face: faceOf(m)}, nil
	}
	if c := s.owe(by); c != nil {
		return c.answerer(), nil
	}
	s.mu.Lock()
	own := s.slots[""]
	s.mu.Unlock()
	if m := s.manifestOf(own); m != nil {
		return answerer{face: faceOf(m), provisional: true}, nil // of another process, or era
	}
	return answerer{face: s.stranger(), provisional: true}, nil
}

// owe notes that a client is told what may not be so, unless the process that
// knows has just come: that is returned.
func (s *server) owe(by *caller) *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slotFor(by)
	if sl.child != nil {
		return sl.child
	}
	sl.owes = true
	return nil
}

// stranger is what is true of any server.
func (s *server) stranger() face {
	info := mcp.Info{Era: mcp.Legacy, Capabilities: []byte(`{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}`)}
	info.Result = fmt.Appendf(nil, `{"protocolVersion":"2025-11-25","capabilities":%s,"serverInfo":{"name":%s,"version":"unknown"}}`, info.Capabilities, jsonrpc.StringID(s.name))
	return face{mcp.Legacy, info}
}

// invite lets those who find no process have one, though its user stopped the
// server before they came.
func (s *server) invite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invited = true
}

// lookUp returns the manifest that a client may be answered from, nil if there is
// none; and whether the server's process is there, for then that is asked.
func (s *server) lookUp(by *caller) (m *mcp.Manifest, runs bool) {
	s.mu.Lock()
	own := s.slots[""]
	if own == nil {
		own = &slot{era: s.settings.Era}
		s.slots[""] = own
	}
	sl := own
	mine := by != nil && by.session != nil && by.session.tag != ""
	if mine {
		sl = s.slotFor(by)
	}
	both := s.settings.Both && !mine && (by == nil || !by.modern)
	c := sl.child
	s.mu.Unlock()
	if both {
		// Whether a legacy client has a process of its own, the other one says.
		if m = s.manifestOf(own); m == nil && c == nil {
			return nil, shim.Listens(s.g.home, s.name)
		}
		s.mu.Lock()
		sl = s.slotFor(by)
		c = sl.child
		s.mu.Unlock()
	}
	if c != nil && !c.gone() {
		return nil, true
	}
	m = s.manifestOf(sl)
	s.mu.Lock()
	going := sl.held != nil
	s.mu.Unlock()
	return m, !going && shim.Listens(s.g.home, s.instance(sl))
}

// known returns who answers for a server, without starting it where there is a
// manifest.
func (s *server) known(ctx context.Context, by *caller) (answerer, error) {
	if m, runs := s.lookUp(by); m != nil && !runs {
		return answerer{face: faceOf(m)}, nil
	}
	c, err := s.up(ctx, by)
	if err != nil {
		return answerer{}, err
	}
	return c.answerer(), nil
}

// listing answers a list of a server that has no process; ok is false if a process
// is to be asked.
func (s *server) listing(ctx context.Context, x exchange) (line []byte, ok bool) {
	_, member := mcp.ListKind(x.m.Method)
	if member == "" || x.by.patient || !x.by.modern && s.set().EndOnCrash {
		return nil, false
	}
	m, runs := s.lookUp(x.by)
	if m == nil && runs && s.attached(x.by) {
		return nil, false
	}
	answer := func() bool {
		var err error
		if m != nil {
			line, err = s.shelved(m, x)
		}
		return err == nil && line != nil
	}
	if !runs && answer() {
		return line, true
	}
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(s.g.o.ListWait, func() { cancel(errNotYet) }).Stop()
	switch _, err := s.up(wait, x.by); {
	case err == nil:
		return nil, false
	case !errors.Is(err, errNotYet):
		return s.refusal(x, err), true
	case answer():
		return line, true
	}
	if s.owe(x.by) != nil {
		return nil, false
	}
	f := s.stranger()
	line, err := jsonrpc.NewResult(x.m.ID, f.listFor(x, fmt.Appendf(nil, `{%q:[]}`, member)))
	if err != nil {
		return s.refusal(x, err), true
	}
	return line, true
}

// patientKey is the key of a client's patience in the context of its connection.
type patientKey struct{}

func withPatience(ctx context.Context, patient bool) context.Context {
	return context.WithValue(ctx, patientKey{}, patient)
}

func isPatient(ctx context.Context) bool {
	patient, _ := ctx.Value(patientKey{}).(bool)
	return patient
}

// attached says whether the process that a client uses is there and attached to.
func (s *server) attached(by *caller) bool {
	c := s.childOf(by)
	return c != nil && !c.gone()
}

// faceNow is what is known of a server without starting it.
func (s *server) faceNow(by *caller) (f face, known bool) {
	m, runs := s.lookUp(by)
	if m != nil && !runs {
		return faceOf(m), true
	}
	if c := s.childOf(by); c != nil && !c.gone() {
		return c.face, true
	}
	return face{}, false
}
