package jsonrpc

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// model is Parse by way of encoding/json.
func model(line []byte) Kind {
	if !json.Valid(line) {
		return Invalid
	}
	if bytes.HasPrefix(bytes.TrimLeft(line, " \t\r\n"), []byte("[")) {
		return Batch
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil {
		return Invalid
	}
	// A map keeps one of two members of a name; the tokens show both.
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	seen := make(map[string]int)
	if _, err := dec.Token(); err != nil {
		return Invalid
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return Invalid
		}
		seen[key.(string)]++
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return Invalid
		}
	}
	for _, name := range []string{"jsonrpc", "id", "method", "params", "result", "error"} {
		if seen[name] > 1 {
			return Invalid
		}
	}
	kindOf := func(name string) string {
		raw := bytes.TrimSpace(members[name])
		switch {
		case len(raw) == 0:
			return ""
		case raw[0] == '"':
			return "string"
		case raw[0] == '{':
			return "object"
		case raw[0] == '[':
			return "array"
		case string(raw) == "null", string(raw) == "true", string(raw) == "false":
			return string(raw)
		}
		return "number"
	}
	var version string
	if kindOf("jsonrpc") != "string" || json.Unmarshal(members["jsonrpc"], &version) != nil || version != "2.0" {
		return Invalid
	}
	id, method, result, fault := kindOf("id"), kindOf("method"), kindOf("result"), kindOf("error")
	switch id {
	case "object", "array", "true", "false":
		return Invalid
	}
	if fault == "null" && result != "" {
		fault = ""
	}
	if result == "null" && fault != "" {
		result = ""
	}
	switch {
	case method != "" && (method != "string" || members["result"] != nil || members["error"] != nil):
		return Invalid
	case method != "" && id == "":
		return Notification
	case method != "":
		return Request
	case fault != "" && (fault != "object" || result != ""):
		return Invalid
	case fault != "":
		return ErrorResponse
	case result != "" && id != "" && id != "null":
		return Response
	}
	return Invalid
}

func seeds() []string {
	return []string{
		"", "\x00", "{}", "[]", "[1]", "null", "{\"a\":1}\r", "\xff\xfe", "\xe2\x82",
		`{"jsonrpc":"2.0","id":1,"method":"m"}`,
		`{"jsonrpc":"2.0","\u0069d":9007199254740993,"method":"m","params":{"a":[1,2,{"b":null}]}}`,
		`{"result":{},"jsonrpc":"2.0","id":"x"}`,
		`{"jsonrpc":"2.0","error":{"code":-32601,"message":"no"},"id":null}`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}`,
		`{"jsonrpc":"2.0","id":1,"result":1,"error":null}`,
		`{"jsonrpc":"2.0","id":-0.5e+10,"method":"\ud83d\ude00\ud83d"}`,
		"{\"jsonrpc\":\"2.0\",\"method\":\"a\x00\"}",
		"{\"jsonrpc\":\"2.0\",\"method\":\"\xe2\x82\"}",
		`{"jsonrpc":"2.0","method":"m","params":[[[[[[{"a":{"b":[]}}]]]]]]}`,
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := Parse(line)
		if want := model(line); m.Kind != want || (err != nil) != (want == Invalid) {
			t.Fatalf("%q\nis %v (%v), encoding/json says %v", line, m.Kind, err, want)
		}
		if err != nil || m.Kind == Batch {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string][]byte{"id": m.ID, "params": m.Params} {
			if !bytes.Equal(got, members[name]) {
				t.Fatalf("%s: %q is not %q", name, got, members[name])
			}
		}
		if m.Result != nil && !bytes.Equal(m.Result, members["result"]) || m.Error != nil && !bytes.Equal(m.Error, members["error"]) {
			t.Fatalf("result %q, error %q", m.Result, m.Error)
		}
		var method string
		if raw, ok := members["method"]; ok {
			if err := json.Unmarshal(raw, &method); err != nil {
				t.Fatal(err)
			}
		}
		if m.Method != method {
			t.Fatalf("method %q is not %q", m.Method, method)
		}
		same, err := m.Rewrite(Rewrite{ID: m.ID, Params: m.Params, Result: m.Result, Error: m.Error})
		if breaks := strings.NewReplacer("\r", " ", "\n", " "); err != nil || breaks.Replace(string(same)) != breaks.Replace(string(line)) {
			t.Fatalf("%q with the members that it has is %q, %v", line, same, err)
		}
		if m.ID == nil {
			return
		}
		// Only the id's bytes change, and they change back.
		changed, err := m.Rewrite(Rewrite{ID: []byte(`"b1-1"`)})
		if err != nil {
			t.Fatal(err)
		}
		n, err := Parse(changed)
		if err != nil {
			t.Fatalf("%q: %v", changed, err)
		}
		back, err := n.Rewrite(Rewrite{ID: m.ID})
		if err != nil || !bytes.Equal(back, line) {
			t.Fatalf("%q came back as %q, %v", line, back, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s+"\n"+s+"\r\n\n \r\n"+s), 16)
	}
	f.Add([]byte(strings.Repeat("x", 100)+"\n"+"y"), 99)
	f.Fuzz(func(t *testing.T, data []byte, max int) {
		if max < 1 || max > 1<<20 {
			return
		}
		checkReader(t, data, max)
	})
}
