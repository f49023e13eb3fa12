//go:build linux

package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// BenchmarkGatewaySlowReader: calls of one client beside another of the same
// server, for which 30 MB wait that it does not read, and more is coming; against
// the same calls beside one that asks for as much and reads it, and beside none,
// in turns.
func BenchmarkGatewaySlowReader(b *testing.B) {
	const rounds, calls = 10, 300
	s := released.NewSite(b, released.Build(b))
	s.Berth("add", "demo", "--profile", "off", "--", s.Bin, "demo-server")
	g := s.Up()
	url := g.URL + "/servers/demo"
	client := &http.Client{Timeout: time.Minute}
	post := func(url, body string, status int, part string) time.Duration {
		req, err := http.NewRequest("POST", url, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header = http.Header{
			"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
			"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"echo"},
		}
		begun := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		took := time.Since(begun)
		resp.Body.Close()
		if err != nil || resp.StatusCode != status || !strings.Contains(string(answer), part) {
			b.Fatalf("POST %s: %s, %v: %.500s", url, resp.Status, err, answer)
		}
		return took
	}
	call := func() time.Duration {
		return post(url+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
			http.StatusOK, `hello`)
	}
	long := strings.Repeat("z", 100_000)
	// other opens a stream of events, of which it reads the beginning or all. more
	// has one more answer sent on it.
	other := func(reads bool) (more, leave func()) {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "GET", url+"/sse", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(resp.Body)
		data := func() string {
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					b.Fatal(err)
				}
				if data, ok := strings.CutPrefix(line, "data: "); ok {
					return strings.TrimSpace(data)
				}
			}
		}
		place := g.URL + data()
		post(place, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"slow","version":"1"}}}`, http.StatusAccepted, "")
		if answer := data(); !strings.Contains(answer, `"result"`) {
			b.Fatal(answer)
		}
		ended := make(chan struct{})
		if reads {
			go func() { _, _ = io.Copy(io.Discard, r); close(ended) }() // until leave
		} else {
			close(ended)
		}
		id := 0
		more = func() {
			id++
			post(place, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":%q}}}`, id, long), http.StatusAccepted, "")
		}
		return more, func() { cancel(); <-ended; resp.Body.Close() }
	}
	beside := func(reads bool) (took []time.Duration) {
		more, leave := other(reads)
		defer leave()
		for range 300 {
			more()
		}
		call() // what the server was asked before is answered now
		for i := range calls {
			if i%20 == 0 {
				more()
			}
			took = append(took, call())
		}
		return took
	}
	var alone, slow, quick []time.Duration
	for round := range rounds + 1 {
		if round == 1 { // warm by now
			alone, slow, quick = nil, nil, nil
		}
		for range calls {
			alone = append(alone, call())
		}
		slow = append(slow, beside(false)...)
		quick = append(quick, beside(true)...)
	}
	b.ReportMetric(ratio(quantile(slow, 99), quantile(quick, 99)), "ratio-p99")
	b.ReportMetric(ratio(median(slow), median(quick)), "ratio-p50")
	b.ReportMetric(ratio(quantile(slow, 99), quantile(alone, 99)), "ratio-p99-alone")
	b.ReportMetric(float64(quantile(slow, 99).Microseconds()), "µs-p99")
	b.ReportMetric(0, "ns/op")
}
