package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// A legacy client of a joint has a session with it, and, with each member that it
// has to do with, a part of that: a session like any other at that server, but for
// its client, which is the joint's session.

// partMark is between the key of a session and the name of the server in the key of
// a part of it. It is in neither.
const partMark = "/"

func partKey(session *session, server string) string { return session.key + partMark + server }

// ownerOf is the key of the session that a key is of a part of, "" if it is of none.
func ownerOf(key string) string {
	owner, _, ok := strings.Cut(key, partMark)
	if !ok {
		return ""
	}
	return owner
}

// partOf returns the part of a client's session at a member, nil if there is none.
func (m *member) partOf(of *session) *session {
	if of == nil {
		return nil
	}
	m.srv.mu.Lock()
	defer m.srv.mu.Unlock()
	return m.srv.sessions[partKey(of, m.Name)]
}

// part is partOf, and makes one where there is none.
func (j *joint) part(ctx context.Context, of *session, m *member) (*session, error) {
	if p := m.partOf(of); p != nil {
		return p, nil
	}
	of.parting.Lock()
	defer of.parting.Unlock()
	if p := m.partOf(of); p != nil {
		return p, nil // another request was faster
	}
	if why := of.over(); why != nil {
		return nil, why
	}
	of.mu.Lock()
	why := of.bereaved[m.Name]
	delete(of.bereaved, m.Name)
	of.mu.Unlock()
	if why != nil {
		return nil, fmt.Errorf("server %q: its process has ended, and the state of this session there with it; what is asked from now on begins anew", m.Name)
	}
	p := bareSession(m.srv, of.who.Caller, of.version, of.client)
	p.key, p.of = partKey(of, m.Name), of
	p.level = of.askedLevel()
	if err := m.srv.admit(p); err != nil {
		return nil, err
	}
	f, err := m.srv.known(ctx, p.who)
	if err != nil {
		p.end(errSessionEnded)
		return nil, err
	}
	p.shook(f)
	p.keep()
	j.adopt(p, m)
	m.srv.syncWatch(f.child)
	if f.child != nil && p.level != "" {
		m.srv.syncLevel(ctx, f.child)
	}
	return p, nil
}

// adopt has a part's client hear what it says.
func (j *joint) adopt(p *session, m *member) {
	of := p.of
	p.listen(outletFunc(func(line []byte) {
		if line = j.heard(m, line); line != nil {
			of.tell(line)
		}
	}))
	p.onEnd(func(why error) {
		if errors.Is(why, errServerChanged) || errors.Is(why, errServerCrashed) {
			j.bereft(of, m, why)
		}
	})
}

// bereft: a server is not what a client's part knew. The client goes on with all the
// others, and with that one anew.
func (j *joint) bereft(of *session, m *member, why error) {
	j.g.log.Info("the part of a session has ended", "server", m.Name, "why", why)
	if errors.Is(why, errServerCrashed) {
		// Who relied on it is to hear of it, once.
		of.mu.Lock()
		if of.bereaved == nil {
			of.bereaved = map[string]error{}
		}
		of.bereaved[m.Name] = why
		of.mu.Unlock()
	}
}

// parts returns the parts of a session.
func (j *joint) parts(of *session) (all []*session) {
	for _, m := range j.all() {
		if p := m.partOf(of); p != nil {
			all = append(all, p)
		}
	}
	return all
}

// endParts ends all parts at a member that is none any more.
func (j *joint) endParts(m *member) {
	for _, p := range m.srv.everySession() {
		if p.of != nil && p.of.srv == j.shell {
			p.end(errSessionEnded)
		}
	}
}

// reunite has the sessions that a gateway before this one left find their parts.
func (j *joint) reunite() {
	if err := j.refresh(); err != nil {
		j.g.log.Warn("sessions are not what they were", "error", err)
		return
	}
	for _, of := range j.shell.everySession() {
		for _, m := range j.all() {
			p := m.partOf(of)
			if p == nil {
				continue
			}
			p.mu.Lock()
			had := p.of
			p.of = of
			p.mu.Unlock()
			if had == nil {
				j.adopt(p, m)
			}
		}
	}
	j.changed(everyList()...) // nobody knows what they have missed
}

// initialize answers a client's initialize: what all members say of themselves.
func (j *joint) initialize(ctx context.Context, session *session, m jsonrpc.Message) ([]byte, error) {
	if err := j.refresh(); err != nil {
		return nil, err
	}
	said, err := j.said(ctx, &caller{Caller: session.who.Caller, session: session})
	if err != nil {
		return nil, err
	}
	result := fmt.Appendf(nil, `{"protocolVersion":%s,"capabilities":%s,"serverInfo":%s`, jsonrpc.StringID(session.version), said.capabilities, jointInfo())
	if said.instructions != "" {
		result = append(append(result, `,"instructions":`...), jsonrpc.StringID(said.instructions)...)
	}
	return jsonrpc.NewResult(m.ID, append(result, '}'))
}

// replied gives a client's answer to the part whose server asked.
func (j *joint) replied(of *session, m jsonrpc.Message) {
	id, _ := m.StringID()
	for _, p := range j.parts(of) {
		p.mu.Lock()
		_, waits := p.waits[id]
		p.mu.Unlock()
		if waits {
			p.replied(m)
			return
		}
	}
}

// notified passes a client's notification on to the parts whose servers wait for
// something of the client's: only they can be meant.
func (j *joint) notified(ctx context.Context, of *session, m jsonrpc.Message) {
	for _, p := range j.parts(of) {
		p.mu.Lock()
		waits := len(p.waits) > 0
		p.mu.Unlock()
		if waits {
			p.notified(ctx, m)
		}
	}
}
