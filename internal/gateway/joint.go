package gateway

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth/internal/merge"
)

// Member is a server among those that clients have at one address.
type Member struct {
	Name string
	// Prefix begins the names of its tools and prompts; it is unique.
	Prefix string
}

// Members says which servers clients have at one address, in their order: that of
// all, or that of a profile.
type Members struct {
	Members []Member
	// NameMost bounds the names of tools and prompts; 0 is merge.NameMost.
	NameMost int
}

// joint is many servers as one, for the clients of one address.
//
// The clients are those of its shell, which is a server without a process: it has
// their sessions and streams, as any server has. What they ask goes to the servers
// that it is for, as a request of a client of the same era and revision, which they
// serve as they serve any: so a joint bridges nothing, and only has to know whose
// everything is.
type joint struct {
	g       *Gateway
	profile string // "" is all servers
	shell   *server

	mu        sync.Mutex // guards the fields below
	members   []*member  // in their order
	nameMost  int
	known     bool // members are what they should be
	version   uint64
	uris      merge.Owners   // of resources
	templates merge.Owners   // of templates of their URIs
	found     indexed        // of the tools of all
	clashes   map[clash]bool // that were recorded
	listens   map[*jointListen]struct{}
	pending   map[string]bool // notifications that are about to be sent
}

// member is a server that a joint is for.
type member struct {
	Member
	srv *server
	// late counts what it was asked for a client that did not wait for its answer any
	// more. While there is some, nobody waits: it is hung, or starts slowly.
	late atomic.Int64

	mu      sync.Mutex // guards the fields below
	lists   map[listKey]*list
	failure failure
}

// jointMark begins the names of shells. It begins no server's name.
const jointMark = "*"

func newJoint(g *Gateway, shell *server, profile string) *joint {
	return &joint{
		g: g, profile: profile, shell: shell,
		clashes: map[clash]bool{}, listens: map[*jointListen]struct{}{}, pending: map[string]bool{},
	}
}

// refresh has the members be those that there are now, if that may have changed.
func (j *joint) refresh() error {
	j.mu.Lock()
	known, version := j.known, j.version
	j.mu.Unlock()
	if known {
		return nil
	}
	want, err := j.g.o.Members(j.profile)
	if err != nil {
		return err
	}
	j.mu.Lock()
	before := map[string]*member{}
	for _, m := range j.members {
		before[m.Name] = m
	}
	j.mu.Unlock()
	var members []*member
	for _, w := range want.Members {
		m := before[w.Name]
		if m == nil || m.Member != w || m.srv.hasLeft() {
			s, err := j.g.server(w.Name)
			if err != nil {
				j.g.log.Warn("a server is left out", "server", w.Name, "error", err)
				continue
			}
			m = &member{Member: w, srv: s, lists: map[listKey]*list{}}
		}
		members = append(members, m)
	}
	j.mu.Lock()
	gone := before
	changed := len(members) != len(j.members)
	for i, m := range members {
		if gone[m.Name] == m {
			delete(gone, m.Name)
		}
		changed = changed || i < len(j.members) && j.members[i] != m
	}
	first := j.members == nil
	most := cmp.Or(want.NameMost, merge.NameMost)
	changed = changed || most != j.nameMost
	j.members, j.nameMost = members, most
	j.known = j.version == version
	j.mu.Unlock()
	for _, m := range members {
		m.srv.addHearer(j)
	}
	for _, m := range gone {
		if !slices.ContainsFunc(members, func(o *member) bool { return o.srv == m.srv }) {
			m.srv.removeHearer(j)
			j.endParts(m)
		}
	}
	if changed && !first {
		j.changed(everyList()...)
	}
	return nil
}

// MembersChanged is to be called when what Options.Members says, or a server's
// settings, may have changed: the clients that are connected are told.
func (g *Gateway) MembersChanged() {
	g.mu.Lock()
	var joints []*joint
	servers := slices.Collect(maps.Values(g.servers))
	for _, s := range g.servers {
		if s.joint != nil {
			joints = append(joints, s.joint)
		}
	}
	g.mu.Unlock()
	for _, s := range servers {
		s.rulesChanged()
	}
	for _, j := range joints {
		for _, m := range j.all() {
			m.srv.changes.Add(1)
		}
		j.mu.Lock()
		j.known = false
		j.version++
		j.mu.Unlock()
		if err := j.refresh(); err != nil {
			g.log.Warn("the servers at an address are not known", "address", cmp.Or(j.profile, "/mcp"), "error", err)
		}
	}
}

