package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// told is what a collector hears of one call.
type told struct {
	TraceID    string `json:"traceId"`
	ParentID   string `json:"parentSpanId"`
	Name       string `json:"name"`
	Attributes []struct {
		Key   string `json:"key"`
		Value struct {
			Text string `json:"stringValue"`
		} `json:"value"`
	} `json:"attributes"`
}

// TestCollector: a gateway whose berth.toml names a collector tells it of calls, each
// as a part of the trace that its client names.
func TestCollector(t *testing.T) {
	heard := make(chan told, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var batch struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []told `json:"spans"`
				} `json:"scopeSpans"`
			} `json:"resourceSpans"`
		}
		if err := json.Unmarshal(body, &batch); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %s: %v", r.URL, body, err)
			return
		}
		for _, of := range batch.ResourceSpans {
			for _, in := range of.ScopeSpans {
				for _, span := range in.Spans {
					heard <- span
				}
			}
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(collector.Close)

	b := newBench(t)
	b.berth("add", "demo", "--no-run", "--", "testserver")
	if err := os.WriteFile(filepath.Join(b.dir, "berth.toml"), []byte("[telemetry]\notlp_endpoint = \""+collector.URL+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := b.up()
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	at := "00-" + trace + "-" + parent + "-01"
	old := g.guest("demo").join()
	line, _ := old.call("echo", `{"message":"by header"}`)
	old.must(line, "Traceparent", at)
	old.must(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"in _meta"},"_meta":{"traceparent":"` + at + `"}}}`)
	modern := g.guest("demo").modern()
	line, headers := modern.call("echo", `{"message":"by header"}`)
	modern.must(line, append(headers, "Traceparent", at)...)
	modern.must(line, headers...)

	own := 0
	for range 4 {
		select {
		case span := <-heard:
			if span.Name != "tools/call echo" {
				t.Errorf("it is told of %q", span.Name)
			}
			switch {
			case span.ParentID == "" && span.TraceID != trace:
				own++
			case span.ParentID != parent || span.TraceID != trace:
				t.Errorf("a call is of trace %s, after %s", span.TraceID, span.ParentID)
			}
			of := map[string]string{}
			for _, a := range span.Attributes {
				of[a.Key] = a.Value.Text
			}
			if of["berth.server"] != "demo" || of["berth.outcome"] != "done" {
				t.Errorf("it is told %v", of)
			}
		case <-time.After(time.Minute):
			t.Fatal("the collector is not told")
		}
	}
	if own != 1 {
		t.Errorf("%d of 4 calls are of no client's trace, not one", own)
	}
}
