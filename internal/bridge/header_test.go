package bridge

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
)

const regionSchema = `{"type":"object","properties":{
	"region":{"type":"string","x-mcp-header":"Region"},
	"count":{"type":"integer","x-mcp-header":"Count"},
	"dry":{"type":"boolean","x-mcp-header":"Dry"},
	"deep":{"type":"object","properties":{"er":{"type":"string","x-mcp-header":"Deep"}}},
	"bad":{"type":"string","x-mcp-header":"not a token"},
	"worse":{"type":"object","x-mcp-header":"Worse"},
	"plain":{"type":"string"}}}`

func TestParamHeaders(t *testing.T) {
	if got := fmt.Sprint(ParamHeaders([]byte(regionSchema))); got != "[{[region] Region} {[count] Count} {[dry] Dry} {[deep er] Deep}]" {
		t.Errorf("got %s", got)
	}
	for _, schema := range []string{"", "{}", `{"properties":[]}`, `{"properties":{"x-mcp-header":{"type":"string"}}}`, `{"x-mcp-header":"A","type":"string"}`} {
		if got := ParamHeaders(raw(schema)); got != nil {
			t.Errorf("%s: %v", schema, got)
		}
	}
	deep := strings.Repeat(`{"properties":{"a":`, 100) + `{"type":"string","x-mcp-header":"A"}` + strings.Repeat(`}}`, 100)
	if got := ParamHeaders([]byte(deep)); got != nil {
		t.Errorf("at depth 100: %v", got)
	}
}

