package bridge

import (
	"slices"
	"testing"
)

const (
	info     = `{"name":"s","version":"1"}`
	metaInfo = `"_meta":{"io.modelcontextprotocol/serverInfo":` + info + `}`
)

func TestResultToModern(t *testing.T) {
	for _, tt := range []struct{ name, method, result, want string }{
		{"a call", "tools/call", `{"content":[], "x":9007199254740993}`, `{"content":[], "x":9007199254740993,"resultType":"complete",` + metaInfo + `}`},
		{"a list", "prompts/list", `{"prompts":[]}`, `{"prompts":[],"resultType":"complete","ttlMs":0,"cacheScope":"private",` + metaInfo + `}`},
		{"what a legacy server says of the other era", "resources/read", `{"ttlMs":5,"contents":[],"resultType":"task"}`, `{"ttlMs":0,"contents":[],"resultType":"complete","cacheScope":"private",` + metaInfo + `}`},
		{"_meta", "tools/call", `{"_meta":{"a":1},"content":[]}`, `{"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":` + info + `},"content":[],"resultType":"complete"}`},
		{"it says who it is", "tools/call", `{"_meta":{"io.modelcontextprotocol/serverInfo":{}}}`, `{"_meta":{"io.modelcontextprotocol/serverInfo":{}},"resultType":"complete"}`},
		{"tools and tasks", "tools/list", `{"tools":[{"name":"a","execution":{"taskSupport":"optional"}}, {"name":"b","execution":{"taskSupport":"required"}},{"name":"c","execution":{"taskSupport":"forbidden","x":1}},{"name":"d"}],"nextCursor":"n"}`,
			`{"tools":[{"name":"a"},{"name":"c","execution":{"x":1}},{"name":"d"}],"nextCursor":"n","resultType":"complete","ttlMs":0,"cacheScope":"private",` + metaInfo + `}`},
		{"tasks in disguise", "tools/list", `{"tools":[{"name":"b","e\u0078ecution":{"task\u0053upport":"required"}}]}`, `{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private",` + metaInfo + `}`},
		{"not an object", "x/y", `[1]`, `[1]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ResultToModern(tt.method, []byte(tt.result), Server{Info: []byte(info)}); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := ResultToModern("tools/call", []byte(`{}`), Server{}); string(got) != `{"resultType":"complete"}` {
		t.Errorf("an unknown server: %s", got)
	}
}

func TestTaskTools(t *testing.T) {
	got := TaskTools([]byte(`{"tools":[{"name":"a","execution":{"taskSupport":"optional"}},{"name":"b\n","execution":{"taskSupport":"required"}},{"execution":{"taskSupport":"required"}}]}`))
	if !slices.Equal(got, []string{"b\n", ""}) {
		t.Errorf("got %q", got)
	}
	if got := TaskTools([]byte(`{"tools":[{"name":"a"}]}`)); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestResultToLegacy(t *testing.T) {
	for _, tt := range []struct{ name, method, result, want string }{
		{"a call", "tools/call", `{"resultType":"complete","content":[], "x":9007199254740993,` + metaInfo + `}`, `{"content":[], "x":9007199254740993}`},
		{"a list", "tools/list", `{"resultType":"complete","tools":[],"ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{},"a":1}}`, `{"tools":[],"_meta":{"a":1}}`},
		{"a member of the server's own", "vendor/x", `{"resultType":"complete","ttlMs":5}`, `{"ttlMs":5}`},
		{"nothing to remove", "tools/call", `{"content":[]}`, `{"content":[]}`},
		{"tasks", "tools/list", `{"tools":[{"name":"a","execution":{"taskSupport":"required"}}]}`, `{"tools":[{"name":"a"}]}`},
		{"schemas of results", "tools/list", `{"tools":[{"name":"a","outputSchema":{"type":"object","x":1}},{"name":"b","outputSchema":{"type":"array"}},{"name":"c","outputSchema":{"anyOf":[]},"z":1}]}`,
			`{"tools":[{"name":"a","outputSchema":{"type":"object","x":1}},{"name":"b"},{"name":"c","z":1}]}`},
		{"structured content that is no object", "tools/call", `{"content":[],"structuredContent":[1, 2]}`, `{"content":[{"type":"text","text":"[1, 2]"}],"structuredContent":{"result":[1, 2]}}`},
		{"with other content", "tools/call", `{"content":[{"type":"image","data":"","mimeType":""}],"structuredContent":null}`, `{"content":[{"type":"image","data":"","mimeType":""},{"type":"text","text":"null"}],"structuredContent":{"result":null}}`},
		{"with text", "tools/call", `{"content":[{"type":"text","text":"two"}],"structuredContent":2}`, `{"content":[{"type":"text","text":"two"}],"structuredContent":{"result":2}}`},
		{"content that is no list", "tools/call", `{"content":7,"structuredContent":1}`, `{"content":7,"structuredContent":{"result":1}}`},
		{"no content", "tools/call", `{"structuredContent":1}`, `{"structuredContent":{"result":1},"content":[{"type":"text","text":"1"}]}`},
		{"structured content", "tools/call", `{"content":[],"structuredContent":{"a":1}}`, `{"content":[],"structuredContent":{"a":1}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ResultToLegacy(tt.method, []byte(tt.result)); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestResultType(t *testing.T) {
	for result, want := range map[string]string{
		`{}`: "complete", `{"resultType":"complete"}`: "complete", `{"resultType":"input_required"}`: "input_required",
		`{"resultType":"task"}`: "task", `{"resultType":1}`: "", `{"resultType":null}`: "", `[]`: "complete",
	} {
		if got := ResultType([]byte(result)); got != want {
			t.Errorf("%s: %q", result, got)
		}
	}
}

func TestDowngrade(t *testing.T) {
	const audio = `{"type":"audio","data":"AAAA","mimeType":"audio/wav","annotations":{"priority":1}, "x":1}`
	const link = `{"type":"resource_link","uri":"file:///a","name":"a","title":"The a","description":"says\"a\"","y":[]}`
	const audioText = `{"type":"text","annotations":{"priority":1}, "x":1,"text":"[audio, audio/wav, 4 bytes in base64: revision 2024-11-05 of MCP cannot carry it]"}`
	const linkText = `{"type":"text","uri":"file:///a","name":"a","title":"The a","description":"says\"a\"","y":[],"text":"The a: file:///a\nsays\"a\""}`
	for _, tt := range []struct{ name, version, method, result, want string }{
		{"2025-06-18 knows all", v2506, "tools/call", `{"content":[` + audio + `,` + link + `]}`, `{"content":[` + audio + `,` + link + `]}`},
		{"2025-03-26 knows no links", v2503, "tools/call", `{"content":[` + audio + `, ` + link + ` ],"isError":true}`, `{"content":[` + audio + `, ` + linkText + ` ],"isError":true}`},
		{"2024-11-05 knows no audio", v2024, "tools/call", `{"content":[` + audio + `,{"type":"future"}]}`, `{"content":[` + audioText + `,{"type":"future"}]}`},
		{"prompts", v2024, "prompts/get", `{"messages":[{"role":"user","content":` + audio + `},{"role":"user","content":` + link + `},{}]}`, `{"messages":[{"role":"user","content":` + audioText + `},{"role":"user","content":` + linkText + `},{}]}`},
		{"sampling", v2024, "sampling/createMessage", `{"messages":[{"role":"user","content":` + audio + `}],"maxTokens":1}`, `{"messages":[{"role":"user","content":` + audioText + `}],"maxTokens":1}`},
		{"structured content alone", v2503, "tools/call", `{"content":[],"structuredContent":{"a":1}}`, `{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}`},
		{"other methods", v2024, "resources/read", `{"content":[` + audio + `]}`, `{"content":[` + audio + `]}`},
		{"no content", v2024, "tools/call", `{"a":1}`, `{"a":1}`},
		{"no messages", v2024, "prompts/get", `{"a":1}`, `{"a":1}`},
		{"a link to nowhere", v2024, "tools/call", `{"content":[{"type":"resource_link"},{"type":"audio"}]}`, `{"content":[{"type":"text","text":""},{"type":"text","text":"[audio, of unknown type, 0 bytes in base64: revision 2024-11-05 of MCP cannot carry it]"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Downgrade(tt.version, tt.method, []byte(tt.result)); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHandshakes(t *testing.T) {
	const initialize = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"serverInfo":` + info + `,"instructions":"do","x":9007199254740993}`
	const discover = `{"capabilities":{"tools":{"listChanged":true},"logging":{}},"instructions":"do","x":9007199254740993,"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"resultType":"complete","ttlMs":0,"cacheScope":"private",` + metaInfo + `}`
	if got := DiscoverResult([]byte(initialize)); string(got) != discover {
		t.Errorf("got  %s\nwant %s", got, discover)
	}
	const back = `{"capabilities":{"tools":{"listChanged":true},"logging":{}},"instructions":"do","x":9007199254740993,"protocolVersion":"2025-03-26","serverInfo":` + info + `}`
	if got := InitializeResult([]byte(discover), v2503); string(got) != back {
		t.Errorf("got  %s\nwant %s", got, back)
	}
	if got := InitializeResult([]byte(`{"supportedVersions":[]}`), v2511); string(got) != `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"unknown","version":"unknown"}}` {
		t.Errorf("of a server that says nothing: %s", got)
	}
	if got := DiscoverResult([]byte(`{}`)); string(got) != `{"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"capabilities":{},"resultType":"complete","ttlMs":0,"cacheScope":"private"}` {
		t.Errorf("of a server that says nothing: %s", got)
	}
	if got := InitializeFor([]byte(`{"protocolVersion":"2025-11-25","capabilities":{"tasks":{}}, "x":1}`), v2024); string(got) != `{"protocolVersion":"2024-11-05","capabilities":{"tasks":{}}, "x":1}` {
		t.Errorf("for an older client: %s", got)
	}
}
