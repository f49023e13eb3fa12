package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/merge"
	"github.com/berth-run/berth/internal/policy"
)

// mergeWait is how long a list of many servers waits for one of them.
const mergeWait = 2 * time.Second

const (
	// pageItems and pageBytes bound a page of a merged list: few clients ask for a
	// second one, so that the first is long.
	pageItems = 1000
	pageBytes = 4 << 20
	// pagesMost bounds the pages of one server's list.
	pagesMost = 1000
)

// listKey is what a list depends on besides its server: what it is of, and in whose
// words it is.
type listKey struct {
	method  string
	version string // of a legacy client; "" is a modern one
}

// list is all that one server lists, as clients of the joint know it.
type list struct {
	edition uint64   // of the server, when it was asked
	keys    []string // by which the server knows the elements
	items   [][]byte // as the server wrote them
	// Of tools and prompts, as clients are to know them, and the server's names by
	// those that clients know; nil until somebody asks. Guarded by member.mu.
	public []offered
	names  map[string]string
	cache  merge.Cache
	err    error
}

// offered is an element of a list as clients know it.
type offered struct {
	key         string // by which the server knows it
	public      string // by which clients do
	raw         []byte
	annotations policy.Annotations // of a tool
}

// listKeyOf is what a list for a client depends on.
func listKeyOf(x exchange, method string) listKey {
	if x.by.modern {
		return listKey{method: method}
	}
	return listKey{method, x.by.session.version}
}

// merged answers a list of all members.
func (j *joint) merged(ctx context.Context, x exchange, kind merge.Kind) ([]byte, error) {
	skip, err := j.cursor(x, kind)
	if err != nil {
		return nil, err
	}
	members := j.within(x)
	lists := j.lists(ctx, x, kind, members)
	if kind.Key != "name" {
		j.claim(members, lists, kind)
	}
	var cache merge.Cache
	var b bytes.Buffer
	b.WriteString(`{"` + kind.Member + `":[`)
	n, more := 0, false
	for i, l := range lists {
		if l == nil || l.err != nil {
			cache.Add(nil) // what is missing comes soon
			continue
		}
		cache.TTL, cache.Private = least(cache, l.cache), cache.Private || l.cache.Private
		cache.Any = cache.Any || l.cache.Any
		rules := x.reach.Rules
		if kind.Member == "tools" {
			rules = append(members[i].srv.ownRules(), rules...)
		}
		for _, o := range j.public(members[i], kind, l) {
			if kind.Member == "tools" && len(rules) > 0 {
				if ok, _ := rules.Allows(members[i].Name, o.key, o.annotations); !ok {
					continue
				}
			}
			item := o.raw
			if n++; n <= skip || more {
				continue
			}
			if n > skip+1 && (n-skip > pageItems || b.Len()+len(item) > pageBytes) {
				more = true
				n--
				break
			}
			if n > skip+1 {
				b.WriteByte(',')
			}
			b.Write(item)
		}
		if more {
			break
		}
	}
	b.WriteByte(']')
	if more {
		b.WriteString(`,"nextCursor":` + string(jsonrpc.StringID(j.g.lot.sealCursor(j.cursorBound(x, kind), n))))
	}
	b.WriteByte('}')
	return j.ownResult(x, b.Bytes(), cache.Members()...)
}

func least(a, b merge.Cache) int64 {
	if !a.Any || b.Any && b.TTL < a.TTL {
		return b.TTL
	}
	return a.TTL
}

// cursorBound is what a cursor is good for: who got it, and for which list.
func (j *joint) cursorBound(x exchange, kind merge.Kind) []byte {
	return fmt.Appendf(nil, "%q %q %q", j.shell.name, x.by.Principal, kind.Method)
}

// cursor is how many elements a client has seen.
func (j *joint) cursor(x exchange, kind merge.Kind) (int, error) {
	raw := jsonrpc.Get(x.m.Params, "cursor")
	if raw == nil {
		return 0, nil
	}
	text, ok := jsonrpc.Text(raw)
	if n, err := j.g.lot.openCursor(j.cursorBound(x, kind), text); ok && err == nil {
		return n, nil
	}
	return 0, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "this is no cursor of this list; begin again without one"}
}

// lists returns what each member lists, nil where it has not answered in time.
func (j *joint) lists(ctx context.Context, x exchange, kind merge.Kind, members []*member) []*list {
	lists := make([]*list, len(members))
	var asked []*member
	var at []int
	for i, m := range members {
		switch l := m.cached(listKeyOf(x, kind.Method)); {
		case l != nil:
			lists[i] = l
		case m.late.Load() > 0, m.failedLately(time.Now()):
			lists[i] = j.shelf(x, kind, m)
		default:
			asked, at = append(asked, m), append(at, i)
		}
	}
	if len(asked) == 0 {
		return lists
	}
	found, answered := everywhere(ctx, j.g, asked, mergeWait, func(ctx context.Context, m *member) *list {
		return j.fetch(ctx, x, kind, m)
	}, func(m *member, l *list) {
		if l.err == nil {
			j.changed(kind.Changed)
		}
	})
	for n, i := range at {
		if answered[n] {
			lists[i] = found[n]
		} else {
			lists[i] = j.shelf(x, kind, asked[n])
		}
		if l := lists[i]; l != nil && l.err != nil {
			j.g.log.Info("the list of a server is left out", "server", asked[n].Name, "list", kind.Member, "error", l.err)
		}
	}
	return lists
}

