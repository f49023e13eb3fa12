package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// translation is one of the functions that make a whole of one era that of the
// other, and the members that it may touch.
type translation struct {
	name    string
	do      func(method, version string, raw []byte) []byte
	touches []string
}

func translations() []translation {
	c := Client{Capabilities: []byte(`{"sampling":{}}`), Info: []byte(info), LogLevel: []byte(`"info"`)}
	s := Server{Info: []byte(info)}
	return []translation{
		{"ToModern", func(_, _ string, raw []byte) []byte { return ToModern(raw, c) }, []string{"_meta", "task"}},
		{"ToLegacy", func(_, _ string, raw []byte) []byte { return ToLegacy(raw) }, []string{"_meta", "inputResponses", "requestState"}},
		{"ResultToModern", func(m, _ string, raw []byte) []byte { return ResultToModern(m, raw, s) }, []string{"_meta", "resultType", "ttlMs", "cacheScope", "tools"}},
		{"ResultToLegacy", func(m, _ string, raw []byte) []byte { return ResultToLegacy(m, raw) }, []string{"_meta", "resultType", "ttlMs", "cacheScope", "tools", "structuredContent", "content"}},
		{"Identify", func(_, _ string, raw []byte) []byte { return Identify(raw, s) }, []string{"_meta"}},
		{"Downgrade", func(m, v string, raw []byte) []byte { return Downgrade(v, m, raw) }, []string{"content", "messages"}},
		{"DiscoverResult", func(_, _ string, raw []byte) []byte { return DiscoverResult(raw) }, []string{"_meta", "resultType", "ttlMs", "cacheScope", "protocolVersion", "serverInfo", "supportedVersions", "capabilities"}},
		{"InitializeResult", func(_, v string, raw []byte) []byte { return InitializeResult(raw, v) }, []string{"_meta", "resultType", "ttlMs", "cacheScope", "protocolVersion", "serverInfo", "supportedVersions", "capabilities"}},
		{"InitializeFor", func(_, v string, raw []byte) []byte { return InitializeFor(raw, v) }, []string{"protocolVersion"}},
		{"ErrorToModern", func(m, _ string, raw []byte) []byte { out, _ := ErrorToModern(m, raw); return out }, []string{"code", "message"}},
		{"ErrorToLegacy", func(m, _ string, raw []byte) []byte { return ErrorToLegacy(m, raw) }, []string{"code"}},
		{"Retry", func(_, _ string, raw []byte) []byte {
			return Retry(raw, map[string][]byte{"a": []byte("{}")}, []byte(`"s"`))
		}, []string{"inputResponses", "requestState"}},
		{"Ask.Legacy", func(m, _ string, raw []byte) []byte { return Ask{Method: m, Params: raw}.Legacy("e") }, []string{"elicitationId"}},
		{"Tag", func(_, _ string, raw []byte) []byte { return Tag(raw, []byte("7")) }, []string{"_meta"}},
		{"Untag", func(_, _ string, raw []byte) []byte { return Untag(raw) }, []string{"_meta"}},
	}
}

// untouched lists the members of an object but for some.
func untouched(raw []byte, touched []string) []string {
	var list []string
	for key, value := range jsonrpc.Members(raw) {
		if !slices.Contains(touched, key) {
			list = append(list, fmt.Sprintf("%q:%s", key, value))
		}
	}
	return list
}

type fataler interface{ Fatalf(string, ...any) }

// checkTranslations: nothing panics, JSON stays JSON, what is not named stays as
// it is, and doing it twice is doing it once.
func checkTranslations(t fataler, method, version string, raw []byte) {
	before := bytes.Clone(raw)
	valid := json.Valid(raw)
	for _, tr := range translations() {
		out := tr.do(method, version, raw)
		if !bytes.Equal(raw, before) {
			t.Fatalf("%s changed what it was given, %q, to %q", tr.name, before, raw)
		}
		if !valid {
			continue
		}
		if !json.Valid(out) {
			t.Fatalf("%s made of %q what is not JSON: %q", tr.name, raw, out)
		}
		if got, want := untouched(out, tr.touches), untouched(raw, tr.touches); !slices.Equal(got, want) {
			t.Fatalf("%s made of %q, %q: the rest is\n%q, not\n%q", tr.name, raw, out, got, want)
		}
		if again := tr.do(method, version, out); !bytes.Equal(again, out) {
			t.Fatalf("%s made of %q first\n%q, then\n%q", tr.name, raw, out, again)
		}
	}
}

