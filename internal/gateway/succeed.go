package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// Sessions outlive the processes on both of their sides: the gateway that opened
// them, and the server's.

// succeed goes on where the gateway before this one was when it ended: sessions
// have the processes that they had, and processes that no session is left of are
// stopped.
func (g *Gateway) succeed() error {
	names, err := g.o.Manager.Names()
	if err != nil {
		return err
	}
	var owned []*server
	claimed := map[string]bool{}
	var leftovers []string
	for _, name := range g.ledger.servers() {
		s, err := g.server(name)
		if err != nil {
			if errors.Is(err, berth.ErrNoServer) {
				g.ledger.drop(name)
			}
			continue
		}
		owned = append(owned, s)
		s.mu.Lock()
		for tag := range s.slots {
			claimed[berth.InstanceName(name, tag)] = true
		}
		s.mu.Unlock()
	}
	for _, name := range names {
		if _, tag, further := strings.Cut(name, "~"); further && isSessionTag(tag) && !claimed[name] {
			leftovers = append(leftovers, name)
		}
	}
	g.mu.Lock()
	for _, name := range leftovers {
		g.leftovers[name] = true
	}
	g.mu.Unlock()
	for _, name := range leftovers {
		g.running.Go(func() { g.stopLeftover(name) })
	}
	for _, s := range owned {
		g.running.Go(s.reunite)
	}
	return nil
}

// sessionTag is the tag of a session's own process.
func sessionTag(n int) string { return fmt.Sprintf("s%d", n) }

func isSessionTag(tag string) bool {
	digits, ok := strings.CutPrefix(tag, "s")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

func (g *Gateway) isLeftover(server, tag string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leftovers[berth.InstanceName(server, tag)]
}

func (g *Gateway) stopLeftover(instance string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), stopTimeout)
	defer cancel()
	if _, err := g.o.Manager.Stop(ctx, instance); err != nil {
		g.log.Warn("stop a process that a gateway left", "instance", instance, "error", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.leftovers, instance)
}

// recall takes up what a gateway before this one knew of the server.
func (s *server) recall() {
	sessions, askers, tasks := s.g.ledger.of(s.name)
	s.tasks.all = tasks
	for _, tool := range askers {
		s.askers[tool] = true
	}
	for key, k := range sessions {
		session := bareSession(s, Caller{k.Principal, k.Client, k.Profile}, k.Version, bridge.Client{Capabilities: k.Capabilities, Info: k.Info})
		session.key, session.lines, session.tag, session.level = key, k.Lines, k.Tag, k.Level
		session.generation, session.handshake = k.Generation, k.Handshake
		session.used, session.noted, session.kept, session.recalled = k.Used, k.Used, true, true
		if session.lines {
			session.used = time.Now() // its client comes at once, if it lives
		}
		for _, uri := range k.Follows {
			session.subs[uri] = true
			s.subsOf(s.slotFor(session.who)).add(uri)
		}
		if session.tag != "" {
			s.slotFor(session.who)
		}
		if session.generation == 0 {
			s.invited = true // it came while there was no process
		}
		s.sessions[key] = session
		s.g.count(session, 1)
	}
}

// vacant returns the session of that id, in use until release is called, if its
// client has no connection to this gateway yet: it has lost the one that it had
// to the last gateway.
func (s *server) vacant(id string, by Caller) (found *session, release func()) {
	session := s.session(id, by)
	if session == nil {
		return nil, func() {}
	}
	session.mu.Lock()
	taken := session.ended || session.general != nil || session.busy > 0
	session.mu.Unlock()
	if taken {
		return nil, func() {}
	}
	return session, session.use()
}

// reunite attaches to the processes of recalled sessions that run: their clients
// may be waiting for news.
func (s *server) reunite() {
	if s.joint != nil {
		s.joint.reunite()
		return
	}
	seen := map[*slot]bool{}
	for _, session := range s.everySession() {
		s.mu.Lock()
		sl := s.slotFor(session.who)
		s.mu.Unlock()
		if seen[sl] {
			continue
		}
		seen[sl] = true
		st, err := s.g.o.Manager.Status(s.ctx, s.instance(sl))
		if err == nil && st.Status == berth.Running {
			_, _ = s.up(s.ctx, session.who) // the next request says why not
		}
	}
}

func (s *server) instance(sl *slot) string {
	if sl.tag == "" {
		return s.name
	}
	return berth.InstanceName(s.name, sl.tag)
}

