package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/berth-run/berth/internal/find"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/merge"
)

// offer is the list of tools of who finds them instead.
func (j *joint) offer(x exchange) ([]byte, error) {
	var servers []string
	for _, m := range j.within(x) {
		servers = append(servers, m.Name)
	}
	tools, err := json.Marshal(find.Offer(servers))
	if err != nil {
		return nil, err
	}
	result, err := jsonrpc.Set(nil, tools, "tools")
	if err != nil {
		return nil, err
	}
	var none merge.Cache
	return j.ownResult(x, result, none.Members()...)
}

// ownResult is a result of the joint's own, with these members more for a modern
// client.
func (j *joint) ownResult(x exchange, result []byte, more ...jsonrpc.Member) ([]byte, error) {
	if x.by.modern {
		var err error
		result, err = jsonrpc.Edit(result, append(more,
			jsonrpc.Member{Name: "resultType", Value: []byte(`"complete"`)},
			jsonrpc.Member{Name: "_meta", Value: identity()})...)
		if err != nil {
			return nil, err
		}
	}
	return jsonrpc.NewResult(x.m.ID, result)
}

// searching serves a call of one of the three tools by which the others are found;
// ok is false if it is of another.
func (j *joint) searching(ctx context.Context, x exchange) (line []byte, err error, ok bool) {
	tool := stringOf(jsonrpc.Get(x.m.Params, "name"))
	switch tool {
	case find.FindName, find.DescribeName, find.CallName:
		if x.m, err = j.g.inMemory(x.m, "arguments"); err != nil {
			return nil, err, true
		}
	}
	arguments := jsonrpc.Get(x.m.Params, "arguments")
	var result json.RawMessage
	switch tool {
	case find.FindName:
		query, limit, err := find.ParseFind(arguments)
		if err != nil {
			result = find.ErrorResult(err.Error())
			break
		}
		result = find.FindResult(j.index(ctx, x).Search(query, limit, nil))
	case find.DescribeName:
		name, err := find.ParseDescribe(arguments)
		index := j.index(ctx, x)
		if tool, known := index.Tool(name); err != nil {
			result = find.ErrorResult(err.Error())
		} else if known {
			result = find.DescribeResult(tool)
		} else {
			result = find.UnknownResult(name, index.Search(name, nearMost, nil))
		}
	case find.CallName:
		name, with, err := find.ParseCall(arguments)
		if err != nil {
			result = find.ErrorResult(err.Error())
			break
		}
		line, err := j.callFound(ctx, x, name, with)
		if errors.As(err, new(*noSuchError)) {
			result = find.UnknownResult(name, j.index(ctx, x).Search(name, nearMost, nil))
			break
		}
		return line, err, true
	default:
		return nil, nil, false
	}
	line, err = j.ownResult(x, result)
	return line, err, true
}

// nearMost is how many names are told to who asks for one that there is not.
const nearMost = 3

// callFound makes the call that call_tool is for. All that goes with it, its id and
// its progress token, is that of the request.
func (j *joint) callFound(ctx context.Context, x exchange, name string, with json.RawMessage) ([]byte, error) {
	params, err := jsonrpc.Edit(x.m.Params,
		jsonrpc.Member{Name: "name", Value: jsonrpc.StringID(name)},
		jsonrpc.Member{Name: "arguments", Value: with})
	if err != nil {
		return nil, err
	}
	line, err := x.m.Rewrite(jsonrpc.Rewrite{Params: params})
	if err != nil {
		return nil, err
	}
	if x.m, err = jsonrpc.Parse(line); err != nil {
		return nil, err
	}
	return j.byName(ctx, x, "tools/list")
}

// indexed is an index, and what it is of.
type indexed struct {
	lists []*list
	index *find.Index
}

// index is of the tools that a caller may call.
func (j *joint) index(ctx context.Context, x exchange) *find.Index {
	kind, _ := merge.KindOf("tools/list")
	members := j.within(x)
	lists := j.lists(ctx, x, kind, members)
	ruled := len(x.reach.Rules) > 0
	if !ruled {
		j.mu.Lock()
		known := j.found
		j.mu.Unlock()
		if known.index != nil && slices.Equal(known.lists, lists) {
			return known.index
		}
	}
	var tools []find.Tool
	for i, l := range lists {
		if l == nil || l.err != nil {
			continue
		}
		rules := append(members[i].srv.ownRules(), x.reach.Rules...)
		for _, o := range j.public(members[i], kind, l) {
			if ok, _ := rules.Allows(members[i].Name, o.key, o.annotations); ok {
				tools = append(tools, find.Tool{Name: o.public, Server: members[i].Name, Own: o.key, Raw: o.raw})
			}
		}
	}
	index := find.New(tools)
	if !ruled {
		j.mu.Lock()
		j.found = indexed{lists, index}
		j.mu.Unlock()
	}
	return index
}