func fuzzSeeds() []string {
	return []string{
		"", "null", "[]", "{}", `{"_meta":{}}`, `{"_meta":[]}`, `{"a":1`, "\xff", "{\"a\":\n1}",
		`{"_meta":{` + meta2026 + `,` + metaCaps + `,"progressToken":9007199254740993},"_meta":{"a":1},"name":"t"}`,
		`{"tools":[{"name":"a","execution":{"taskSupport":"required"},"outputSchema":{"type":"array"}},7]}`,
		`{"content":[{"type":"audio"},{"type":"resource_link","uri":"u"}],"structuredContent":[1]}`,
		`{"messages":[{"content":{"type":"audio"}}]}`,
		`{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"s"}`,
		`{"inputResponses":{"a":{"action":"accept"}},"requestState":"s","mode":"url"}`,
		`{"protocolVersion":"2025-06-18","capabilities":{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"serverInfo":{"name":"s"}}`,
		`{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a"]}}`,
		`{"code":-32002,"message":"m","data":{"uri":"u"}}`, `{"code":-32042,"data":{"elicitations":[{"mode":"url"}]}}`,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A","properties":{"b":{"type":"integer","x-mcp-header":"B"}}}}}`,
	}
}

// FuzzTranslations gives every function any bytes.
func FuzzTranslations(f *testing.F) {
	for _, s := range fuzzSeeds() {
		for _, method := range []string{"tools/list", "tools/call", "prompts/get", "resources/read", "elicitation/create"} {
			f.Add([]byte(s), method, v2024)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, method, version string) {
		checkTranslations(t, method, version, raw)

		// What only reads must not panic, and agree with itself.
		if ok := json.Valid(raw); ok {
			asks, state, asked, err := ParseInputRequired(raw)
			if asked && err == nil {
				var text string
				if state != nil {
					text, _ = jsonrpc.Text(state)
				}
				back, _, again, err := ParseInputRequired(InputRequired(asks, text))
				if len(asks)+len(text) > 0 && (!again || err != nil || len(back) != len(asks)) {
					t.Fatalf("%q asks %v; asked again: %v, %v, %v", raw, asks, back, again, err)
				}
			}
			if filter, err := ParseListen(raw); err == nil {
				m, err := jsonrpc.Parse(Acknowledged([]byte("1"), filter))
				if err != nil {
					t.Fatalf("%q: acknowledged by %v", raw, err)
				}
				back, err := ParseListen(m.Params)
				if err != nil || fmt.Sprint(back) != fmt.Sprint(filter) {
					t.Fatalf("%q is %v; acknowledged: %v, %v", raw, filter, back, err)
				}
			}
		}
		answers, _, _ := Answers(raw)
		for _, a := range answers {
			Answered(method, a)
		}
		AsksOf(raw)
		TaskTools(raw)
		CheckMeta(raw)
		Subscription(raw)
		Filter{Tools: true, URIs: []string{version}}.Within(raw).Passes(method, raw)
		for _, modern := range []bool{false, true} {
			if e := Allowed(method, raw, raw, modern); e != nil && e.Data != nil && !json.Valid(e.Data) {
				t.Fatalf("%q: data %q", raw, e.Data)
			}
		}
	})
}