// cached is what the member was seen to list, nil if that may have changed.
func (m *member) cached(key listKey) *list {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.lists[key]; l != nil && l.edition == m.srv.edition.Load() {
		return l
	}
	return nil
}

// fetch asks a member for all pages of a list.
func (j *joint) fetch(ctx context.Context, x exchange, kind merge.Kind, m *member) *list {
	l := &list{edition: m.srv.edition.Load()}
	defer func() { m.noteFailure(l.err != nil, time.Now()) }()
	m.srv.watchLists(ctx)
	if f, known := m.srv.faceNow(x.by); known {
		if capability, _ := mcp.ListKind(kind.Method); !f.declares(capability) {
			return l // it has none, and need not be started to say so
		}
	}
	cursor := []byte(nil)
	for page := 0; ; page++ {
		result, err := j.page(ctx, x, kind, m, cursor)
		var refused *jsonrpc.Error
		switch {
		case errors.As(err, &refused) && refused.Code == jsonrpc.CodeMethodNotFound:
			// It has no such things.
			m.keep(listKeyOf(x, kind.Method), l)
			return l
		case err == nil && page == pagesMost:
			err = fmt.Errorf("its list has more than %d pages", pagesMost)
		}
		if err != nil {
			l.err = err
			return l
		}
		l.add(kind, result)
		next, _ := jsonrpc.Text(jsonrpc.Get(result, "nextCursor"))
		if next == "" {
			break
		}
		cursor = jsonrpc.StringID(next)
	}
	m.keep(listKeyOf(x, kind.Method), l)
	return l
}

// Bounds on how long a server is left alone whose list could not be had: every list
// of every client would start it otherwise.
const (
	failedLeast = time.Second
	failedMost  = time.Minute
)

// failure is that a member's lists cannot be had.
type failure struct {
	until time.Time
	long  time.Duration
	seen  uint64 // the server's settings, by their number
}

// failedLately says whether the member is to be left alone. A change of its settings
// is a reason to look again.
func (m *member) failedLately(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.failure.until) && m.failure.seen == m.srv.changes.Load()
}

func (m *member) noteFailure(failed bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !failed {
		m.failure = failure{}
		return
	}
	if now.Before(m.failure.until) {
		return // another client has just seen the same
	}
	long := min(max(2*m.failure.long, failedLeast), failedMost)
	m.failure = failure{now.Add(long), long, m.srv.changes.Load()}
}

func (l *list) add(kind merge.Kind, result []byte) {
	l.cache.Add(result)
	for item := range jsonrpc.Elements(jsonrpc.Get(result, kind.Member)) {
		if key := kind.KeyOf(item); key != "" {
			l.keys, l.items = append(l.keys, key), append(l.items, item)
		}
	}
}

