package gateway

import (
	"bytes"
	"context"
	"fmt"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/merge"
)

// serve answers a request of a client of the joint.
func (j *joint) serve(ctx context.Context, x exchange) []byte {
	line, err := j.answer(ctx, x)
	if err != nil {
		return j.shell.refusal(x, err)
	}
	return line
}

func (j *joint) answer(ctx context.Context, x exchange) ([]byte, error) {
	if err := j.refresh(); err != nil {
		return nil, err
	}
	var err error
	if x.reach, err = j.g.reachOf(x.by.Caller, j.profile); err != nil {
		return nil, err
	}
	if kind, ok := merge.KindOf(x.m.Method); ok {
		if x.reach.Search && kind.Member == "tools" {
			return j.offer(x)
		}
		return j.merged(ctx, x, kind)
	}
	switch x.m.Method {
	case "tools/call":
		if x.reach.Search {
			if line, err, ok := j.searching(ctx, x); ok {
				return line, err
			}
		}
		return j.byName(ctx, x, "tools/list")
	case "prompts/get":
		return j.byName(ctx, x, "prompts/list")
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return j.byURI(ctx, x, "uri")
	case "completion/complete":
		switch stringOf(jsonrpc.Get(x.m.Params, "ref", "type")) {
		case "ref/prompt":
			return j.byName(ctx, x, "prompts/list", "ref")
		case "ref/resource":
			return j.byURI(ctx, x, "ref", "uri")
		}
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "params.ref is of no type that is known"}
	case "logging/setLevel":
		return j.setLevel(ctx, x)
	case "tasks/list":
		return j.tasks(ctx, x)
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		return j.byTask(ctx, x)
	}
	// What nobody here knows belongs to some extension: whose, only one server's
	// address says.
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found: " + x.m.Method +
		"; at the address of many servers only what names its server can be asked"}
}

// byName serves a request that names a tool or a prompt, in params or a member of
// them.
func (j *joint) byName(ctx context.Context, x exchange, list string, path ...string) ([]byte, error) {
	kind, _ := merge.KindOf(list)
	path = append(path, "name")
	public, ok := jsonrpc.Text(jsonrpc.Get(x.m.Params, path...))
	if !ok {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the request has no name"}
	}
	m, name, err := j.owner(ctx, x, kind, public)
	if err != nil {
		return nil, err
	}
	if x.m.Method == "tools/call" {
		if ok, why := m.srv.mayCall(ctx, x.by, append(m.srv.ownRules(), x.reach.Rules...), name); !ok {
			return nil, m.srv.deny(ctx, x, name, why)
		}
	}
	params, err := jsonrpc.Set(x.m.Params, jsonrpc.StringID(name), path...)
	if err != nil {
		return nil, err
	}
	return j.at(ctx, x, m, params)
}

// byURI serves a request that names a resource.
func (j *joint) byURI(ctx context.Context, x exchange, path ...string) ([]byte, error) {
	public, ok := jsonrpc.Text(jsonrpc.Get(x.m.Params, path...))
	if !ok {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the request has no uri"}
	}
	m, uri, err := j.holder(ctx, x, public)
	if err != nil {
		code := int64(jsonrpc.CodeInvalidParams)
		if x.m.Method == "resources/read" && !x.by.modern {
			code = codeNotFound
		}
		return nil, &jsonrpc.Error{Code: code, Message: err.Error(), Data: fmt.Appendf(nil, `{"uri":%s}`, jsonrpc.StringID(public))}
	}
	params := x.m.Params
	if uri != public {
		if params, err = jsonrpc.Set(params, jsonrpc.StringID(uri), path...); err != nil {
			return nil, err
		}
	}
	return j.at(ctx, x, m, params)
}

// codeNotFound is "Resource not found" of the revisions before 2026-07-28.
const codeNotFound = -32002

