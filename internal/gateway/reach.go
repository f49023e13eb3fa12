package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/policy"
)

// Reach is what a caller may use.
type Reach struct {
	Rules policy.Rules
	// Search has the tools of many servers be found and not listed.
	Search bool
}

// reachOf is what a caller may use at the address of a profile; "" is none. What
// cannot be found out allows nothing.
func (g *Gateway) reachOf(who Caller, profile string) (Reach, error) {
	if g.o.Reach == nil {
		return Reach{}, nil
	}
	reach, err := g.o.Reach(who, profile)
	if err != nil {
		return Reach{}, fmt.Errorf("what this client may use is not known: %w", err)
	}
	return reach, nil
}

// rules are those that bear on what a caller asks of the server, its own among them.
func (s *server) rules(by *caller) (policy.Rules, error) {
	if by.unruled {
		return nil, nil
	}
	reach, err := s.g.reachOf(by.Caller, "")
	if err != nil {
		return nil, err
	}
	return append(s.ownRules(), reach.Rules...), nil
}

// ownRules are those of the server, for everyone.
func (s *server) ownRules() policy.Rules {
	tools := s.set().Tools
	if len(tools.Allow) == 0 && len(tools.Deny) == 0 {
		return nil
	}
	return policy.Rules{{Of: fmt.Sprintf("server %q", s.name), Tools: tools}}
}

// errNotForYou refuses a server that the caller's rules do not have.
func errNotForYou(server string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: fmt.Sprintf("server %q is none that this client may use", server)}
}

// mayCall says whether a tool may be called, by its own name, and if not, why. What
// the server says of it is looked up only if that matters.
func (s *server) mayCall(ctx context.Context, by *caller, rules policy.Rules, tool string) (ok bool, why string) {
	if !rules.AskAnnotations(s.name, tool) {
		return rules.Allows(s.name, tool, policy.Annotations{})
	}
	return rules.Allows(s.name, tool, s.annotations(ctx, by, tool))
}

// annotations is what the server says of a tool; of one that it does not list,
// nothing.
func (s *server) annotations(ctx context.Context, by *caller, tool string) policy.Annotations {
	if m, runs := s.lookUp(by); m != nil && !runs {
		return annotationsIn(m, tool)
	}
	c, err := s.up(ctx, by)
	if err != nil {
		return policy.Annotations{} // the call itself says why
	}
	return c.facts(ctx, tool).annotations
}

func annotationsIn(m *mcp.Manifest, tool string) policy.Annotations {
	for cursor, page := "", 0; page < pagesMost; page++ {
		result, _ := m.Page("tools/list", cursor)
		for t := range jsonrpc.Elements(jsonrpc.Get(result, "tools")) {
			if stringOf(jsonrpc.Get(t, "name")) == tool {
				return policy.ParseAnnotations(jsonrpc.Get(t, "annotations"))
			}
		}
		if cursor, _ = jsonrpc.Text(jsonrpc.Get(result, "nextCursor")); cursor == "" {
			break
		}
	}
	return policy.Annotations{}
}

// deniedError is that a tool may not be called.
type deniedError struct{ tool, why string }

func (e *deniedError) Error() string {
	return fmt.Sprintf("the tool %.100q is not allowed: %s", e.tool, e.why)
}

// permitted returns why a caller may not ask something, by the rules that bear on it.
func (s *server) permitted(ctx context.Context, x exchange, rules policy.Rules) error {
	if err := s.permit(); err != nil {
		return s.forbidden(ctx, x, err)
	}
	if !rules.HasServer(s.name) {
		return errNotForYou(s.name)
	}
	if x.m.Method == "tools/call" {
		tool := stringOf(jsonrpc.Get(x.m.Params, "name"))
		if ok, why := s.mayCall(ctx, x.by, rules, tool); !ok {
			return s.deny(ctx, x, tool, why)
		}
		if why := s.withheld(ctx, x.by, tool); why != "" {
			return s.deny(ctx, x, tool, why)
		}
	}
	return nil
}

// permit says why the server may not be used at all.
func (s *server) permit() error {
	if s.g.o.Permit == nil || s.joint != nil {
		return nil
	}
	return s.g.o.Permit(s.name)
}

