package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// Called is a call of a tool that has its answer, or was refused.
type Called struct {
	Record       berth.Record
	Began, Ended time.Time
	// TraceParent and TraceState are what the client says of where the call comes from
	// (W3C Trace Context): in the request's _meta (MCP 2026-07-28, "OpenTelemetry Trace
	// Context"), else in the headers. They are as they came, and may be nonsense.
	TraceParent, TraceState string
}

type originKey struct{}

// origin is what the headers of a request say of where it comes from.
type origin struct{ parent, state string }

// withOrigin returns a context with that of a request, if anybody wants to know.
func (g *Gateway) withOrigin(ctx context.Context, h http.Header) context.Context {
	if g.o.Called == nil || h.Get("Traceparent") == "" {
		return ctx
	}
	return context.WithValue(ctx, originKey{}, origin{h.Get("Traceparent"), h.Get("Tracestate")})
}

// from notes where a call comes from.
func (a *account) from(ctx context.Context, params []byte) {
	if a == nil || a.srv.g.o.Called == nil {
		return
	}
	meta := jsonrpc.Get(params, "_meta")
	a.origin = origin{stringOf(jsonrpc.Get(meta, "traceparent")), stringOf(jsonrpc.Get(meta, "tracestate"))}
	if a.origin.parent == "" {
		a.origin, _ = ctx.Value(originKey{}).(origin)
	}
}

// tell tells who wants to know of a call that has ended.
func (a *account) tell(rec berth.Record) {
	if called := a.srv.g.o.Called; called != nil {
		called(Called{Record: rec, Began: a.began, Ended: time.Now(), TraceParent: a.origin.parent, TraceState: a.origin.state})
	}
}
