package otlp

import (
	"encoding/hex"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The JSON of an ExportTraceServiceRequest (opentelemetry-proto, trace.proto): keys in
// lowerCamelCase, ids in hex, 64-bit integers as strings, enumerations as numbers.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   attributed   `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	attributed struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scopeOf `json:"scope"`
		Spans []span  `json:"spans"`
	}
	scopeOf struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	span struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		TraceState string     `json:"traceState,omitempty"`
		ParentID   string     `json:"parentSpanId,omitempty"`
		Flags      uint32     `json:"flags"`
		Name       string     `json:"name"`
		Kind       int        `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes,omitempty"`
		Status     status     `json:"status"`
	}
	status struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	keyValue struct {
		Key   string   `json:"key"`
		Value anyValue `json:"value"`
	}
	anyValue struct {
		String *string  `json:"stringValue,omitempty"`
		Bool   *bool    `json:"boolValue,omitempty"`
		Int    *string  `json:"intValue,omitempty"`
		Double *float64 `json:"doubleValue,omitempty"`
	}
)

// The bits of span.Flags beyond those of W3C Trace Context.
const (
	knowsRemote = 0x100 // whether the parent is of another process
	isRemote    = 0x200
)

// requestOf is a batch, which is all of one resource and one scope: ours.
func requestOf(batch []sdktrace.ReadOnlySpan) request {
	first := batch[0]
	in := scopeSpans{Scope: scopeOf{first.InstrumentationScope().Name, first.InstrumentationScope().Version}}
	for _, s := range batch {
		in.Spans = append(in.Spans, spanOf(s))
	}
	return request{[]resourceSpans{{
		Resource: attributed{keyValues(first.Resource().Attributes())}, ScopeSpans: []scopeSpans{in},
	}}}
}

func spanOf(s sdktrace.ReadOnlySpan) span {
	at, parent := s.SpanContext(), s.Parent()
	trace, id := at.TraceID(), at.SpanID()
	out := span{
		TraceID: hex.EncodeToString(trace[:]), SpanID: hex.EncodeToString(id[:]), TraceState: at.TraceState().String(),
		Flags: uint32(at.TraceFlags()) | knowsRemote,
		Name:  s.Name(), Kind: int(s.SpanKind()), // the numbers of both are the same
		Start: nanos(s.StartTime()), End: nanos(s.EndTime()), Attributes: keyValues(s.Attributes()),
		Status: status{Message: s.Status().Description, Code: codeOf(s.Status().Code)},
	}
	if parent.SpanID().IsValid() {
		id := parent.SpanID()
		out.ParentID = hex.EncodeToString(id[:])
	}
	if parent.IsRemote() {
		out.Flags |= isRemote
	}
	return out
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// codeOf: the SDK counts unset, error, ok; the protocol unset, ok, error.
func codeOf(c codes.Code) int {
	switch c {
	case codes.Ok:
		return 1
	case codes.Error:
		return 2
	}
	return 0
}

func keyValues(attributes []attribute.KeyValue) []keyValue {
	out := make([]keyValue, 0, len(attributes))
	for _, a := range attributes {
		var v anyValue
		switch a.Value.Type() {
		case attribute.INT64:
			text := strconv.FormatInt(a.Value.AsInt64(), 10)
			v.Int = &text
		case attribute.BOOL:
			is := a.Value.AsBool()
			v.Bool = &is
		case attribute.FLOAT64:
			f := a.Value.AsFloat64()
			v.Double = &f
		default:
			text := a.Value.String()
			v.String = &text
		}
		out = append(out, keyValue{string(a.Key), v})
	}
	return out
}