// forbidden is the refusal of a server that the policies forbid. A call that is
// refused so goes on record.
func (s *server) forbidden(ctx context.Context, x exchange, why error) error {
	if x.m.Method == "tools/call" {
		return s.deny(ctx, x, stringOf(jsonrpc.Get(x.m.Params, "name")), why.Error())
	}
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: why.Error()}
}

// deny writes down that a call was refused, and returns why.
func (s *server) deny(ctx context.Context, x exchange, tool, why string) error {
	err := &deniedError{tool, why}
	a := s.account(x)
	a.call.Tool, a.call.Outcome, a.call.Code = capped(tool, toolMost), berth.CallRefused, jsonrpc.CodeInvalidParams
	s.figures.denied.Add(1)
	rec := berth.Record{Server: s.name, Action: berth.ActionToolCallDenied, Call: &a.call, Detail: why}
	a.from(ctx, x.m.Params)
	a.tell(rec)
	if unwritten := s.g.journal.Append(rec); unwritten != nil {
		s.g.log.Warn("record a call that was denied", "server", s.name, "error", unwritten)
	}
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: err.Error()}
}

// allowedTools is the answer to tools/list without the tools that may not be called.
func (s *server) allowedTools(x exchange, line []byte, rules policy.Rules) []byte {
	line = s.whole(x.m, line)
	answer, err := jsonrpc.Parse(line)
	if err != nil || answer.Kind != jsonrpc.Response {
		return line
	}
	tools := jsonrpc.Get(answer.Result, "tools")
	if tools == nil {
		return line
	}
	some := false
	kept := jsonrpc.EditElements(tools, func(tool []byte) []byte {
		ok, _ := rules.Allows(s.name, stringOf(jsonrpc.Get(tool, "name")), policy.ParseAnnotations(jsonrpc.Get(tool, "annotations")))
		if !ok {
			some = true
			return nil
		}
		return tool
	})
	if !some {
		return line
	}
	result, err := jsonrpc.Set(answer.Result, kept, "tools")
	if err == nil {
		line, err = answer.Rewrite(jsonrpc.Rewrite{ID: x.m.ID, Result: result})
	}
	if err != nil {
		return s.refusal(x, errors.Join(errors.New("what may be listed could not be told"), err))
	}
	return line
}

// rulesChanged reads what a server's file says of its tools, and tells its clients
// that their lists may be others.
func (s *server) rulesChanged() {
	if s.joint != nil {
		s.joint.changed("notifications/tools/list_changed")
		return
	}
	set, err := s.g.o.Settings(s.name)
	flips := false // whether it may be used
	s.mu.Lock()
	switch {
	case errors.Is(err, berth.ErrNoServer):
		// It was removed: its clients hear that when they ask.
	case err != nil:
		s.settings.Tools = policy.Tools{Deny: []string{"*"}} // until its file is in order
	default:
		flips = s.settings.Disabled != set.Disabled
		s.settings.Tools, s.settings.PinTools, s.settings.Disabled = set.Tools, set.PinTools, set.Disabled
	}
	s.mu.Unlock()
	methods := []string{"notifications/tools/list_changed"}
	if f, known := s.faceNow(nil); flips && known {
		for _, kind := range []string{"prompts", "resources"} {
			if f.declares(kind) {
				methods = append(methods, "notifications/"+kind+"/list_changed")
			}
		}
	}
	// Everyone, whichever process they use, if any.
	s.outdated(methods...)
	for _, method := range methods {
		for _, session := range s.everySession() {
			session.tellOf(method, nil)
		}
		s.tellListens(method, nil, true)
	}
}

// mayEnter says whether the server is one that the caller may use; it has answered if
// not.
func (s *server) mayEnter(w http.ResponseWriter, r *http.Request) bool {
	rules, err := s.rules(&caller{Caller: callerIn(r.Context())})
	switch {
	case err != nil:
		refuse(w, http.StatusForbidden, err.Error())
	case !rules.HasServer(s.name):
		refuse(w, http.StatusForbidden, errNotForYou(s.name).Message)
	default:
		return true
	}
	return false
}