// at has a member answer a request with these params, as the client's own server
// would.
func (j *joint) at(ctx context.Context, x exchange, m *member, params []byte) ([]byte, error) {
	line, err := x.m.Rewrite(jsonrpc.Rewrite{Params: params})
	if err != nil {
		return nil, err
	}
	asked, err := jsonrpc.Parse(line)
	if err != nil {
		return nil, err
	}
	out := &memberOut{outlet: x.out, joint: j, member: m}
	if x.by.modern {
		return j.translated(m, x.m, m.srv.modernRequest(ctx, x.by.Caller, asked, out)), nil
	}
	part, err := j.part(ctx, x.by.session, m)
	if err != nil {
		return nil, err
	}
	defer part.use()()
	answer := part.serve(ctx, asked, out)
	if answer == nil {
		return nil, nil // it was cancelled
	}
	return j.translated(m, x.m, answer), nil
}

// memberOut passes on to a client what a member says to it before its answer.
type memberOut struct {
	outlet
	joint  *joint
	member *member
}

func (o *memberOut) put(line []byte) {
	if line = o.joint.heard(o.member, line); line != nil {
		o.outlet.put(line)
	}
}

// heard is what a member says to a client of the joint, as the client is to hear it;
// nil if it is not to.
func (j *joint) heard(m *member, line []byte) []byte {
	said, err := jsonrpc.Parse(line)
	if err != nil {
		return line
	}
	switch {
	case said.Kind == jsonrpc.Request && said.Method == "elicitation/create":
		if out, err := said.Rewrite(jsonrpc.Rewrite{Params: merge.NameAsker(said.Params, m.Name)}); err == nil {
			return out
		}
	case said.Kind == jsonrpc.Notification && said.Method == "notifications/resources/updated":
		uri := stringOf(jsonrpc.Get(said.Params, "uri"))
		if public := j.publish(m, uri); public != uri {
			params, err := jsonrpc.Set(said.Params, jsonrpc.StringID(public), "uri")
			if err == nil {
				line, err = said.Rewrite(jsonrpc.Rewrite{Params: params})
			}
			if err != nil {
				return nil // cannot happen: it was there
			}
		}
	case said.Kind == jsonrpc.Notification && bytes.HasSuffix([]byte(said.Method), []byte("/list_changed")):
		return nil // the joint says so itself
	}
	return line
}

// translated is a member's answer as a client of the joint is to get it.
func (j *joint) translated(m *member, asked jsonrpc.Message, line []byte) []byte {
	if !bytes.Contains(line, []byte("uri")) && !bytes.Contains(line, []byte("input_required")) {
		return line
	}
	answer, err := jsonrpc.Parse(line)
	if err != nil || answer.Kind != jsonrpc.Response {
		return line
	}
	result := answer.Result
	switch asked.Method {
	case "tools/call", "prompts/get", "resources/read", "tasks/result", "tasks/get":
		result = merge.ResultURIs(result, func(uri string) string { return j.publish(m, uri) })
	default:
		return line
	}
	if bridge.ResultType(result) == "input_required" {
		result = merge.NameAskers(result, m.Name)
	}
	changed := changedOnly(answer.Result, result)
	if changed == nil {
		return line
	}
	out, err := answer.Rewrite(jsonrpc.Rewrite{ID: asked.ID, Result: changed})
	if err != nil {
		return line // cannot happen
	}
	return out
}

// publish returns what clients know a URI of a member's by.
func (j *joint) publish(m *member, uri string) string {
	return j.publishOf(m, merge.Kind{Member: "resources"}, uri)
}

// publishOf is publish for what is in a list of that kind.
func (j *joint) publishOf(m *member, kind merge.Kind, uri string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.owners(kind).Publish(m.Name, uri)
}

// owners are those of a kind of list. The caller holds the mutex.
func (j *joint) owners(kind merge.Kind) *merge.Owners {
	if kind.Member == "resourceTemplates" {
		return &j.templates
	}
	return &j.uris
}