func TestCheckHeaders(t *testing.T) {
	schema := func(tool string) []byte {
		if tool == "t" {
			return []byte(regionSchema)
		}
		return nil
	}
	const ok = `"_meta":{` + meta2026 + `,` + metaCaps + `}`
	call := func(arguments string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":` + arguments + `,` + ok + `}}`
	}
	const base = "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: t\n"
	for _, tt := range []struct {
		name, headers, line string
		code                int64
		says                string
	}{
		{"a list", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/list", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + ok + `}}`, 0, ""},
		{"blanks", "MCP-Protocol-Version: \t2026-07-28 \nMcp-Method:   tools/call  \nMcp-Name:   t  ", call("{}"), 0, ""},
		{"no version", "Mcp-Method: tools/call\nMcp-Name: t", call("{}"), jsonrpc.CodeHeaderMismatch, "MCP-Protocol-Version is missing"},
		{"no meta", base, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`, jsonrpc.CodeInvalidParams, "protocolVersion"},
		{"no params", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/list", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, jsonrpc.CodeInvalidParams, "protocolVersion"},
		{"no capabilities", base, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{` + meta2026 + `}}}`, jsonrpc.CodeInvalidParams, "clientCapabilities"},
		{"another version", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: a", `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v9"}}}`, jsonrpc.CodeHeaderMismatch, `"v9"`},
		{"an unknown version", "MCP-Protocol-Version: v9\nMcp-Method: a", `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v9",` + metaCaps + `}}}`, jsonrpc.CodeUnsupportedProtocolVersion, `"v9"`},
		{"no method", "MCP-Protocol-Version: 2026-07-28\nMcp-Name: t", call("{}"), jsonrpc.CodeHeaderMismatch, "Mcp-Method is missing"},
		{"another method", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: TOOLS/CALL\nMcp-Name: t", call("{}"), jsonrpc.CodeHeaderMismatch, `Mcp-Method says "TOOLS/CALL"`},
		{"no name", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call", call("{}"), jsonrpc.CodeHeaderMismatch, "Mcp-Name is missing"},
		{"another name", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: u", call("{}"), jsonrpc.CodeHeaderMismatch, `Mcp-Name says "u"`},
		{"two names", base + "Mcp-Name: u", call("{}"), jsonrpc.CodeHeaderMismatch, "more than once"},
		{"two methods", base + "Mcp-Method: tools/call", call("{}"), jsonrpc.CodeHeaderMismatch, "more than once"},
		{"two versions", base + "MCP-Protocol-Version: 2026-07-28", call("{}"), jsonrpc.CodeHeaderMismatch, "more than once"},
		{"a name nobody gave", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: u", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + ok + `}}`, jsonrpc.CodeHeaderMismatch, "Mcp-Name"},
		{"no name at all", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + ok + `}}`, 0, ""},
		{"a name in Base64", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: prompts/get\nMcp-Name: =?base64?w6k=?=", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"é",` + ok + `}}`, 0, ""},
		{"a name in bad Base64", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: prompts/get\nMcp-Name: =?base64?w6k?=", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"é",` + ok + `}}`, jsonrpc.CodeHeaderMismatch, "Base64"},
		{"a resource", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: resources/read\nMcp-Name: file:///a", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a",` + ok + `}}`, 0, ""},
		{"a task", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tasks/get\nMcp-Name: x", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"y",` + ok + `}}`, jsonrpc.CodeHeaderMismatch, `"y"`},
		{"a method without names", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: a\nMcp-Name: x", `{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"y",` + ok + `}}`, 0, ""},
		{"a tool that is not known", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: u\nMcp-Param-Region: x", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u",` + ok + `}}`, 0, ""},
		{"a notification", "", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, 0, ""},
		{"a notification by another name", "Mcp-Method: a", `{"jsonrpc":"2.0","method":"b"}`, jsonrpc.CodeHeaderMismatch, "Mcp-Method"},
		{"a notification of another version", "MCP-Protocol-Version: 2026-07-28", `{"jsonrpc":"2.0","method":"b","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v9"}}}`, jsonrpc.CodeHeaderMismatch, "v9"},

		{"arguments", base + "Mcp-Param-Region: eu\nMcp-Param-Count: 42\nMcp-Param-Dry: true\nMcp-Param-Deep: d", call(`{"region":"eu","count":42.0,"dry":true,"deep":{"er":"d"}}`), 0, ""},
		{"an argument in Base64", base + "Mcp-Param-Region: =?base64?SGVsbG8=?=", call(`{"region":"Hello"}`), 0, ""},
		{"bad padding", base + "Mcp-Param-Region: =?base64?SGVsbG8?=", call(`{"region":"Hello"}`), jsonrpc.CodeHeaderMismatch, "Base64"},
		{"bad characters", base + "Mcp-Param-Region: =?base64?SGVs!!!bG8=?=", call(`{"region":"Hello"}`), jsonrpc.CodeHeaderMismatch, "Base64"},
		{"bad bits", base + "Mcp-Param-Region: =?base64?SGVsbG9=?=", call(`{"region":"Hello"}`), jsonrpc.CodeHeaderMismatch, "Base64"},
		{"not text", base + "Mcp-Param-Region: =?base64?/w==?=", call(`{"region":"Hello"}`), jsonrpc.CodeHeaderMismatch, "Base64"},
		{"Base64 without its beginning", base + "Mcp-Param-Region: SGVsbG8=", call(`{"region":"SGVsbG8="}`), 0, ""},
		{"Base64 without its end", base + "Mcp-Param-Region: =?base64?SGVsbG8=", call(`{"region":"=?base64?SGVsbG8="}`), 0, ""},
		{"a beginning that is the end", base + "Mcp-Param-Region: =?base64?=", call(`{"region":"=?base64?="}`), 0, ""},
		{"an argument without its header", base, call(`{"region":"x"}`), jsonrpc.CodeHeaderMismatch, "Mcp-Param-Region is missing"},
		{"a deep argument without its header", base, call(`{"deep":{"er":"x"}}`), jsonrpc.CodeHeaderMismatch, "Mcp-Param-Deep is missing"},
		{"null needs none", base, call(`{"region":null}`), 0, ""},
		{"a header without its argument", base + "Mcp-Param-Region: x", call(`{"region":null}`), jsonrpc.CodeHeaderMismatch, "argument region"},
		{"another value", base + "Mcp-Param-Region: us", call(`{"region":"eu"}`), jsonrpc.CodeHeaderMismatch, `"us"`},
		{"two values", base + "Mcp-Param-Region: eu\nMcp-Param-Region: us", call(`{"region":"eu"}`), jsonrpc.CodeHeaderMismatch, "more than once"},
		{"an empty value", base + "Mcp-Param-Region: ", call(`{"region":""}`), 0, ""},
		{"a number in other words", base + "Mcp-Param-Count: 1e2", call(`{"count":100}`), 0, ""},
		{"another number", base + "Mcp-Param-Count: 41", call(`{"count":42}`), jsonrpc.CodeHeaderMismatch, `"41"`},
		{"no JSON number", base + "Mcp-Param-Count: 0x2A", call(`{"count":42}`), jsonrpc.CodeHeaderMismatch, "Count"},
		{"not a number", base + "Mcp-Param-Count: \"42\"", call(`{"count":42}`), jsonrpc.CodeHeaderMismatch, "Count"},
		{"a number that clients cannot tell", base, call(`{"count":9007199254740993}`), 0, ""},
		{"its neighbour", base + "Mcp-Param-Count: 9007199254740992", call(`{"count":9007199254740993}`), jsonrpc.CodeHeaderMismatch, "Count"},
		{"the same", base + "Mcp-Param-Count: 9007199254740993", call(`{"count":9007199254740993}`), 0, ""},
		{"a boolean", base + "Mcp-Param-Dry: True", call(`{"dry":true}`), jsonrpc.CodeHeaderMismatch, "Dry"},
		{"a boolean, missing", base, call(`{"dry":false}`), jsonrpc.CodeHeaderMismatch, "Dry is missing"},
		{"what no header can say", base, call(`{"region":{"a":1}}`), 0, ""},
		{"and one that tries", base + `Mcp-Param-Region: {"a":1}`, call(`{"region":{"a":1}}`), jsonrpc.CodeHeaderMismatch, "Region"},
		{"what has no header", base, call(`{"plain":"x"}`), 0, ""},
		{"headers of nothing", base + "Mcp-Param-Other: x", call(`{}`), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := make(http.Header)
			for line := range strings.Lines(tt.headers) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
				h.Add(name, value)
			}
			m, err := jsonrpc.Parse([]byte(tt.line))
			if err != nil {
				t.Fatal(err)
			}
			e := CheckHeaders(h, m, schema)
			if (e == nil) != (tt.code == 0) || e != nil && (e.Code != tt.code || !strings.Contains(e.Message, tt.says)) {
				t.Errorf("got %v, want %d %q", e, tt.code, tt.says)
			}
		})
	}
}

func TestHeaderMismatchIsShort(t *testing.T) {
	h := http.Header{"Mcp-Protocol-Version": {Modern}, "Mcp-Method": {strings.Repeat("x", 1<<20)}}
	m, err := jsonrpc.Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{` + meta2026 + `,` + metaCaps + `}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e := CheckHeaders(h, m, nil); e == nil || len(e.Message) > 1000 {
		t.Errorf("got %.100v", e)
	}
}

// TestSetHeaders: what is set is what is checked.
func TestSetHeaders(t *testing.T) {
	schema := []byte(`{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},
		"deep":{"properties":{"b":{"type":"boolean","x-mcp-header":"B"}}},"plain":{"type":"string"}}}`)
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	for _, c := range []struct {
		line string
		want map[string]string // of those that are set besides version and method; "-" is none
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`, map[string]string{HeaderName: "-"}},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///é",` + meta + `}}`, map[string]string{HeaderName: "=?base64?ZmlsZTovLy/DqQ==?="}},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"region":" eu\n","n":42.0,"deep":{"b":true},"plain":"p"},` + meta + `}}`,
			map[string]string{HeaderName: "x", "Mcp-Param-Region": "=?base64?IGV1Cg==?=", "Mcp-Param-N": "42.0", "Mcp-Param-B": "true", "Mcp-Param-Plain": "-"}},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?eA==?=","arguments":{"region":"","n":9007199254740993,"deep":null},` + meta + `}}`,
			map[string]string{HeaderName: "=?base64?PT9iYXNlNjQ/ZUE9PT89?=", "Mcp-Param-Region": "=?base64??=", "Mcp-Param-N": "-", "Mcp-Param-B": "-"}},
	} {
		m, err := jsonrpc.Parse([]byte(c.line))
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		SetHeaders(h, m, ParamHeaders(schema))
		if e := CheckHeaders(h, m, func(string) []byte { return schema }); e != nil {
			t.Errorf("%s: %v, with %v", c.line, e, h)
		}
		for name, want := range c.want {
			if got := h.Get(name); got != want && (want != "-" || h.Values(name) != nil) {
				t.Errorf("%s: %s is %q, want %q", c.line, name, got, want)
			}
		}
	}
}
