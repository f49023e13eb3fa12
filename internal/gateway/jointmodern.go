package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/merge"
)

// together is what the members say of themselves as one.
type together struct {
	capabilities []byte
	instructions string
}

// said asks all members what they are. One of which nothing is known yet is asked
// within the time that a greeting has.
func (j *joint) said(ctx context.Context, by *caller) (together, error) {
	reach, err := j.g.reachOf(by.Caller, j.profile)
	if err != nil {
		return together{}, err
	}
	members := slices.DeleteFunc(slices.Clone(j.within(exchange{reach: reach})), func(m *member) bool { return m.late.Load() > 0 })
	answers, answered := everywhere(ctx, j.g, members, mergeWait, func(ctx context.Context, m *member) *merge.Said {
		// None of them has this session: it is not to get a process for it.
		f, err := m.srv.greet(ctx, &caller{Caller: by.Caller, modern: by.modern, client: by.client})
		if err != nil {
			j.g.log.Info("a server does not say what it is", "server", m.Name, "error", err)
			return nil
		}
		says := f.saysTo(by)
		return &merge.Said{Server: m.Name, Capabilities: jsonrpc.Get(says, "capabilities"), Instructions: stringOf(jsonrpc.Get(says, "instructions"))}
	}, nil)
	var said []merge.Said
	for i, a := range answers {
		if answered[i] && a != nil {
			said = append(said, *a)
		}
	}
	return together{merge.Capabilities(said), merge.Instructions(said)}, nil
}

// saysTo is what a server says of itself to a client, in the words of its era.
func (f *face) saysTo(by *caller) []byte {
	switch {
	case !by.modern:
		return f.initializeResult(by.session.version)
	case f.era == mcp.Legacy:
		return bridge.DiscoverResult(f.info.Synopsis())
	}
	return f.info.Synopsis()
}

// discover answers server/discover.
func (j *joint) discover(ctx context.Context, x exchange) ([]byte, error) {
	if err := j.refresh(); err != nil {
		return nil, err
	}
	versions, err := json.Marshal(bridge.AllVersions())
	if err != nil {
		return nil, err
	}
	said, err := j.said(ctx, x.by)
	if err != nil {
		return nil, err
	}
	result := fmt.Appendf(nil, `{"resultType":"complete","supportedVersions":%s,"capabilities":%s,"ttlMs":0,"cacheScope":"private"`, versions, said.capabilities)
	if said.instructions != "" {
		result = append(append(result, `,"instructions":`...), jsonrpc.StringID(said.instructions)...)
	}
	result = append(append(append(result, `,"_meta":`...), identity()...), '}')
	return jsonrpc.NewResult(x.m.ID, result)
}

// jointListen is a modern client's subscriptions/listen on a joint.
type jointListen struct {
	id     []byte
	filter bridge.Filter // of the joint's own news
	events *inbox
}

// tell passes on what the joint says.
func (l *jointListen) tell(method string, params []byte) {
	if !l.filter.Passes(method, params) {
		return
	}
	if line, err := jsonrpc.NewNotification(method, bridge.Tag(params, l.id)); err == nil {
		l.events.put(event{line: line})
	}
}

// listenFor serves a modern client's subscriptions/listen until ctx ends. That lists
// change, the joint says; of resources, the members that have them.
func (j *joint) listenFor(ctx context.Context, x exchange) ([]byte, error) {
	err := j.refresh()
	if err == nil {
		x.reach, err = j.g.reachOf(x.by.Caller, j.profile)
	}
	if err != nil {
		return nil, err
	}
	filter, err := bridge.ParseListen(x.m.Params)
	if err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: err.Error()}
	}
	if j.g.listens.Add(1) > listensMost {
		j.g.listens.Add(-1)
		return nil, busy("%d clients listen", listensMost)
	}
	defer j.g.listens.Add(-1)
	l := &jointListen{id: x.m.ID, filter: filter, events: newInbox(j.g.spool)}
	l.filter.URIs = nil
	j.mu.Lock()
	j.listens[l] = struct{}{}
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		delete(j.listens, l)
		j.mu.Unlock()
		l.events.close()
	}()
	var wanted []wish
	filter.URIs = slices.DeleteFunc(filter.URIs, func(public string) bool {
		m, uri, err := j.holder(ctx, x, public)
		if err == nil {
			wanted = wishFor(wanted, m, uri)
		}
		return err != nil
	})
	wanted = j.wishForTasks(wanted, x)
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	heard := make(chan struct{}, len(wanted))
	for _, w := range wanted {
		following.Go(func() { j.follow(ctx, x, w, l, func() { heard <- struct{}{} }) })
	}
	// What happens from then on is told: each of them listens, or is late.
	late := time.NewTimer(mergeWait)
	defer late.Stop()
	for waiting := len(wanted); waiting > 0; waiting-- {
		select {
		case <-heard:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		break
	}
	x.out.put(bridge.Acknowledged(x.m.ID, filter))
	for {
		e, err := l.events.take(ctx)
		if err == nil {
			err = e.err
		}
		if err != nil {
			return nil, err
		}
		x.out.put(e.line)
	}
}