// keep remembers a list as long as nothing changes. Of a server that has no process
// nothing tells whether something did.
func (m *member) keep(key listKey, l *list) {
	if !m.srv.attached(&caller{modern: key.version == ""}) || m.srv.set().PerSession {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists[key] = l
}

// page is one page of a member's list.
func (j *joint) page(ctx context.Context, x exchange, kind merge.Kind, m *member, cursor []byte) ([]byte, error) {
	var err error
	params := x.m.Params
	if x.m.Method != kind.Method { // what it asks for is something else
		params = nil
		if meta := jsonrpc.Get(x.m.Params, "_meta"); x.by.modern && meta != nil {
			params = fmt.Appendf(nil, `{"_meta":%s}`, jsonrpc.Delete(meta, "progressToken"))
		}
	}
	if cursor == nil {
		params = jsonrpc.Delete(params, "cursor")
	} else if params, err = jsonrpc.Set(params, cursor, "cursor"); err != nil {
		return nil, err
	}
	return j.inquire(ctx, x, m, kind.Method, params)
}

// inquire asks a member something for the joint's own use, in the name of a client.
func (j *joint) inquire(ctx context.Context, x exchange, m *member, method string, params []byte) ([]byte, error) {
	line, err := jsonrpc.NewRequest([]byte("0"), method, params)
	if err != nil {
		return nil, err
	}
	if x.m, err = jsonrpc.Parse(line); err != nil {
		return nil, err
	}
	x.out = outletFunc(func([]byte) {})
	// Clients of several reaches are told of what it answers, each within its own.
	x.by = &caller{Caller: x.by.Caller, modern: x.by.modern, session: x.by.session, client: x.by.client, patient: x.by.patient, unruled: true}
	answer := m.srv.whole(x.m, m.srv.forward(ctx, x))
	a, err := jsonrpc.Parse(answer)
	if err != nil {
		return nil, err
	}
	if a.Kind == jsonrpc.ErrorResponse {
		return nil, jsonrpc.DecodeError(a.Error)
	}
	return a.Result, nil
}

// shelf is what a member listed in its last run, nil if that is not known.
func (j *joint) shelf(x exchange, kind merge.Kind, m *member) *list {
	s := m.srv
	s.mu.Lock()
	own := s.slots[""]
	s.mu.Unlock()
	if own == nil {
		return nil
	}
	manifest := s.manifestOf(own)
	if manifest == nil {
		return nil
	}
	l := &list{}
	f := faceOf(manifest)
	for cursor, page := "", 0; page < pagesMost; page++ {
		result, refused := manifest.Page(kind.Method, cursor)
		if refused != nil || result == nil {
			return l
		}
		if kind.Member == "tools" {
			var err error
			if result, err = s.screened(result); err != nil {
				return nil
			}
		}
		l.add(kind, f.listFor(x, result))
		if cursor, _ = jsonrpc.Text(jsonrpc.Get(result, "nextCursor")); cursor == "" {
			break
		}
	}
	return l
}

// public are a list's elements as clients know them.
func (j *joint) public(m *member, kind merge.Kind, l *list) []offered {
	m.mu.Lock()
	done := l.public
	m.mu.Unlock()
	if done != nil && kind.Key == "name" {
		return done
	}
	publish := func(uri string) string { return j.publishOf(m, kind, uri) }
	out := make([]offered, 0, len(l.items))
	if kind.Key != "name" {
		for i, item := range l.items {
			p := publish(l.keys[i])
			if p != l.keys[i] {
				item = kind.Rekey(item, p)
			}
			out = append(out, offered{key: l.keys[i], public: p, raw: item})
		}
		return out
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.names = map[string]string{}
	for i, name := range merge.Names(m.Name, m.Prefix, l.keys, j.longest()) {
		if name == "" {
			continue
		}
		l.names[name] = l.keys[i]
		o := offered{key: l.keys[i], public: name, raw: merge.ToolURIs(kind.Rekey(l.items[i], name), publish)}
		if kind.Member == "tools" {
			o.annotations = policy.ParseAnnotations(jsonrpc.Get(o.raw, "annotations"))
		}
		out = append(out, o)
	}
	l.public = out
	return out
}

// names are the server's names of tools or prompts, by those that clients know.
func (j *joint) names(m *member, kind merge.Kind, l *list) map[string]string {
	j.public(m, kind, l)
	m.mu.Lock()
	defer m.mu.Unlock()
	return l.names
}

// claim has the members own the resources that they list now.
func (j *joint) claim(members []*member, lists []*list, kind merge.Kind) {
	servers, uris := make([]string, len(members)), make([][]string, len(members))
	for i, m := range members {
		servers[i] = m.Name
		if lists[i] != nil {
			uris[i] = lists[i].keys
		}
	}
	var clashes []clash
	j.mu.Lock()
	j.owners(kind).List(servers, uris, func(uri, first, second string) {
		if c := (clash{uri, first, second}); !j.clashes[c] && len(j.clashes) < clashesMost {
			j.clashes[c] = true
			clashes = append(clashes, c)
		}
	})
	j.mu.Unlock()
	for _, c := range clashes {
		j.recordClash(c)
	}
}

// clash is a URI that two servers have.
type clash struct{ uri, first, second string }

// clashesMost bounds the clashes that are recorded.
const clashesMost = 1000

// owner returns the member whose tool or prompt a client means, and what the member
// calls it.
func (j *joint) owner(ctx context.Context, x exchange, kind merge.Kind, public string) (*member, string, error) {
	prefix := merge.Owner(public)
	for _, m := range j.within(x) {
		if m.Prefix != prefix {
			continue
		}
		// Most names say it themselves.
		name := public[len(prefix)+1:]
		literal := merge.Name(m.Name, m.Prefix, name, j.longest()) == public
		if literal && !merge.MayBeSum(public) {
			return m, name, nil
		}
		l := m.cached(listKeyOf(x, kind.Method))
		if l == nil {
			l = j.fetch(ctx, x, kind, m)
		}
		if own, ok := j.names(m, kind, l)[public]; ok {
			return m, own, nil
		}
		if literal {
			return m, name, nil // a server may have more than it lists
		}
	}
	return nil, "", noSuch(map[string]string{"tools": "tool", "prompts": "prompt"}[kind.Member], public)
}

// watchLists has a modern process of the server's say when its lists change.
func (s *server) watchLists(context.Context) {
	s.mu.Lock()
	first := !s.watched
	s.watched = true
	s.mu.Unlock()
	if c := s.childOf(nil); first && c != nil && c.era == mcp.Modern {
		s.syncWatch(c)
	}
}

// identity is the _meta of what the joint itself says.
func identity() []byte {
	return []byte(`{"io.modelcontextprotocol/serverInfo":` + string(jointInfo()) + `}`)
}

// jointInfo is the serverInfo of a joint.
func jointInfo() []byte {
	return []byte(`{"name":"berth","title":"Berth","version":` + strconv.Quote(berth.Version) + `}`)
}