// holder returns the member that has a resource, and what it calls it.
func (j *joint) holder(ctx context.Context, x exchange, public string) (*member, string, error) {
	for again := false; ; again = true {
		if m, uri, ok := j.resolve(x, public); ok {
			return m, uri, nil
		}
		if again {
			return nil, "", noSuch("resource", public)
		}
		// Who asks may know of it from before this gateway, or from elsewhere.
		for _, kind := range merge.Kinds() {
			if kind.Key == "name" {
				continue
			}
			members := j.within(x)
			j.claim(members, j.lists(ctx, x, kind, members), kind)
		}
	}
}

// resolve is holder by what is known already: a resource that was listed or seen, or
// one of a template.
func (j *joint) resolve(x exchange, public string) (*member, string, bool) {
	j.mu.Lock()
	server, uri, ok := j.uris.Resolve(public)
	if !ok {
		server, uri, ok = j.templates.Resolve(public) // the template itself, in completions
	}
	j.mu.Unlock()
	if ok {
		if m := j.named(server); m != nil && x.reach.Rules.HasServer(m.Name) {
			return m, uri, true
		}
	}
	kind, _ := merge.KindOf("resources/templates/list")
	for _, m := range j.within(x) {
		m.mu.Lock()
		l := m.lists[listKeyOf(x, kind.Method)]
		m.mu.Unlock()
		if l == nil {
			l = j.shelf(x, kind, m)
		}
		if l == nil {
			continue
		}
		for _, text := range l.keys {
			if t, err := merge.ParseTemplate(text); err == nil && t.Matches(public) {
				return m, public, true
			}
		}
	}
	return nil, "", false
}

// recordClash writes down that two servers have the same resource.
func (j *joint) recordClash(c clash) {
	detail := fmt.Sprintf("%.1000q is also %s's: clients of both know it as %.1000q", c.uri, c.first, merge.Alias(c.second, c.uri))
	j.g.log.Info("a resource has another URI", "server", c.second, "clash", detail)
	if err := j.g.journal.Append(berth.Record{Server: c.second, Action: berth.ActionResourceRenamed, Detail: detail}); err != nil {
		j.g.log.Warn("record a clash of resources", "error", err)
	}
}

// byTask serves what is asked of a task of some member.
func (j *joint) byTask(ctx context.Context, x exchange) ([]byte, error) {
	id := jsonrpc.Get(x.m.Params, "taskId")
	for _, m := range j.within(x) {
		by := x.by
		if part := m.partOf(x.by.session); part != nil {
			by = part.who
		}
		if m.srv.owns(by, id) {
			return j.at(ctx, x, m, x.m.Params)
		}
	}
	return nil, noTask(x)
}

// tasks is what the client made of tasks at all members.
func (j *joint) tasks(ctx context.Context, x exchange) ([]byte, error) {
	result := []byte(`{"tasks":[`)
	params := jsonrpc.Delete(x.m.Params, "cursor")
	for _, m := range j.within(x) {
		part := m.partOf(x.by.session)
		if part == nil {
			continue // it has made none there
		}
		own := x
		own.by = part.who
		page, err := j.inquire(ctx, own, m, "tasks/list", params)
		if err != nil {
			continue // it has no tasks
		}
		for task := range jsonrpc.Elements(jsonrpc.Get(page, "tasks")) {
			if result[len(result)-1] != '[' {
				result = append(result, ',')
			}
			result = append(result, task...)
		}
	}
	return jsonrpc.NewResult(x.m.ID, append(result, "]}"...))
}

// setLevel asks all members that a client has to do with for its log level; those
// that it will, when it does.
func (j *joint) setLevel(ctx context.Context, x exchange) ([]byte, error) {
	level := stringOf(jsonrpc.Get(x.m.Params, "level"))
	if _, known := bridge.Severity(level); !known {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no such log level"}
	}
	session := x.by.session
	session.mu.Lock()
	session.level = level
	session.mu.Unlock()
	session.note(record{Level: level})
	for _, m := range j.all() {
		if part := m.partOf(session); part != nil {
			_, _ = part.setLevel(ctx, x.m) // a server that logs nothing refuses
		}
	}
	return jsonrpc.NewResult(x.m.ID, []byte("{}"))
}
