// Package otlp sends calls of tools to an OpenTelemetry collector, as spans.
//
// Sampling, batches and the queue are those of OpenTelemetry's SDK; what is sent is
// OTLP by HTTP with JSON (opentelemetry-proto, "OTLP/HTTP", encoding JSON Protobuf),
// which package trace of this repository's tests reads back by the official
// definitions. Nothing is sent unless an endpoint was named.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/berth-run/berth"
)

// scope names who makes the spans.
const scope = "github.com/berth-run/berth"

// Calls makes a span of each call and sends them in batches. A nil *Calls drops them.
type Calls struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	errors   func(error)
}

// Open returns what sends to the collector that c names, nil if it names none. What
// could not be sent is told to errors, which may be called by any goroutine; the spans
// of it are lost.
func Open(c Config, errors func(error)) (*Calls, error) {
	if c.URL == "" {
		return nil, nil
	}
	e, err := newExporter(c)
	if err != nil {
		return nil, err
	}
	return opened(e, errors)
}

func opened(e *exporter, errors func(error)) (*Calls, error) {
	about, err := resource.Merge(resource.NewSchemaless(
		attribute.String("service.name", "berth"),
		attribute.String("service.version", berth.Version),
	), resource.Environment()) // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(&told{e, errors}))
	return &Calls{provider: p, tracer: p.Tracer(scope, trace.WithInstrumentationVersion(berth.Version)), errors: errors}, nil
}

// told is an exporter whose errors are told to us, and to no handler of the whole
// process.
type told struct {
	*exporter
	errors func(error)
}

func (t *told) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := t.exporter.ExportSpans(ctx, spans); err != nil {
		t.errors(err)
	}
	return nil
}

// Origin is where a call comes from, as its client said it by W3C Trace Context; either
// may be empty.
type Origin struct{ Parent, State string }

// carrier has package propagation read an Origin.
type carrier Origin

func (c carrier) Get(key string) string {
	switch key {
	case "traceparent":
		return c.Parent
	case "tracestate":
		return c.State
	}
	return ""
}

func (carrier) Set(string, string) {}

func (carrier) Keys() []string { return []string{"traceparent", "tracestate"} }

// Call makes a span of a call that has ended: names and attributes are those of
// OpenTelemetry's conventions for MCP where there are any. Arguments and results are
// not among them.
func (c *Calls) Call(rec berth.Record, from Origin, began, ended time.Time) {
	if c == nil || rec.Call == nil {
		return
	}
	call := rec.Call
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier(from))
	_, span := c.tracer.Start(ctx, "tools/call "+call.Tool, trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("mcp.method.name", "tools/call"),
			attribute.String("gen_ai.operation.name", "execute_tool"),
			attribute.String("gen_ai.tool.name", call.Tool),
			attribute.String("berth.server", rec.Server),
			attribute.String("berth.outcome", string(call.Outcome)),
			attribute.String("berth.principal", call.Principal),
			attribute.Int64("berth.queue_us", call.QueueMicros),
			attribute.Int64("berth.start_us", call.StartMicros),
			attribute.Int64("berth.run_us", call.RunMicros),
			attribute.Int("berth.bytes_in", call.BytesIn),
			attribute.Int("berth.bytes_out", call.BytesOut),
			attribute.Int("berth.restarts", call.Restarts),
		))
	if call.Caller != "" {
		span.SetAttributes(attribute.String("berth.client", call.Caller))
	}
	if call.Code != 0 {
		span.SetAttributes(attribute.String("rpc.response.status_code", fmt.Sprint(call.Code)))
	}
	if rec.PID != 0 {
		span.SetAttributes(attribute.Int("process.pid", rec.PID))
	}
	switch call.Outcome {
	case berth.CallDone, berth.CallAsks:
	case berth.CallFailed:
		span.SetAttributes(attribute.String("error.type", "tool_error"))
		span.SetStatus(codes.Error, "the tool answered that it failed")
	default:
		span.SetAttributes(attribute.String("error.type", string(call.Outcome)))
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(ended))
}

// Close sends what waits, for as long as ctx lasts.
func (c *Calls) Close(ctx context.Context) {
	if c == nil {
		return
	}
	if err := c.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		c.errors(err)
	}
}
