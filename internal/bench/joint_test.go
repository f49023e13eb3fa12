//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/released"
)

// toolsVar has this binary be an MCP server with so many tools.
const toolsVar = "BERTH_BENCH_TOOLS"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(toolsVar)); err == nil {
		os.Exit(serveTools(n))
	}
	if os.Getenv(opensVar) != "" {
		os.Exit(timeOpens())
	}
	os.Exit(m.Run())
}

// serveTools is an MCP server of the legacy era on stdin and stdout.
func serveTools(n int) int {
	var list strings.Builder
	for i := range n {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"name":"tool_%d","description":%q,"inputSchema":{"type":"object","properties":{"text":{"type":"string","description":"what it is about"},"limit":{"type":"integer","minimum":1}},"required":["text"]}}`,
			i, strings.Repeat("does something useful with the text that it is given; ", 4))
	}
	in := jsonrpc.NewReader(os.Stdin, 1<<20)
	for {
		line, err := in.Next()
		if err != nil {
			return 0
		}
		m, err := jsonrpc.Parse(line)
		if err != nil || m.Kind != jsonrpc.Request {
			continue
		}
		result := ""
		switch m.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"tools","version":"1"}}`
		case "tools/list":
			result = `{"tools":[` + list.String() + `]}`
		case "tools/call":
			result = `{"content":[{"type":"text","text":"done"}]}`
		}
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
		if result != "" {
			answer = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
		}
		if _, err := io.WriteString(os.Stdout, answer+"\n"); err != nil {
			return 0
		}
	}
}

// visitor is a legacy client at one address.
type visitor struct {
	b            *testing.B
	url, session string
}

func visit(b *testing.B, url string) *visitor {
	v := &visitor{b: b, url: url}
	r, _ := v.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"b","version":"1"}}}`)
	v.session = r.Header.Get("Mcp-Session-Id")
	return v
}

// post makes a request and returns the answer, whose bytes are n.
func (v *visitor) post(body string) (r *http.Response, n int) {
	req, err := http.NewRequest(http.MethodPost, v.url, strings.NewReader(body))
	if err != nil {
		v.b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if v.session != "" {
		req.Header.Set("Mcp-Session-Id", v.session)
	}
	r, err = http.DefaultClient.Do(req)
	if err != nil {
		v.b.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(bufio.NewReader(r.Body))
	if err != nil || !bytes.Contains(answer, []byte(`"result"`)) {
		v.b.Fatalf("%v: %.300s", err, answer)
	}
	return r, len(answer)
}

// BenchmarkJoint: a call at the address of all servers against one at the address of
// its server, with 1 server of 500 tools and with 20 of 25 each; and the list of all
// 500 tools against that of one server with as many, and that of one of the twenty.
// They take turns, and the ratios are of medians.
func BenchmarkJoint(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, servers := range []int{1, 20} {
		b.Run(fmt.Sprint(servers), func(b *testing.B) {
			s := released.NewSite(b, released.Build(b))
			add := func(name string, tools int) {
				s.Berth("add", name, "--profile", "off", "--env", fmt.Sprintf("%s=%d", toolsVar, tools), "--", self)
			}
			add("whole", 500)
			s.Berth("config", "whole", "--set", "berth.listed=false")
			for i := range servers {
				add(fmt.Sprintf("s%d", i), 500/servers)
			}
			url := s.Up().URL
			all, one, whole := visit(b, url+"/mcp"), visit(b, url+"/servers/s0/mcp"), visit(b, url+"/servers/whole/mcp")
			call := func(v *visitor, name string) time.Duration {
				begun := time.Now()
				v.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `","arguments":{"text":"x"}}}`)
				return time.Since(begun)
			}
			list := func(v *visitor) time.Duration {
				begun := time.Now()
				v.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
				return time.Since(begun)
			}
			for i := range servers { // each has its process now
				call(all, fmt.Sprintf("s%d_tool_1", i))
			}
			call(whole, "tool_1")
			var joint, direct, merged, single, part []time.Duration
			for range 1500 {
				joint = append(joint, call(all, "s0_tool_1"))
				direct = append(direct, call(one, "tool_1"))
			}
			for range 150 {
				merged, single, part = append(merged, list(all)), append(single, list(whole)), append(part, list(one))
			}
			_, bytes := all.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
			b.ReportMetric(ratio(median(joint), median(direct)), "call-x")
			b.ReportMetric(ratio(median(merged), median(single)), "list-x")
			b.ReportMetric(ratio(median(merged), median(part)), "list-of-one-x")
			b.ReportMetric(float64(bytes), "list-B")
			b.ReportMetric(float64(median(merged).Microseconds()), "list-µs")
			b.ReportMetric(0, "ns/op")
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// BenchmarkJointReturns: the memory and the descriptors of the gateway with 20
// servers, after 1,000 sessions at the address of all that each called one and were
// left idle, after these have ended, and after 100,000 calls.
func BenchmarkJointReturns(b *testing.B) {
	const servers, sessions, calls, clients = 20, 1000, 100000, 16
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	s := released.NewSite(b, released.Build(b))
	for i := range servers {
		s.Berth("add", fmt.Sprintf("s%d", i), "--profile", "off", "--env", toolsVar+"=25", "--", self)
	}
	g := s.Up()
	call := func(v *visitor, server int) {
		v.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s%d_tool_1","arguments":{"text":"x"}}}`, server))
	}
	together := func(n int, f func(client, i int)) {
		var all sync.WaitGroup
		for client := range clients {
			all.Go(func() {
				for i := client; i < n; i += clients {
					f(client, i)
				}
			})
		}
		all.Wait()
		http.DefaultClient.CloseIdleConnections()
	}
	measure := func(what string) {
		// What Go gives back to the system takes its time.
		time.Sleep(30 * time.Second)
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.PID))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(pss(b, g.PID), "MiB-"+what)
		b.ReportMetric(float64(len(fds)), "fds-"+what)
	}
	warm := make([]*visitor, clients)
	together(clients, func(client, _ int) {
		warm[client] = visit(b, g.URL+"/mcp")
		for server := range servers {
			call(warm[client], server)
		}
	})
	measure("before")
	idle := make([]*visitor, sessions)
	together(sessions, func(_, i int) {
		idle[i] = visit(b, g.URL+"/mcp")
		call(idle[i], i%servers)
	})
	measure("idle")
	together(sessions, func(_, i int) { idle[i].end() })
	measure("ended")
	together(calls, func(client, i int) { call(warm[client], i%servers) })
	measure("called")
	b.ReportMetric(0, "ns/op")
}

// end ends the session.
func (v *visitor) end() {
	req, err := http.NewRequest(http.MethodDelete, v.url, http.NoBody)
	if err != nil {
		v.b.Error(err)
		return
	}
	req.Header.Set("Mcp-Session-Id", v.session)
	r, err := http.DefaultClient.Do(req)
	if err != nil || r.StatusCode != http.StatusNoContent {
		v.b.Errorf("%v, %v", r, err)
		return
	}
	r.Body.Close()
}
