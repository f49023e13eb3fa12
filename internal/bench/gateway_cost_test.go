//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/released"
)

// BenchmarkGatewayStrict: calls whose records are on the disk before the answer,
// against calls whose records are with the system.
func BenchmarkGatewayStrict(b *testing.B) {
	y := needYardstick(b)
	s := released.NewSite(b, released.Build(b))
	s.Berth("add", "grouped", "--profile", "off", "--", y.echosrv)
	s.Berth("add", "strict", "--profile", "off", "--", y.echosrv)
	s.Berth("config", "strict", "--set", "berth.audit=strict")
	url := s.Up().URL
	targets := []target{{"grouped", url + "/servers/grouped/mcp"}, {"strict", url + "/servers/strict/mcp"}}
	for _, c := range []struct{ sessions, calls int }{{1, 500}, {8, 100}, {32, 50}} {
		b.Run(fmt.Sprint(c.sessions), func(b *testing.B) {
			for _, f := range y.measure(b, targets, c.sessions, c.calls, 9) {
				b.ReportMetric(f.P50us, f.Name+"-p50-µs")
				if f.Name != targets[0].name {
					b.ReportMetric(f.P50x, f.Name+"-p50x")
					b.ReportMetric(f.CPSx, f.Name+"-calls/s-x")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkGatewayAllocations: what a gateway in this process allocates for one
// call. The server is a process of its own, and the client allocates nothing.
func BenchmarkGatewayAllocations(b *testing.B) {
	const calls = 2000
	c := callInProcess(b, needYardstick(b))
	for range 100 { // warm by now
		c.call(b)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		c.call(b)
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/calls, "allocs/call")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/calls, "B/call")
	b.ReportMetric(0, "ns/op")
}

// caller makes one call again and again.
type caller struct {
	conn    net.Conn
	request []byte
	answer  []byte // of each call
	buf     []byte
}

func (c *caller) call(b *testing.B) {
	if _, err := c.conn.Write(c.request); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c.conn, c.buf); err != nil || !bytes.HasSuffix(c.buf, c.answer) {
		b.Fatalf("%v: %s", err, c.buf)
	}
}

// callInProcess opens a gateway with the yardstick's server, and a session of a
// legacy client.
func callInProcess(b *testing.B, y yardstick) *caller {
	b.Helper()
	m := open(b)
	h, err := home.Open(m.Dir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	key, err := h.SealKey()
	if err != nil {
		b.Fatal(err)
	}
	spec := berth.ProcessSpec{Command: y.echosrv}
	g, err := gateway.New(gateway.Options{
		Home: h, Manager: m, Key: key,
		Up:       func(ctx context.Context, name string, _ bool) error { _, err := m.Start(ctx, name, spec); return err },
		Settings: func(string) (gateway.Settings, error) { return gateway.Settings{}, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		g.Close()
		if _, err := m.Stop(context.Background(), "echo"); err != nil {
			b.Error(err)
		}
	})
	l, err := net.Listen("unix", filepath.Join(h.Dir(), "bench"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(ctx, l, gateway.Door{Who: func(net.Conn) (gateway.Caller, error) { return gateway.Caller{Principal: "bench"}, nil }})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))

	session, r := "", bufio.NewReader(conn)
	post := func(body string) []byte {
		return fmt.Appendf(nil, "POST /servers/echo/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
			"Accept: application/json, text/event-stream\r\n%sContent-Length: %d\r\n\r\n%s", session, len(body), body)
	}
	// ask makes a request, and returns the answer as it came.
	ask := func(request []byte) (header http.Header, answer []byte, all int) {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		var came bytes.Buffer
		resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(r, &came)), nil)
		if err != nil {
			b.Fatal(err)
		}
		answer, err = io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 300 {
			b.Fatalf("%s, %v: %s", resp.Status, err, answer)
		}
		return resp.Header, answer, came.Len()
	}
	header, _, _ := ask(post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`))
	session = "Mcp-Session-Id: " + header.Get("Mcp-Session-Id") + "\r\n"
	ask(post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	c := &caller{conn: conn, request: post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("x", 50) + `"}}}`)}
	_, answer, all := ask(c.request)
	c.answer, c.buf = answer, make([]byte, all)
	return c
}
