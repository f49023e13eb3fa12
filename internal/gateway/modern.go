package gateway

import (
	"context"
	"encoding/json"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// modernRequest serves one request of a modern client and returns the line of
// the answer. What belongs to it goes to out meanwhile. The request ends with
// ctx: "the server MUST treat a disconnect as cancellation".
func (s *server) modernRequest(ctx context.Context, by Caller, m jsonrpc.Message, out outlet) []byte {
	x := exchange{m: m, out: out}
	if string(m.ID) == "null" {
		return s.refusal(x, errNullID)
	}
	if e := bridge.CheckMeta(m.Params); e != nil {
		return s.refusal(x, e)
	}
	client, _, _ := bridge.ClientOf(m.Params)
	x.by = &caller{Caller: by, modern: true, client: client, patient: isPatient(ctx)}
	var (
		line []byte
		err  error
	)
	switch m.Method {
	case "server/discover":
		if s.joint != nil {
			line, err = s.joint.discover(ctx, x)
		} else {
			line, err = s.discover(ctx, x)
		}
	case "subscriptions/listen":
		if s.joint != nil {
			line, err = s.joint.listenFor(ctx, x)
		} else {
			line, err = s.listenFor(ctx, x)
		}
	case "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/result", "tasks/list":
		err = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found: " + m.Method + " is of an earlier revision"}
	default:
		return s.forwarded(ctx, x)
	}
	if err != nil {
		return s.refusal(x, err)
	}
	return line
}

// discover answers server/discover: what the child says of itself, and the
// revisions that clients may speak to it through this gateway.
func (s *server) discover(ctx context.Context, x exchange) ([]byte, error) {
	f, err := s.greet(ctx, x.by)
	if err != nil {
		return nil, err
	}
	said := f.info.Synopsis()
	if f.era == mcp.Legacy {
		return jsonrpc.NewResult(x.m.ID, bridge.DiscoverResult(said))
	}
	if f.child == nil {
		said = notToCache(said)
	}
	versions, err := json.Marshal(bridge.AllVersions())
	if err != nil {
		return nil, err
	}
	result, err := jsonrpc.Set(said, versions, "supportedVersions")
	if err != nil {
		return nil, err
	}
	return jsonrpc.NewResult(x.m.ID, result)
}
