//go:build linux

package conformance

import (
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// TestSuiteRemote runs the official suite through Berth at the server of the Go SDK
// that is reached by HTTP: with sessions, which is the legacy era, and without.
func TestSuiteRemote(t *testing.T) {
	o := switchedOn(t)
	bin := released.Build(t)
	b := readBaseline(t)
	path := dual.build(t)
	for name, args := range map[string][]string{"remote-legacy": {"-stateless=false"}, "remote-modern": nil} {
		t.Run(name, func(t *testing.T) {
			s := released.NewSite(t, bin)
			s.Berth("add", "conf", "--url", serve(t, path, args...))
			defer s.Logs("conf")
			url := s.Up().URL + "/servers/conf/mcp"
			for _, revision := range []string{legacy, modern} {
				o.check(t, url, revision, b[[2]string{name, revision}])
			}
		})
	}
}

// TestRemoteEverything is the reference server by each of its two ways of HTTP.
func TestRemoteEverything(t *testing.T) {
	o := switchedOn(t)
	bin := released.Build(t)
	script := o.script(t, "@modelcontextprotocol/server-everything/dist/index.js")
	for mode, path := range map[string]string{"streamableHttp": "/mcp", "sse": "/sse"} {
		t.Run(mode, func(t *testing.T) {
			addr := released.Serve(t, "env", func(addr string) []string {
				return []string{"PORT=" + addr[strings.LastIndexByte(addr, ':')+1:], o.node, script, mode}
			})
			s := released.NewSite(t, bin)
			defer s.Logs("far")
			if got := s.Berth("add", "far", "--url", "http://"+addr+path); !strings.Contains(got, "mcp-servers/everything") {
				t.Errorf("add printed %q", got)
			}
			if got := s.Berth("call", "far", "echo", `{"message":"hi"}`); got != "Echo: hi\n" {
				t.Errorf("call printed %q", got)
			}
			if got := s.Berth("call", "far", "get-sum", `{"a":40,"b":2}`); !strings.Contains(got, "42") {
				t.Errorf("get-sum printed %q", got)
			}
			if got := s.Berth("call", "far", "trigger-long-running-operation", `{"duration":1,"steps":4}`); !strings.Contains(got, "completed") {
				t.Errorf("the long operation printed %q", got)
			}
		})
	}
}
