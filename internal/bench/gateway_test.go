//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// yardstick is what measures a gateway: mcpbench, and the server echosrv beside
// it. Neither is part of this repository.
type yardstick struct{ mcpbench, echosrv string }

func needYardstick(b *testing.B) yardstick {
	b.Helper()
	path := os.Getenv("BERTH_BENCH_MCPBENCH")
	if path == "" {
		b.Skip("this benchmark needs BERTH_BENCH_MCPBENCH; CONTRIBUTING.md says what it is")
	}
	y := yardstick{path, filepath.Join(filepath.Dir(path), "echosrv")}
	for _, file := range []string{y.mcpbench, y.echosrv} {
		if _, err := os.Stat(file); err != nil {
			b.Fatal(err)
		}
	}
	return y
}

// target is an endpoint that is measured.
type target struct{ name, url string }

// figures are mcpbench's of one target: the medians over the rounds, and the
// ratios to the first target in the same round.
type figures struct {
	Name                         string
	P50us, CPS, P50x, P99x, CPSx float64
	Errs                         int
}

// measure has mcpbench call a tool of every target, in turns.
func (y yardstick) measure(b *testing.B, targets []target, sessions, calls, rounds int, args ...string) []figures {
	b.Helper()
	args = append([]string{"-json", "-c", fmt.Sprint(sessions), "-n", fmt.Sprint(calls), "-rounds", fmt.Sprint(rounds)}, args...)
	for _, t := range targets {
		args = append(args, t.name+"="+t.url)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, y.mcpbench, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("mcpbench %q: %v\n%s%s", args, err, out, &stderr)
	}
	var got struct{ Targets []figures }
	if err := json.Unmarshal(out, &got); err != nil || len(got.Targets) != len(targets) {
		b.Fatalf("mcpbench %q printed %s: %v", args, out, err)
	}
	for _, f := range got.Targets {
		if f.Errs > 0 {
			b.Errorf("%s: %d errors: %s", f.Name, f.Errs, &stderr)
		}
	}
	return got.Targets
}

// tbxark runs TBXark's mcp-proxy in front of echosrv where BERTH_BENCH_TBXARK
// names it, and returns its endpoint.
func (y yardstick) tbxark(b *testing.B) []target {
	b.Helper()
	path := os.Getenv("BERTH_BENCH_TBXARK")
	if path == "" {
		b.Log("no comparison with TBXark's mcp-proxy: BERTH_BENCH_TBXARK does not name it")
		return nil
	}
	config := filepath.Join(b.TempDir(), "config.json")
	addr := released.Serve(b, path, func(addr string) []string {
		text := fmt.Sprintf(`{"mcpProxy":{"baseURL":"http://%[1]s","addr":%[1]q,"name":"p","version":"1","type":"streamable-http","options":{"logEnabled":false}},
			"mcpServers":{"echo":{"command":%[2]q}}}`, addr, y.echosrv)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return []string{"--config", config}
	})
	return []target{{"tbxark", "http://" + addr + "/echo/mcp"}}
}

// BenchmarkGateway: calls through Berth against the same server on plain HTTP
// with no gateway, and against TBXark's mcp-proxy.
func BenchmarkGateway(b *testing.B) {
	y := needYardstick(b)
	s := released.NewSite(b, released.Build(b))
	s.Berth("add", "echo", "--profile", "off", "--", y.echosrv)
	targets := append([]target{
		{"http", "http://" + released.Serve(b, y.echosrv, func(addr string) []string { return []string{"-http", addr} }) + "/mcp"},
		{"berth", s.Up().URL + "/servers/echo/mcp"},
	}, y.tbxark(b)...)
	for _, c := range []struct {
		name                    string
		sessions, calls, rounds int
		args                    []string
	}{
		{"1", 1, 2000, 9, nil},
		{"8", 8, 400, 9, nil},
		{"32", 32, 150, 9, nil},
		{"100kB", 1, 500, 9, []string{"-tool", "blob", "-args", `{"bytes":100000}`}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for _, f := range y.measure(b, targets, c.sessions, c.calls, c.rounds, c.args...) {
				b.ReportMetric(f.P50us, f.Name+"-p50-µs")
				if f.Name == targets[0].name {
					continue
				}
				b.ReportMetric(f.P50x, f.Name+"-p50x")
				b.ReportMetric(f.P99x, f.Name+"-p99x")
				b.ReportMetric(f.CPSx, f.Name+"-calls/s-x")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkGatewayMemory: the proportional set size of a gateway with ten
// servers, 30 s after it served one session of each, and 32 of one.
func BenchmarkGatewayMemory(b *testing.B) {
	const n, idle = 10, 30 * time.Second
	y := needYardstick(b)
	s := released.NewSite(b, released.Build(b))
	for i := range n {
		s.Berth("add", fmt.Sprintf("echo%d", i), "--profile", "off", "--", y.echosrv)
	}
	g := s.Up()
	serve := func(server, sessions int) {
		y.measure(b, []target{{"berth", fmt.Sprintf("%s/servers/echo%d/mcp", g.URL, server)}}, sessions, 200, 1)
	}
	for i := range n {
		serve(i, 1)
	}
	time.Sleep(idle)
	one := pss(b, g.PID)
	serve(0, 32)
	time.Sleep(idle)
	many := pss(b, g.PID)
	b.ReportMetric(one, "MiB-PSS-1")
	b.ReportMetric(many, "MiB-PSS-32")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkGatewayFirstList: the tools of a server that has no process, on a
// warm connection, against /healthz.
func BenchmarkGatewayFirstList(b *testing.B) {
	const rounds = 300
	y := needYardstick(b)
	s := released.NewSite(b, released.Build(b))
	s.Berth("add", "echo", "--profile", "off", "--", y.echosrv)
	g := s.Up()
	client := &http.Client{Timeout: 30 * time.Second}
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	ask := func(method, url, body, part string) time.Duration {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if body != "" {
			req.Header = http.Header{
				"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
				"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/list"},
			}
		}
		begun := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		took := time.Since(begun)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), part) {
			b.Fatalf("%s %s: %s, %v: %s", method, url, resp.Status, err, answer)
		}
		return took
	}
	var lists, healths []time.Duration
	for i := range rounds + 20 {
		health := ask("GET", g.URL+"/healthz", "", "")
		first := ask("POST", g.URL+"/servers/echo/mcp", list, `"echo"`)
		if i >= 20 { // warm by now
			healths, lists = append(healths, health), append(lists, first)
		}
	}
	var st []struct{ PID int }
	if err := json.Unmarshal([]byte(s.Berth("status", "--json")), &st); err != nil || len(st) != 1 || st[0].PID != 0 {
		b.Fatalf("the server was to have no process: %+v, %v", st, err)
	}
	b.ReportMetric(ratio(median(lists), median(healths)), "ratio-p50")
	b.ReportMetric(float64(median(lists).Microseconds()), "µs-p50")
	b.ReportMetric(0, "ns/op")
}
