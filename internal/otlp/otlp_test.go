package otlp

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/berth-run/berth"
)

// collector takes what is sent, and reads it by the official definitions.
type collector struct {
	*httptest.Server
	mu      sync.Mutex // guards the fields below
	answers []func(w http.ResponseWriter)
	batches []*tracepb.TracesData
	headers []http.Header
	faults  []error
}

func newCollector(t *testing.T, answers ...func(w http.ResponseWriter)) *collector {
	c := &collector{answers: answers}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	batch := &tracepb.TracesData{}
	if err == nil {
		err = protojson.Unmarshal(hexIDs(body), batch) // unknown fields are errors
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.faults = append(c.faults, err)
	}
	c.batches, c.headers = append(c.batches, batch), append(c.headers, r.Header)
	if len(c.answers) > 0 {
		c.answers[0](w)
		c.answers = c.answers[1:]
		return
	}
	_, _ = io.WriteString(w, "{}")
}

func (c *collector) fault(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, err)
}

func status200(text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
}

func statusOf(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

func open(t *testing.T, c *collector) *Calls {
	t.Helper()
	calls, err := Open(Config{URL: c.URL + "/v1/traces", Headers: http.Header{"Api-Key": {"k"}}}, c.fault)
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

func aCall(outcome berth.CallOutcome) berth.Record {
	return berth.Record{Server: "files", Action: berth.ActionToolCall, PID: 7, Call: &berth.Call{
		Tool: "read", Principal: "token:me", Caller: "me", Outcome: outcome, Code: -32000, BytesIn: 10, BytesOut: 20, QueueMicros: 1, StartMicros: 2, RunMicros: 3, Restarts: 4,
		Arguments: `{"path":"/secret"}`, ArgumentsSHA256: "abc",
	}}
}

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// TestSpans: what a collector reads, by the official definitions.
func TestSpans(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
	c := newCollector(t)
	calls := open(t, c)
	began := time.Unix(1700000000, 123456789)
	calls.Call(aCall(berth.CallDone), Origin{"00-" + traceID + "-" + parentID + "-01", "vendor=x"}, began, began.Add(time.Millisecond))
	calls.Call(aCall(berth.CallTimeout), Origin{"nonsense", ""}, began, began.Add(time.Second))
	calls.Call(aCall(berth.CallFailed), Origin{"00-" + traceID + "-" + parentID + "-00", ""}, began, began) // not sampled by its client
	calls.Close(context.Background())
	if len(c.faults) > 0 || len(c.batches) != 1 {
		t.Fatalf("%d batches, errors: %v", len(c.batches), errors.Join(c.faults...))
	}
	if got := c.headers[0].Get("Api-Key") + c.headers[0].Get("Content-Type"); got != "kapplication/json" {
		t.Errorf("headers: %s", got)
	}
	in := c.batches[0].GetResourceSpans()[0]
	about := in.GetResource().String()
	for _, want := range []string{`"berth"`, `"deployment.environment"`, `"` + berth.Version + `"`} {
		if !strings.Contains(about, want) {
			t.Errorf("the resource lacks %s: %s", want, about)
		}
	}
	spans := in.GetScopeSpans()[0].GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	first := spans[0]
	if got := hex.EncodeToString(first.GetTraceId()) + "/" + hex.EncodeToString(first.GetParentSpanId()); got != traceID+"/"+parentID {
		t.Errorf("of trace and parent %s", got)
	}
	if first.GetName() != "tools/call read" || first.GetKind() != tracepb.Span_SPAN_KIND_SERVER || first.GetTraceState() != "vendor=x" || first.GetFlags() != 0x301 {
		t.Errorf("%v", first)
	}
	if first.GetStartTimeUnixNano() != uint64(began.UnixNano()) || first.GetEndTimeUnixNano() != uint64(began.Add(time.Millisecond).UnixNano()) {
		t.Errorf("from %d to %d", first.GetStartTimeUnixNano(), first.GetEndTimeUnixNano())
	}
	if first.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_UNSET {
		t.Errorf("status %v", first.GetStatus())
	}
	second := spans[1]
	if len(second.GetParentSpanId()) != 0 || hex.EncodeToString(second.GetTraceId()) == traceID {
		t.Errorf("a call without an origin has one: %v", second)
	}
	if second.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("status %v", second.GetStatus())
	}
	all := c.batches[0].String()
	for _, want := range []string{"gen_ai.tool.name", "berth.server", "files", "token:me", "timeout", "berth.run_us"} {
		if !strings.Contains(all, want) {
			t.Errorf("the spans lack %s: %s", want, all)
		}
	}
	if strings.Contains(all, "secret") {
		t.Errorf("the spans hold arguments: %s", all)
	}
}

// TestTriedAgain: what the collector cannot take now is sent again, what it refuses is
// not, and either is told.
func TestTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		answers []func(http.ResponseWriter)
		sent    int
		fault   string
	}{
		"later":    {[]func(http.ResponseWriter){statusOf(503), statusOf(429)}, 3, ""},
		"never":    {[]func(http.ResponseWriter){statusOf(503), statusOf(503), statusOf(503), statusOf(503)}, 4, "503"},
		"refused":  {[]func(http.ResponseWriter){statusOf(400)}, 1, "400"},
		"partly":   {[]func(http.ResponseWriter){status200(`{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}`)}, 1, "too old"},
		"redirect": {[]func(http.ResponseWriter){func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }}, 1, "307"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, test.answers...)
			synctest.Test(t, func(t *testing.T) { // so that nobody waits between two tries
				e, err := newExporter(Config{URL: c.URL})
				if err != nil {
					t.Fatal(err)
				}
				e.client.Transport = direct{c}
				calls, err := opened(e, c.fault)
				if err != nil {
					t.Fatal(err)
				}
				calls.Call(aCall(berth.CallDone), Origin{}, time.Now(), time.Now())
				calls.Close(t.Context())
			})
			if len(c.batches) != test.sent {
				t.Errorf("sent %d times", len(c.batches))
			}
			if got := errors.Join(c.faults...); (got == nil) != (test.fault == "") || got != nil && !strings.Contains(got.Error(), test.fault) {
				t.Errorf("told: %v", got)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, test := range []struct {
		endpoint string
		env      func(string) string
		url, bad string
	}{
		{"", env(), "", ""},
		{"http://127.0.0.1:4318", env(), "http://127.0.0.1:4318/v1/traces", ""},
		{"http://127.0.0.1:4318/", env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/x"), "https://c/x/v1/traces", ""},
		{"", env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/y"), "https://t/y", ""},
		{"http://127.0.0.1:4318", env("OTEL_SDK_DISABLED", "true"), "", ""},
		{"http://127.0.0.1:4318", env("OTEL_TRACES_EXPORTER", "none"), "", ""},
		{"127.0.0.1:4318", env(), "", "berth.toml"},
		{"file:///x", env(), "", "berth.toml"},
		{"http://u:p@c", env(), "", "berth.toml"},
		{"", env("OTEL_EXPORTER_OTLP_ENDPOINT", "c"), "", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"http://c", env("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"), "", "key=value"},
	} {
		c, err := ConfigOf(test.endpoint, test.env)
		if test.bad != "" {
			if err == nil || !strings.Contains(err.Error(), test.bad) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v, not an error about %s", test.endpoint, err, test.bad)
			}
			continue
		}
		if err != nil || c.URL != test.url {
			t.Errorf("%q: %q, %v", test.endpoint, c.URL, err)
		}
	}
	c, err := ConfigOf("http://c", env("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=x%20y", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", " a = 2"))
	if err != nil || c.Headers.Get("a") != "2" || c.Headers.Get("b") != "x y" {
		t.Errorf("%v, %v", c.Headers, err)
	}
}

func TestNothingIsNoTrouble(t *testing.T) {
	calls, err := Open(Config{}, nil)
	if calls != nil || err != nil {
		t.Fatalf("%v, %v", calls, err)
	}
	calls.Call(aCall(berth.CallDone), Origin{}, time.Now(), time.Now())
	calls.Close(t.Context())
}

// direct serves a request in the goroutine that sends it, so that no time passes.
type direct struct{ c *collector }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.c.ServeHTTP(w, r)
	return w.Result(), nil
}

// hexIDs makes of the ids in hex, which OTLP has in JSON, those in base64 that the
// official library reads.
func hexIDs(body []byte) []byte {
	return idsIn.ReplaceAllFunc(body, func(member []byte) []byte {
		parts := idsIn.FindSubmatch(member)
		raw, err := hex.DecodeString(string(parts[2]))
		if err != nil {
			return member
		}
		return []byte(`"` + string(parts[1]) + `":"` + base64.StdEncoding.EncodeToString(raw) + `"`)
	})
}

var idsIn = regexp.MustCompile(`"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"`)
