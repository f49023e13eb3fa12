package bridge

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// raw is JSON, or nil for "".
func raw(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

const (
	meta2026 = `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`
	metaCaps = `"io.modelcontextprotocol/clientCapabilities":{}`
)

func TestToModern(t *testing.T) {
	full := Client{Capabilities: []byte(`{"sampling":{},"tasks":{"list":{}},"x":1e400}`), Info: []byte(`{"name":"c","version":"1"}`), LogLevel: []byte(`"debug"`)}
	const said = meta2026 + `,"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"x":1e400},"io.modelcontextprotocol/logLevel":"debug"`
	for _, tt := range []struct {
		name, params string
		c            Client
		want         string
	}{
		{"no params", "", Client{}, `{"_meta":{` + meta2026 + `,` + metaCaps + `}}`},
		{"everything", `{"name":"t","arguments":{"n":9007199254740993}}`, full, `{"name":"t","arguments":{"n":9007199254740993},"_meta":{` + said + `}}`},
		{"what is in _meta stays", `{"_meta":{"progressToken": 7 ,"traceparent":"00"},"name":"t"}`, Client{}, `{"_meta":{"progressToken": 7 ,"traceparent":"00",` + meta2026 + `,` + metaCaps + `},"name":"t"}`},
		{"a legacy client says nothing of its own there", `{"_meta":{"io.modelcontextprotocol/logLevel":"info","io.modelcontextprotocol/protocolVersion":"x"}}`, Client{}, `{"_meta":{` + meta2026 + `,` + metaCaps + `}}`},
		{"no tasks", `{"name":"t","task":{"ttl":1}}`, Client{}, `{"name":"t","_meta":{` + meta2026 + `,` + metaCaps + `}}`},
		{"nor their extension", "", Client{Capabilities: []byte(`{"extensions":{"io.modelcontextprotocol/tasks":{}}}`)}, `{"_meta":{` + meta2026 + `,` + metaCaps + `}}`},
		{"other extensions stay", "", Client{Capabilities: []byte(`{"extensions":{"io.modelcontextprotocol/tasks":{}, "io.modelcontextprotocol/ui":{}}}`)}, `{"_meta":{` + meta2026 + `,"io.modelcontextprotocol/clientCapabilities":{"extensions":{ "io.modelcontextprotocol/ui":{}}}}}`},
		{"not an object", `[1]`, full, `[1]`},
		{"_meta is no object", `{"_meta":7}`, full, `{"_meta":7}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ToModern(raw(tt.params), tt.c); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestToLegacy(t *testing.T) {
	for _, tt := range []struct{ name, params, want string }{
		{"no params", "", ""},
		{"the envelope goes", `{"_meta":{` + meta2026 + `,"io.modelcontextprotocol/clientInfo":{},` + metaCaps + `,"io.modelcontextprotocol/logLevel":"info"},"cursor":"a"}`, `{"cursor":"a"}`},
		{"the rest of _meta stays", `{"_meta":{` + meta2026 + `,"progressToken":"p", "traceparent":"00",` + metaCaps + `}}`, `{"_meta":{"progressToken":"p", "traceparent":"00"}}`},
		{"a retry becomes a call", `{"name":"t","inputResponses":{"a":{}},"requestState":"s", "arguments":{}}`, `{"name":"t", "arguments":{}}`},
		{"an empty _meta that was there stays", `{"_meta":{}}`, `{"_meta":{}}`},
		{"one of two _meta", `{"_meta":{` + meta2026 + `},"_meta":{"a":1}}`, `{"_meta":{"a":1}}`},
		{"not an object", `"x"`, `"x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ToLegacy(raw(tt.params)); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestClientOf(t *testing.T) {
	c, version, ok := ClientOf(ToModern(nil, Client{Capabilities: []byte(`{"roots":{}}`), Info: []byte(`{"name":"n"}`), LogLevel: []byte(`"info"`)}))
	if !ok || version != Modern || string(c.Capabilities) != `{"roots":{}}` || string(c.Info) != `{"name":"n"}` || string(c.LogLevel) != `"info"` {
		t.Errorf("%s, %s, %s, %q, %v", c.Capabilities, c.Info, c.LogLevel, version, ok)
	}
	for _, params := range []string{"", "{}", `{"_meta":{}}`, `{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}`, "[]"} {
		if _, _, ok := ClientOf(raw(params)); ok {
			t.Errorf("%s is modern", params)
		}
	}
}

func TestCheckMeta(t *testing.T) {
	for _, tt := range []struct {
		params string
		code   int64
		says   string
	}{
		{`{"_meta":{` + meta2026 + `,` + metaCaps + `}}`, 0, ""},
		{`{"_meta":{` + meta2026 + `,` + metaCaps + `,"io.modelcontextprotocol/clientInfo":{}}}`, 0, ""},
		{"", jsonrpc.CodeInvalidParams, "protocolVersion"},
		{`{"_meta":{` + metaCaps + `}}`, jsonrpc.CodeInvalidParams, "protocolVersion"},
		{`{"_meta":{` + meta2026 + `}}`, jsonrpc.CodeInvalidParams, "clientCapabilities"},
		{`{"_meta":{` + meta2026 + `,"io.modelcontextprotocol/clientCapabilities":[]}}`, jsonrpc.CodeInvalidParams, "clientCapabilities"},
		{`{"_meta":{` + meta2026 + `,` + metaCaps + `,"io.modelcontextprotocol/clientInfo":"x"}}`, jsonrpc.CodeInvalidParams, "clientInfo"},
		{`{"_meta":{"io.modelcontextprotocol/protocolVersion":"v9\"",` + metaCaps + `}}`, jsonrpc.CodeUnsupportedProtocolVersion, "v9"},
		{`{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25",` + metaCaps + `}}`, jsonrpc.CodeUnsupportedProtocolVersion, "2025-11-25"},
	} {
		e := CheckMeta(raw(tt.params))
		if (e == nil) != (tt.code == 0) || e != nil && (e.Code != tt.code || !strings.Contains(e.Message, tt.says)) {
			t.Errorf("%s: %v", tt.params, e)
		}
		if e == nil || e.Code != jsonrpc.CodeUnsupportedProtocolVersion {
			continue
		}
		var data struct {
			Supported []string
			Requested string
		}
		if err := json.Unmarshal(e.Data, &data); err != nil || len(data.Supported) != 5 || !strings.HasPrefix(data.Requested, tt.says) {
			t.Errorf("%s: data %s", tt.params, e.Data)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		version           string
		supported, modern bool
		negotiated        string
		batches           bool
	}{
		{"2024-11-05", true, false, "2024-11-05", true},
		{"2025-03-26", true, false, "2025-03-26", true},
		{"2025-06-18", true, false, "2025-06-18", false},
		{"2025-11-25", true, false, "2025-11-25", false},
		{"2026-07-28", true, true, "2025-11-25", false},
		{"2030-01-01", false, true, "2025-11-25", false},
		{"2025-01-01", false, false, "2025-11-25", true},
		{"", false, false, "2025-11-25", true},
	} {
		if Supported(tt.version) != tt.supported || IsModern(tt.version) != tt.modern || Negotiate(tt.version) != tt.negotiated || Batches(tt.version) != tt.batches {
			t.Errorf("%q: %v, %v, %q, %v", tt.version, Supported(tt.version), IsModern(tt.version), Negotiate(tt.version), Batches(tt.version))
		}
	}
	for _, v := range AllVersions() {
		if !Supported(v) {
			t.Errorf("%s is not supported", v)
		}
	}
	if got := strings.Join(Versions(), " "); got != "2025-11-25 2025-06-18 2025-03-26 2024-11-05" {
		t.Errorf("legacy: %s", got)
	}
}

func TestCrosses(t *testing.T) {
	for method, want := range map[string]bool{
		"tools/call": true, "tools/list": true, "prompts/get": true, "resources/read": true, "completion/complete": true,
		"vendor/method": true, "notifications/progress": true, "notifications/cancelled": true, "notifications/message": true,
		"initialize": false, "ping": false, "logging/setLevel": false, "resources/subscribe": false, "resources/unsubscribe": false,
		"server/discover": false, "subscriptions/listen": false, "tasks/get": false, "tasks/list": false, "tasks/update": false,
		"notifications/elicitation/complete": false, "notifications/subscriptions/acknowledged": false,
	} {
		if Crosses(method) != want {
			t.Errorf("%s: %v", method, !want)
		}
	}
}

func TestSeverity(t *testing.T) {
	last := -1
	for _, level := range []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"} {
		n, ok := Severity(level)
		if !ok || n <= last {
			t.Errorf("%s: %d, %v", level, n, ok)
		}
		last = n
	}
	if n, ok := Severity("Debug"); ok {
		t.Errorf("Debug: %d", n)
	}
}
