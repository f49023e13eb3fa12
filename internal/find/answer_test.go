package find

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// golden compares JSON, indented, with a file.
func golden(t *testing.T, name string, parts ...json.RawMessage) {
	t.Helper()
	var text bytes.Buffer
	for _, part := range parts {
		if err := json.Indent(&text, part, "", "  "); err != nil {
			t.Fatalf("%v: %s", err, part)
		}
		text.WriteByte('\n')
	}
	path := filepath.Join("testdata", name)
	if os.Getenv("BERTH_TEST_UPDATE") != "" {
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("%s: BERTH_TEST_UPDATE=1 accepts\n%s", name, text.String())
	}
}

func TestOffer(t *testing.T) {
	golden(t, "offer.json", Offer([]string{"files", "github"})...)
	for i, name := range []string{FindName, DescribeName, CallName} {
		if got := textOf(members(Offer(nil)[i])["name"]); got != name {
			t.Errorf("%d: %s", i, got)
		}
	}
	many := make([]string, serversMost+2)
	for i := range many {
		many[i] = "s"
	}
	if about := textOf(members(Offer(many)[0])["description"]); strings.Count(about, "s,") > serversMost+5 || !strings.HasSuffix(about, " and 2 more servers.") {
		t.Error(about)
	}
}

// The definitions are what their parsers take.
func TestOfferAndParsersAgree(t *testing.T) {
	for i, parse := range []func(json.RawMessage) error{
		func(a json.RawMessage) error { _, _, err := ParseFind(a); return err },
		func(a json.RawMessage) error { _, err := ParseDescribe(a); return err },
		func(a json.RawMessage) error { _, _, err := ParseCall(a); return err },
	} {
		schema := members(members(Offer(nil)[i])["inputSchema"])
		all := map[string]any{}
		for name, property := range members(schema["properties"]) {
			all[name] = map[string]any{"string": "x", "integer": 3, "object": map[string]any{"y": 1}}[textOf(members(property)["type"])]
		}
		if err := parse(encode(all)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		var required []string
		if err := json.Unmarshal(schema["required"], &required); err != nil || len(required) == 0 {
			t.Fatal(err)
		}
		for _, name := range required {
			value := all[name]
			delete(all, name)
			if parse(encode(all)) == nil {
				t.Errorf("%d: %s is required, and may be left out", i, name)
			}
			all[name] = value
		}
		all["other"] = 1
		if parse(encode(all)) == nil {
			t.Errorf("%d: an argument that there is not", i)
		}
	}
}

func TestParse(t *testing.T) {
	if query, limit, err := ParseFind([]byte(`{"query":"x"}`)); query != "x" || limit != limitDefault || err != nil {
		t.Error(query, limit, err)
	}
	if _, limit, err := ParseFind([]byte(`{"query":"x","limit":20}`)); limit != 20 || err != nil {
		t.Error(limit, err)
	}
	for _, bad := range []string{``, `null`, `[]`, `"x"`, `{}`, `{"query":" "}`, `{"query":1}`, `{"query":"x","limit":0}`, `{"query":"x","limit":21}`,
		`{"query":"x","limit":"3"}`, `{"query":"x","limit":1.5}`, `{"QUERY":"x"}`} {
		if query, _, err := ParseFind([]byte(bad)); err == nil {
			t.Errorf("%s: %q", bad, query)
		}
	}
	for given, want := range map[string]string{
		`{"name":"x"}`:                                   `{}`,
		`{"name":"x","arguments":null}`:                  `{}`,
		`{"name":"x","arguments":{}}`:                    `{}`,
		`{"name":"x","arguments": {"a" : 1.0, "b":[]} }`: `{"a" : 1.0, "b":[]}`,
	} {
		if name, with, err := ParseCall([]byte(given)); name != "x" || string(with) != want || err != nil {
			t.Errorf("%s: %q %s %v", given, name, with, err)
		}
	}
	for bad, why := range map[string]string{
		`{"arguments":{}}`:                   "name must be text",
		`{"name":"x","arguments":"{}"}`:      "must be a JSON object",
		`{"name":"x","arguments":[]}`:        "must be a JSON object",
		`{"name":"x","path":"/tmp","b":"c"}`: `call_tool has no argument "b"; it has name and arguments: the tool's own arguments belong into arguments`,
	} {
		if _, _, err := ParseCall([]byte(bad)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := ParseDescribe([]byte(`{"name":"x","arguments":{}}`)); err == nil {
		t.Error("describe_tool takes arguments")
	}
}

func TestResults(t *testing.T) {
	x := New(recorded(t))
	hits := x.Search("rename a file", 3, nil)
	tool, ok := x.Tool("filesystem_move_file")
	if !ok {
		t.Fatal("no such tool")
	}
	golden(t, "results.json", FindResult(hits), FindResult(nil), DescribeResult(tool), UnknownResult("file_move", hits), ErrorResult("a <b> & c"))
	for _, raw := range []json.RawMessage{FindResult(hits), DescribeResult(tool)} {
		var r struct {
			Content           []content
			StructuredContent json.RawMessage
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Content) != 1 || !sameJSON(t, []byte(r.Content[0].Text), r.StructuredContent) {
			t.Errorf("the text is not the structured content: %s", raw)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y bytes.Buffer
	if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		t.Fatalf("no JSON: %s, %s", a, b)
	}
	return x.String() == y.String()
}

func TestShort(t *testing.T) {
	for _, text := range []string{"", "a", "a\n\n  b", strings.Repeat("ab ", 100), strings.Repeat("ü", 200), strings.Repeat("x", 300), strings.Repeat("x", 100) + " " + strings.Repeat("ü", 300)} {
		got := short(text)
		if len(got) > aboutMost+len("…") || !utf8.ValidString(got) || strings.ContainsAny(got, "\n") {
			t.Errorf("%q", got)
		}
		if fits := len(strings.Join(strings.Fields(text), " ")) <= aboutMost; fits == strings.HasSuffix(got, "…") {
			t.Errorf("%q", got)
		}
	}
}

func TestSignature(t *testing.T) {
	for schema, want := range map[string]string{
		``:                       "",
		`[]`:                     "",
		`{"properties":[]}`:      "",
		`{"required":["ghost"]}`: "",
		`{"properties":{"b":{},"a":{},"d":{},"c":{}},"required":["d","b","d"]}`: "d, b, a?, c?",
	} {
		if got := signature(json.RawMessage(schema)); got != want {
			t.Errorf("%s: %q", schema, got)
		}
	}
}

// FuzzTool: whatever a server says of a tool, it is indexed, found by its name and
// told of in valid JSON.
func FuzzTool(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `[`, `{"description":1,"title":"t"}`, `{"inputSchema":{"properties":{"a":{"items":{"properties":{"b":{}}}}}}}`, `{"description":"\ud800"}`} {
		f.Add(seed, "read file")
	}
	f.Fuzz(func(t *testing.T, raw, query string) {
		if !json.Valid([]byte(raw)) {
			raw = `{}`
		}
		x := New([]Tool{{"s_readFile", "s", "readFile", json.RawMessage(raw)}, {"s_other", "s", "other", json.RawMessage(raw)}})
		hits := x.Search("read_file "+query, 5, nil)
		if !slices.ContainsFunc(hits, func(h Hit) bool { return h.Tool.Own == "readFile" }) {
			t.Fatalf("%q is not found", raw)
		}
		for _, result := range []json.RawMessage{FindResult(hits), UnknownResult(query, hits), DescribeResult(hits[0].Tool), Offer([]string{query})[0]} {
			if !json.Valid(result) {
				t.Fatalf("%s", result)
			}
		}
		_, _, _ = ParseCall([]byte(query))
	})
}