// all returns the members.
func (j *joint) all() []*member {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.members
}

// within returns the members that the caller may use.
func (j *joint) within(x exchange) []*member {
	all := j.all()
	if len(x.reach.Rules) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(m *member) bool { return !x.reach.Rules.HasServer(m.Name) })
}

// named returns the member of that name, nil if there is none.
func (j *joint) named(name string) *member {
	for _, m := range j.all() {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// longest is how long a name may be.
func (j *joint) longest() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.nameMost
}

func everyList() []string {
	var all []string
	for _, what := range listKinds() {
		all = append(all, "notifications/"+what+"/list_changed")
	}
	return all
}

// changedAfter is how long a change is kept back: more may follow.
const changedAfter = 50 * time.Millisecond

// changed tells all clients that lists have changed, by these notifications. It
// never waits.
func (j *joint) changed(methods ...string) {
	j.mu.Lock()
	first := len(j.pending) == 0
	for _, method := range methods {
		j.pending[method] = true
	}
	j.mu.Unlock()
	if !first {
		return
	}
	j.g.running.Go(func() {
		if pause(j.shell.ctx, changedAfter) != nil {
			return
		}
		j.mu.Lock()
		methods := slices.Sorted(maps.Keys(j.pending))
		clear(j.pending)
		listens := slices.Collect(maps.Keys(j.listens))
		j.mu.Unlock()
		for _, method := range methods {
			for _, session := range j.shell.everySession() {
				session.tellOf(method, nil)
			}
			for _, l := range listens {
				l.tell(method, nil)
			}
		}
	})
}

// addHearer and removeHearer keep the list of the joints that are told when a list
// of the server's may have changed.
func (s *server) addHearer(j *joint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hearers == nil {
		s.hearers = map[*joint]bool{}
	}
	s.hearers[j] = true
}

func (s *server) removeHearer(j *joint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hearers, j)
}

// outdated notes that what the server lists may not be so any more, by the
// notifications that say it, and tells the joints that it is in.
func (s *server) outdated(methods ...string) {
	s.edition.Add(1)
	s.mu.Lock()
	joints := slices.Collect(maps.Keys(s.hearers))
	s.mu.Unlock()
	for _, j := range joints {
		j.changed(methods...)
	}
}

// everywhere asks members at once, and returns when all have answered or the time is
// over: who has not is late, and its answer, once it comes, is for the function of
// that name.
func everywhere[T any](ctx context.Context, g *Gateway, members []*member, within time.Duration, f func(context.Context, *member) T, late func(*member, T)) (answers []T, answered []bool) {
	answers, answered = make([]T, len(members)), make([]bool, len(members))
	var mu sync.Mutex
	over := false
	done := make(chan struct{}, len(members))
	// Who is late goes on: its answer is of use to the next who asks.
	ctx = context.WithoutCancel(ctx)
	for i, m := range members {
		g.running.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, surveyTimeout, errTimeout)
			defer cancel()
			stop := context.AfterFunc(g.ctx, cancel)
			defer stop()
			answer := f(ctx, m)
			mu.Lock()
			isLate := over
			if !isLate {
				answers[i], answered[i] = answer, true
			}
			mu.Unlock()
			if isLate {
				m.late.Add(-1)
			}
			if isLate && late != nil {
				late(m, answer)
			}
			done <- struct{}{}
		})
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	for range members {
		select {
		case <-done:
			continue
		case <-timer.C:
		}
		break
	}
	mu.Lock()
	defer mu.Unlock()
	over = true
	for i, m := range members {
		if !answered[i] {
			m.late.Add(1)
		}
	}
	return answers, answered
}

// profileOf is the profile of a shell's name; ok is false if it is a server's.
func profileOf(name string) (profile string, ok bool) { return strings.CutPrefix(name, jointMark) }

// noSuch is that nobody here has what a client asks for.
func noSuch(what, name string) error { return &noSuchError{what, name} }

type noSuchError struct{ what, name string }

func (e *noSuchError) Error() string {
	return fmt.Sprintf("no server here has the %s %.100q", e.what, e.name)
}

// path is where the server, or the joint, is served.
func (s *server) path() string {
	switch {
	case s.joint == nil:
		return "/servers/" + s.name
	case s.joint.profile != "":
		return "/profiles/" + s.joint.profile
	}
	return ""
}