// cancelAbandoned answers what a process asked clients of a gateway before this
// one, since nobody else will, and cancels the calls that it asked that for.
func (s *server) cancelAbandoned(ctx context.Context, c *child) {
	for _, o := range s.g.ledger.abandoned(c.instance, c.generation) {
		_ = c.reply(ctx, o.Ask, nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the gateway that asked the client was ended"})
		if o.Call == "" {
			continue
		}
		line, err := jsonrpc.NewNotification("notifications/cancelled", fmt.Appendf(nil, `{"requestId":%s,"reason":"the gateway that asked was ended"}`, jsonrpc.StringID(o.Call)))
		if err == nil {
			_ = c.send(ctx, line) // a courtesy
		}
	}
}

// The reasons for which a session ends with the server's process.
var (
	errServerChanged = errors.New("the server's process was replaced by one that says something else of itself; initialize again")
	errServerCrashed = errors.New("the server's process has ended, and the state of its sessions with it; initialize again")
)

// meet has the sessions that use a slot know its new process, and says whether
// it is one that they did not know. Those end whose server is not the same any
// more.
func (s *server) meet(sl *slot, c *child) (anew bool) {
	for _, session := range s.everySession() {
		s.mu.Lock()
		uses, ends := s.slotFor(session.who) == sl, s.settings.EndOnCrash
		s.mu.Unlock()
		if uses {
			anew = session.meet(c, ends) || anew
		}
	}
	return anew
}

// meet notes which process the session has to do with.
func (s *session) meet(c *child, endOnCrash bool) (anew bool) {
	handshake := mcp.Fingerprint(c.initializeResult(s.version))
	s.mu.Lock()
	before, told := s.generation, s.handshake
	same := before == c.generation
	changed := told != handshake && told != provisional
	recalled := s.recalled
	s.recalled = false
	if told != "" && !changed {
		s.generation, s.handshake = c.generation, handshake
	}
	s.mu.Unlock()
	switch {
	case told == "":
		return false // its handshake is under way
	case changed:
		s.end(errServerChanged)
	case before == 0: // it was initialized while there was no process
		s.note(record{Generation: c.generation, Handshake: handshake})
	case !same && endOnCrash:
		s.end(errServerCrashed)
	case !same:
		s.note(record{Generation: c.generation})
		return true
	case recalled:
		s.missed(c)
	}
	return false
}

// missed tells the client what it may have missed while there was no gateway.
func (s *session) missed(c *child) {
	s.mu.Lock()
	uris := make([]string, 0, len(s.subs))
	for uri := range s.subs {
		uris = append(uris, uri)
	}
	s.mu.Unlock()
	for _, what := range listKinds() {
		if c.declares(what, "listChanged") {
			s.tellOf("notifications/"+what+"/list_changed", nil)
		}
	}
	for _, uri := range uris {
		s.tellOf("notifications/resources/updated", fmt.Appendf(nil, `{"uri":%s}`, jsonrpc.StringID(uri)))
	}
}

// listKinds are the lists that a server may say it has changed.
func listKinds() []string { return []string{"tools", "prompts", "resources"} }

func (s *session) tellOf(method string, params []byte) {
	if line, err := jsonrpc.NewNotification(method, params); err == nil {
		s.tell(line)
	}
}

// shook notes by whom the session was initialized.
func (s *session) shook(f answerer) {
	handshake := mcp.Fingerprint(f.initializeResult(s.version))
	s.mu.Lock()
	s.handshake = handshake
	if f.provisional {
		s.handshake = provisional
	}
	if f.child != nil {
		s.generation = f.child.generation
	}
	s.mu.Unlock()
	if s.srv.joint != nil {
		return
	}
	// There may be another process already, which the session has not met.
	if now := s.srv.childOf(s.who); now != nil && now != f.child {
		s.srv.mu.Lock()
		ends := s.srv.settings.EndOnCrash
		s.srv.mu.Unlock()
		s.meet(now, ends)
	}
}

// process names the process that the session has to do with, if its end is the
// session's; else it returns "".
func (s *session) process() string {
	s.srv.mu.Lock()
	ends, instance := s.srv.settings.EndOnCrash, s.srv.instance(s.srv.slotFor(s.who))
	s.srv.mu.Unlock()
	if !ends {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%s %d", instance, s.generation)
}

// bereave ends the sessions that use a process which has ended.
func (s *server) bereave(c *child) {
	for _, session := range s.everySession() {
		session.mu.Lock()
		its := session.generation == c.generation
		session.mu.Unlock()
		s.mu.Lock()
		its = its && s.instance(s.slotFor(session.who)) == c.instance
		s.mu.Unlock()
		if its {
			session.end(errServerCrashed)
		}
	}
}

// outlives says whether the session goes on with the next gateway, since this one
// ends.
func (s *session) outlives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept && errors.Is(s.why, errClosed)
}