// wish is what a client wants to hear of one member.
type wish struct {
	m     *member
	uris  []string
	tasks [][]byte
}

func wishFor(all []wish, m *member, uri string) []wish {
	for i := range all {
		if all[i].m == m {
			all[i].uris = append(all[i].uris, uri)
			return all
		}
	}
	return append(all, wish{m: m, uris: []string{uri}})
}

// wishForTasks adds the tasks that a client wants to hear of.
func (j *joint) wishForTasks(all []wish, x exchange) []wish {
	for id := range jsonrpc.Elements(jsonrpc.Get(x.m.Params, "notifications", "taskIds")) {
		for _, m := range j.within(x) {
			if !m.srv.owns(x.by, id) {
				continue
			}
			i := slices.IndexFunc(all, func(w wish) bool { return w.m == m })
			if i < 0 {
				all = append(all, wish{m: m})
				i = len(all) - 1
			}
			all[i].tasks = append(all[i].tasks, id)
		}
	}
	return all
}

// params are those of the subscriptions/listen that a member gets.
func (w wish) params(x exchange) ([]byte, error) {
	filter := []byte("{}")
	var err error
	if len(w.uris) > 0 {
		var uris []byte
		if uris, err = json.Marshal(w.uris); err == nil {
			filter, err = jsonrpc.Set(filter, uris, "resourceSubscriptions")
		}
	}
	if err == nil && len(w.tasks) > 0 {
		var ids []byte
		if ids, err = json.Marshal(rawAll(w.tasks)); err == nil {
			filter, err = jsonrpc.Set(filter, ids, "taskIds")
		}
	}
	if err != nil {
		return nil, err
	}
	return jsonrpc.Set(x.m.Params, filter, "notifications")
}

func rawAll(all [][]byte) (raw []json.RawMessage) {
	for _, b := range all {
		raw = append(raw, b)
	}
	return raw
}

// follow has a member tell a client of what it wished for, as long as it listens.
// Where the member moves or its process goes, it is asked again. Heard is called once
// the member has acknowledged it, or refused.
func (j *joint) follow(ctx context.Context, x exchange, w wish, l *jointListen, heard func()) {
	heard = sync.OnceFunc(heard)
	defer heard()
	params, err := w.params(x)
	if err != nil {
		return // cannot happen: it is an object
	}
	line, err := x.m.Rewrite(jsonrpc.Rewrite{Params: params})
	if err != nil {
		return
	}
	asked, err := jsonrpc.Parse(line)
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		came := w.m.srv.coming()
		out := outletFunc(func(line []byte) {
			if said, err := jsonrpc.Parse(line); err == nil && said.Method == "notifications/subscriptions/acknowledged" {
				heard()
				return
			}
			if line = j.heard(w.m, line); line != nil {
				l.events.put(event{line: line})
			}
		})
		_ = w.m.srv.modernRequest(ctx, x.by.Caller, asked, out)
		heard()
		select {
		case <-came:
		case <-ctx.Done():
		}
	}
}

// schema returns the input schema of a tool that clients know by a name.
func (j *joint) schema(ctx context.Context, public string) []byte {
	if j.refresh() != nil {
		return nil
	}
	x := exchange{by: &caller{modern: true}}
	kind, _ := merge.KindOf("tools/list")
	m, tool, err := j.owner(ctx, x, kind, public)
	if err != nil || errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return m.srv.schema(ctx, tool)
}
