package gateway

import (
	"context"
	"errors"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// initialize opens a session for a legacy client and returns the line of the
// answer; the session is nil if that is an error.
func (s *server) initialize(ctx context.Context, by Caller, m jsonrpc.Message) (*session, []byte) {
	x := exchange{m: m}
	asked := stringOf(jsonrpc.Get(m.Params, "protocolVersion"))
	if asked == "" {
		return nil, s.refusal(x, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "initialize names no protocolVersion"})
	}
	session := newSession(s, by, bridge.Negotiate(asked), bridge.Client{
		Capabilities: clone(jsonrpc.Get(m.Params, "capabilities")), Info: clone(jsonrpc.Get(m.Params, "clientInfo")),
	})
	session.who.patient = isPatient(ctx)
	if err := s.admit(session); err != nil {
		return nil, s.refusal(x, err)
	}
	if s.joint != nil {
		line, err := s.joint.initialize(ctx, session, m)
		if err != nil {
			session.end(errSessionEnded)
			return nil, s.refusal(x, err)
		}
		return session, line
	}
	f, err := s.greet(ctx, session.who)
	if err != nil {
		session.end(errSessionEnded)
		return nil, s.refusal(x, err)
	}
	line, err := jsonrpc.NewResult(m.ID, f.initializeResult(session.version))
	if err != nil {
		session.end(errSessionEnded)
		return nil, s.refusal(x, err)
	}
	session.shook(f)
	s.syncWatch(f.child)
	return session, line
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// request serves one request of the client's and returns the line of the answer;
// nil if the client has cancelled it, for then it is to get none. What belongs to
// it goes to out meanwhile.
func (s *session) request(ctx context.Context, m jsonrpc.Message, out outlet) []byte {
	ctx, done, err := s.begin(ctx, m.ID)
	if err != nil {
		return s.srv.refusal(exchange{m: m}, err)
	}
	defer done()
	return s.serve(ctx, m, out)
}

// serve is request once that has begun.
func (s *session) serve(ctx context.Context, m jsonrpc.Message, out outlet) []byte {
	result, err := s.own(ctx, m)
	x := exchange{by: s.who, m: m, out: out}
	switch {
	case errors.Is(err, errNotOwn):
		line := s.srv.forwarded(ctx, x)
		if errors.Is(context.Cause(ctx), errCancelled) {
			s.srv.g.spool.Release(line)
			return nil
		}
		return line
	case err != nil:
		return s.srv.refusal(x, err)
	}
	line, err := jsonrpc.NewResult(m.ID, result)
	if err != nil {
		return s.srv.refusal(x, err)
	}
	return line
}

// errNotOwn: a request that is the child's to answer.
var errNotOwn = errors.New("not the gateway's own")

// own answers what is between the client and the gateway: each client has a
// session of its own, the child has one for all.
func (s *session) own(ctx context.Context, m jsonrpc.Message) ([]byte, error) {
	if isModern("", m) {
		// It would turn a child that speaks both eras modern, for everyone.
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "a request of a later revision than this session's"}
	}
	switch m.Method {
	case "ping":
		return []byte("{}"), nil
	case "initialize":
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "this session is initialized already"}
	case "server/discover", "subscriptions/listen", "tasks/update":
		// One of these would turn a child that speaks both eras modern.
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found: " + m.Method + " is of a later revision than this session's"}
	case "logging/setLevel":
		if s.srv.joint == nil {
			return s.setLevel(ctx, m)
		}
	case "resources/subscribe", "resources/unsubscribe":
		if s.srv.joint == nil {
			return s.subscription(ctx, m)
		}
	}
	return nil, errNotOwn
}

// forwarded has whoever is meant answer a request.
func (s *server) forwarded(ctx context.Context, x exchange) []byte {
	if s.joint != nil {
		return s.joint.serve(ctx, x)
	}
	return s.forward(ctx, x)
}

func (s *session) setLevel(ctx context.Context, m jsonrpc.Message) ([]byte, error) {
	level := stringOf(jsonrpc.Get(m.Params, "level"))
	if _, known := bridge.Severity(level); !known {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no such log level"}
	}
	f, err := s.srv.known(ctx, s.who)
	if err != nil {
		return nil, err
	}
	if !f.declares("logging") {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found: the server writes no log messages"}
	}
	s.mu.Lock()
	s.level = level
	s.mu.Unlock()
	s.note(record{Level: level})
	if f.child != nil && f.era == mcp.Legacy {
		s.srv.syncLevel(ctx, f.child)
	}
	return []byte("{}"), nil
}

func (s *session) subscription(ctx context.Context, m jsonrpc.Message) ([]byte, error) {
	uri := stringOf(jsonrpc.Get(m.Params, "uri"))
	if uri == "" {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no uri"}
	}
	s.mu.Lock()
	had := s.subs[uri]
	if len(s.subs) >= subscriptionsMost && !had {
		s.mu.Unlock()
		return nil, busy("a session follows %d resources", subscriptionsMost)
	}
	wants := m.Method == "resources/subscribe"
	if wants {
		s.subs[uri] = true
	} else {
		delete(s.subs, uri)
	}
	s.mu.Unlock()
	switch {
	case wants && !had:
		if err := s.srv.subscribe(ctx, s.who, uri); err != nil {
			s.mu.Lock()
			delete(s.subs, uri)
			s.mu.Unlock()
			return nil, err
		}
		s.note(record{Follow: uri})
	case !wants && had:
		s.srv.unsubscribe(s.who, uri)
		s.note(record{Unfollow: uri})
	}
	return []byte("{}"), nil
}

// subscriptionsMost bounds the resources that one session follows.
const subscriptionsMost = 1000

// notified takes a notification of the client's.
func (s *session) notified(ctx context.Context, m jsonrpc.Message) {
	switch m.Method {
	case "notifications/cancelled":
		s.cancelled(m.Params)
	case "notifications/initialized", "notifications/roots/list_changed":
		// The child had its own initialized; of roots it is never told.
	default:
		if s.srv.joint != nil {
			s.srv.joint.notified(ctx, s, m)
			return
		}
		// Progress of what the child asked, and what a later revision brings.
		if isModern("", m) {
			return // see own
		}
		if c := s.srv.childOf(s.who); c != nil && c.era == mcp.Legacy {
			if line, err := m.Rewrite(jsonrpc.Rewrite{}); err == nil {
				_ = c.send(ctx, line) // nobody waits for an answer
			}
		}
	}
}