// FuzzHeaders: what CheckHeaders lets pass says the same in both places.
func FuzzHeaders(f *testing.F) {
	f.Add("t", "t", `"eu"`, "eu", true)
	f.Add("é", "=?base64?w6k=?=", "42", "42.0", true)
	f.Add("t", "t", "null", "", false)
	f.Add("t", "t", "9007199254740993", "9007199254740992", true)
	f.Fuzz(func(t *testing.T, name, header, argument, param string, given bool) {
		if !json.Valid([]byte(argument)) || strings.ContainsAny(argument, "\r\n") {
			return
		}
		line := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":` + string(jsonrpc.StringID(name)) +
			`,"arguments":{"a":` + argument + `},"_meta":{` + meta2026 + `,` + metaCaps + `}}}`
		m, err := jsonrpc.Parse([]byte(line))
		if err != nil {
			return
		}
		name, _ = jsonrpc.Text(jsonrpc.Get(m.Params, "name")) // as JSON has it
		h := http.Header{"Mcp-Protocol-Version": {Modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {header}}
		if given {
			h["Mcp-Param-A"] = []string{param}
		}
		e := CheckHeaders(h, m, func(string) []byte {
			return []byte(`{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}`)
		})
		if e != nil {
			if e.Code != jsonrpc.CodeHeaderMismatch {
				t.Fatalf("%s: %v", line, e)
			}
			return
		}
		says := func(value string) string {
			value = strings.Trim(value, " \t")
			if text, ok := decodeHeader(value); ok {
				return text
			}
			t.Fatalf("%q passed", value)
			return ""
		}
		if got := says(header); got != name {
			t.Fatalf("%s passed with the name %q", line, got)
		}
		if !given {
			return
		}
		var want any
		dec := json.NewDecoder(strings.NewReader(argument))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		got := says(param)
		switch want := want.(type) {
		case string:
			if got != want {
				t.Fatalf("%q passed for %q", got, want)
			}
		case bool:
			if got != fmt.Sprint(want) {
				t.Fatalf("%q passed for %v", got, want)
			}
		case json.Number:
			a, errA := json.Number(got).Float64()
			b, errB := want.Float64()
			if got != want.String() && (errA != nil || errB != nil || a != b) {
				t.Fatalf("%q passed for %v", got, want)
			}
		default:
			t.Fatalf("%q passed for %v", got, want)
		}
	})
}

// object generates objects as no encoder would write them, some of whose members
// have a meaning here.
func object(names ...string) *rapid.Generator[string] {
	names = append(names, "a", "b", `\u0061`, "é")
	value := rapid.SampledFrom([]string{"0", "-1.50e+3", "9007199254740993", "1e400", `""`, `"\u0000\"\\"`, "\"\xff\"", "true", "null", "{}", "[]", `[ 1 , {"a":[ ]} ]`,
		`{"a" : 1}`, `"complete"`, `[{"type":"audio","data":"x"},{"type":"text","text":""}]`, `{"type":"resource_link","uri":"u"}`,
		`[{"name":"t","execution":{"taskSupport":"required"}},{"execution":{"taskSupport":"optional"},"outputSchema":{}}]`,
		`{"io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/serverInfo":{}, "progressToken":1}`, `[{"content":{"type":"audio"}}]`})
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", "", " ", "\t"})
		var members []string
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			members = append(members, space.Draw(t, "s")+`"`+rapid.SampledFrom(names).Draw(t, "name")+`"`+space.Draw(t, "s")+":"+space.Draw(t, "s")+value.Draw(t, "value")+space.Draw(t, "s"))
		}
		return "{" + strings.Join(members, ",") + "}"
	})
}

func TestTranslationsProperty(t *testing.T) {
	var names []string
	for _, tr := range translations() {
		names = append(names, tr.touches...)
	}
	rapid.Check(t, func(t *rapid.T) {
		raw := object(names...).Draw(t, "object")
		method := rapid.SampledFrom([]string{"tools/list", "tools/call", "prompts/get", "resources/read", "server/discover", "elicitation/create", "x"}).Draw(t, "method")
		checkTranslations(t, method, rapid.SampledFrom(Versions()).Draw(t, "version"), []byte(raw))
	})
}

// TestThereAndBackProperty: what has nothing of its own that is touched comes back
// as it was, to the byte.
func TestThereAndBackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		method := rapid.SampledFrom([]string{"tools/list", "tools/call", "resources/read", "x"}).Draw(t, "method")
		raw := object().Filter(func(s string) bool { return strings.Contains(s, ":") }).Draw(t, "object")
		if rapid.Bool().Draw(t, "with _meta") {
			raw = `{"_meta": {"x": 1e400 }, ` + raw[1:]
		}
		if got := ToLegacy(ToModern([]byte(raw), Client{})); string(got) != raw {
			t.Fatalf("params %s came back as %s", raw, got)
		}
		if got := ResultToLegacy(method, ResultToModern(method, []byte(raw), Server{Info: []byte(info)})); string(got) != raw {
			t.Fatalf("the result %s came back as %s", raw, got)
		}
		if got := Untag(Tag([]byte(raw), []byte("1"))); string(got) != raw {
			t.Fatalf("params %s came back as %s", raw, got)
		}
	})
}
