//go:build linux

package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/metrics"
	"github.com/berth-run/berth/internal/policy"
)

// page is a page of figures: the values of the samples by their name and labels.
type page map[string]float64

// readPage reads a page as strictly as the format is written down
// (https://prometheus.io/docs/instrumenting/exposition_formats/): each family has its
// head once and its samples after it, no sample comes twice, histograms add up.
func readPage(t *testing.T, text string) page {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line does not end")
	}
	all, err := metrics.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	kinds, family, p := map[string]string{}, "", page{}
	next, last, lastSeries := 0, 0.0, ""
	for line := range strings.Lines(text) {
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(help, " ")
			if _, again := kinds[family]; again {
				t.Errorf("%s comes twice", family)
			}
			kinds[family] = ""
			continue
		}
		if kind, ok := strings.CutPrefix(line, "# TYPE "+family+" "); ok {
			kinds[family] = strings.TrimSpace(kind)
			continue
		}
		s := all[next]
		next++
		part, ok := strings.CutPrefix(s.Name, family)
		if kind := kinds[family]; !ok || (kind == "histogram") != (part != "") || kind == "" || kind == "counter" && !strings.HasSuffix(family, "_total") {
			t.Errorf("in the family %s, a %s: %s", family, kind, line)
		}
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, again := p[name]; again {
			t.Errorf("%s comes twice", name)
		}
		p[name] = s.Value
		le := s.Labels["le"]
		delete(s.Labels, "le")
		series := fmt.Sprint(family, s.Labels)
		switch part {
		case "_bucket":
			if series == lastSeries && s.Value < last || le == "" {
				t.Errorf("a bucket has less than the one before: %s", line)
			}
			last, lastSeries = s.Value, series
		case "_count":
			if s.Value != last || series != lastSeries {
				t.Errorf("the last bucket has %v of %s", last, line)
			}
		}
	}
	if next != len(all) {
		t.Errorf("%d of %d samples", next, len(all))
	}
	return p
}

func (p page) want(t *testing.T, want page) {
	t.Helper()
	for name, v := range want {
		if got, ok := p[name]; !ok || got != v {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, v)
		}
	}
}

// What is done is counted, by server and outcome, and whoever may come in reads it: of
// the servers that it may use, and with nothing that a client chose.
func TestMetrics(t *testing.T) {
	demo := installed{Settings{}, specOf(roleDemo, nil)}
	w := newWorld(t, map[string]installed{"demo": demo, "other": demo})
	w.close()
	w.open(Options{Reach: func(who Caller, _ string) (Reach, error) {
		if who.Client != "narrow" {
			return Reach{}, nil
		}
		return Reach{Rules: policy.Rules{{Of: `client "narrow"`, Tools: policy.Tools{Servers: []string{"demo"}, Deny: []string{"env*"}}}}}, nil
	}})
	url := w.tokenDoor()
	token, narrow := w.token(berth.Token{Name: "wide"}), w.token(berth.Token{Name: "narrow"})
	get := func(status int, token string) string {
		t.Helper()
		r := w.must(status, http.MethodGet, "/metrics", "", "Authorization", token)
		if kind := r.Header.Get("Content-Type"); status == 200 && kind != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("the Content-Type is %s", kind)
		}
		return w.read(r)
	}
	readPage(t, get(200, "-")).want(t, page{"berth_sessions": 0}) // nobody is asked who they are; nobody has called

	call := func(server, tool, args, token string) {
		t.Helper()
		r := w.must(200, http.MethodPost, "/servers/"+server+"/mcp",
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+args+`,`+modernMeta+`}}`,
			headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", tool, "Authorization", token)
		w.read(r)
	}
	open := w.url
	w.url = url
	bearer := func(token string) string { return "Bearer " + token }
	for range 3 {
		call("demo", "echo", `{"message":"hi"}`, bearer(token))
	}
	call("demo", "echo", `{"message":1}`, bearer(token)) // the tool fails
	call("other", "echo", `{"message":"hi"}`, bearer(token))
	r := w.must(200, http.MethodPost, "/servers/demo/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1), "Authorization", bearer(narrow))
	session := r.Header.Get(headerSession)
	w.read(w.must(200, http.MethodPost, "/servers/demo/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"envelope"}}`,
		"Authorization", bearer(narrow), headerSession, session))
	stream := w.must(200, http.MethodGet, "/servers/demo/mcp", "", "Authorization", bearer(narrow), headerSession, session)
	defer stream.Body.Close()

	get(401, "-")
	get(401, bearer(token[:len(token)-1]))
	get(401, "Basic eDp5")
	text := get(200, bearer(token))
	readPage(t, text).want(t, page{
		`berth_calls_total{server="demo",outcome="done"}`:                 3,
		`berth_calls_total{server="demo",outcome="failed"}`:               1,
		`berth_calls_total{server="other",outcome="done"}`:                1,
		`berth_call_duration_seconds_count{server="demo",outcome="done"}`: 3,
		`berth_call_queue_seconds_count{server="demo"}`:                   4,
		`berth_calls_denied_total{server="demo"}`:                         1,
		`berth_calls_denied_total{server="other"}`:                        0,
		`berth_requests_in_flight{server="demo"}`:                         0,
		`berth_children{server="demo"}`:                                   1,
		`berth_sessions`:                                                  1,
		`berth_streams{kind="session"}`:                                   1,
		`berth_parked_calls`:                                              0,
		`berth_callers_refused_total{reason="no-token"}`:                  1,
		`berth_callers_refused_total{reason="bad-token"}`:                 2,
	})
	for _, chosen := range []string{"echo", "wide", "narrow", "envelope", token} {
		if strings.Contains(text, chosen) {
			t.Errorf("%q is told", chosen)
		}
	}
	if text := get(200, bearer(narrow)); strings.Contains(text, `"other"}`) || !strings.Contains(text, `server="demo"`) {
		t.Errorf("one who may use demo reads:\n%s", text)
	}
	w.must(405, http.MethodPost, "/metrics", "{}", "Authorization", bearer(token))
	w.url = open
	w.must(403, http.MethodGet, "/metrics", "", "Origin", "https://example.com")
	w.must(403, http.MethodGet, "/metrics", "", "Host", "example.com")
	if bytes.Contains([]byte(text), []byte("\r")) {
		t.Error("a line ends with CR")
	}
}
