package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		line                       string
		kind                       Kind
		method, id, params, result string
		err                        string
	}{
		{line: `{"jsonrpc":"2.0","id":1,"method":"m"}`, kind: Request, method: "m", id: "1"},
		{line: `{"jsonrpc":"2.0","method":"m","params":{"a":[1,{}]}}`, kind: Notification, method: "m", params: `{"a":[1,{}]}`},
		{line: `{"jsonrpc":"2.0","id":"x","result":{}}`, kind: Response, id: `"x"`, result: "{}"},
		{line: `{"result":null,"jsonrpc":"2.0","id":-1.50e+3}`, kind: Response, id: "-1.50e+3", result: "null"},
		{line: `{"jsonrpc":"2.0","error":{"code":1},"id":null}`, kind: ErrorResponse, id: "null", err: `{"code":1}`},
		{line: `{"jsonrpc":"2.0","error":{"code":1}}`, kind: ErrorResponse, err: `{"code":1}`},
		{line: `{"jsonrpc":"2.0","id":null,"method":"m"}`, kind: Request, method: "m", id: "null"},
		// TypeScript servers write the id last.
		{line: `{"result":{"id":7},"jsonrpc":"2.0","id":3}`, kind: Response, id: "3", result: `{"id":7}`},
		{line: " \t{ \"jsonrpc\" : \"2.0\" ,\r\"id\" :\t9007199254740993 , \"method\":\"m\" } \r", kind: Request, method: "m", id: "9007199254740993"},
		{line: `{"\u006asonrpc":"2\u002e0","\u0069d":"\u0031","metho\u0064":"a\/b\u00e9\"","p\u0061rams":[]}`, kind: Request, method: "a/bé\"", id: `"\u0031"`, params: "[]"},
		{line: `{"jsonrpc":"2.0","id":1,"method":"m","ID":2,"Method":"x","unknown":{"id":5}}`, kind: Request, method: "m", id: "1"},
		{line: `{"jsonrpc":"2.0","id":1,"result":{},"error":null}`, kind: Response, id: "1", result: "{}"},
		{line: `{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1}}`, kind: ErrorResponse, id: "1", err: `{"code":1}`},
		{line: `{"jsonrpc":"2.0","method":"","params":null}`, kind: Notification, params: "null"},
		{line: `[{"jsonrpc":"2.0","id":1,"method":"m"}]`, kind: Batch},
		{line: ` [] `, kind: Batch},
		{line: `{"jsonrpc":"2.0","method":"` + "\xff" + `"}`, kind: Notification, method: "\ufffd"},
	} {
		m, err := Parse([]byte(tt.line))
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		got := []string{m.Kind.String(), m.Method, string(m.ID), string(m.Params), string(m.Result), string(m.Error)}
		want := []string{tt.kind.String(), tt.method, tt.id, tt.params, tt.result, tt.err}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s\n got %q\nwant %q", tt.line, got, want)
		}
		if (m.ID == nil) != (tt.id == "") || (m.Params == nil) != (tt.params == "") {
			t.Errorf("%s: what is missing must be nil: %+v", tt.line, m)
		}
	}
}

func TestParseInvalid(t *testing.T) {
	for _, tt := range []struct{ line, why string }{
		{"", "brace"},
		{"hello", "brace"},
		{"\ufeff{}", "brace"},
		{"null", "brace"},
		{"{}", "empty"},
		{`{"jsonrpc":"2.0"}`, "no method"},
		{`{"jsonrpc":"1.0","method":"m"}`, "2.0"},
		{`{"jsonrpc":2.0,"method":"m"}`, "2.0"},
		{`{"id":1,"method":"m"}`, "2.0"},
		{`{"level":"info","method":"GET"}`, "2.0"}, // a log line
		{`{"jsonrpc":"2.0","method":"m"} x`, "more follows"},
		{`{"jsonrpc":"2.0","method":"m"}{"jsonrpc":"2.0","method":"m"}`, "more follows"},
		{`{"jsonrpc":"2.0","method":"m"`, "comma or brace"},
		{`{"jsonrpc":"2.0","method":"m",}`, "string is missing"},
		{`{"jsonrpc":"2.0","method":"m","method":"n"}`, `two members "method"`},
		{`{"jsonrpc":"2.0","id":1,"method":"m","\u0069d":2}`, `two members "\u0069d"`},
		{`{"jsonrpc":"2.0","method":1}`, "method is not a string"},
		{`{"jsonrpc":"2.0","method":null}`, "method is not a string"},
		{`{"jsonrpc":"2.0","id":true,"method":"m"}`, "its id"},
		{`{"jsonrpc":"2.0","id":[1],"method":"m"}`, "its id"},
		{`{"jsonrpc":"2.0","id":{},"result":1}`, "its id"},
		{`{"jsonrpc":"2.0","result":1}`, "no id"},
		{`{"jsonrpc":"2.0","id":null,"result":1}`, "no id"},
		{`{"jsonrpc":"2.0","id":1,"error":null}`, "not an object"},
		{`{"jsonrpc":"2.0","id":1,"error":"x"}`, "not an object"},
		{`{"jsonrpc":"2.0","id":1,"error":{},"result":{}}`, "a result and an error"},
		{`{"jsonrpc":"2.0","id":1,"method":"m","result":{}}`, "request and a response"},
		{`{"jsonrpc":"2.0","id":01,"method":"m"}`, "comma"},
		{`{"jsonrpc":"2.0","id":1.,"method":"m"}`, "bad number"},
		{`{"jsonrpc":"2.0","id":-,"method":"m"}`, "bad number"},
		{`{"jsonrpc":"2.0","id":1e,"method":"m"}`, "bad number"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"a\x00b\"}", "control character"},
		{"{\"jsonrpc\":\"2.0\",\x00\"method\":\"m\"}", "string is missing"},
		{`{"jsonrpc":"2.0","method":"\x"}`, "bad escape"},
		{`{"jsonrpc":"2.0","method":"\u12g4"}`, "bad escape"},
		{`{"jsonrpc":"2.0","method":"m`, "without its end"},
		{`{"jsonrpc":"2.0","method":"m","params":[1,}`, "value is missing"},
		{`{"jsonrpc":"2.0","method":"m","params":[1}`, "comma or bracket"},
		{`{"jsonrpc":"2.0","method":"m","params":{"a":1]}`, "comma or bracket"},
		{`{"jsonrpc":"2.0","method":"m","params":tru}`, "value is missing"},
		{`{"jsonrpc":"2.0","method":"m","params":NaN}`, "value is missing"},
		{`{"jsonrpc":"2.0","method":"m","params":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, "levels deep"},
		{"[", "value is missing"},
	} {
		m, err := Parse([]byte(tt.line))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.why) || m.Kind != Invalid {
			t.Errorf("%.80s: got %v, %v; want %q", tt.line, m.Kind, err, tt.why)
		}
	}
}

func TestParseDeep(t *testing.T) {
	for _, open := range []string{"[", `{"a":`, `[{"id":`} {
		var closing strings.Builder
		for i := len(open) - 1; i >= 0; i-- {
			switch open[i] {
			case '[':
				closing.WriteByte(']')
			case '{':
				closing.WriteByte('}')
			}
		}
		n := (MaxDepth - 1) / closing.Len()
		line := `{"jsonrpc":"2.0","method":"m","params":` + strings.Repeat(open, n) + "1" + strings.Repeat(closing.String(), n) + `}`
		if _, err := Parse([]byte(line)); err != nil {
			t.Errorf("%s: %v", open, err)
		}
		if !json.Valid([]byte(line)) {
			t.Errorf("%s: the test's own line is not JSON", open)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	line := []byte(`{"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", 1<<20) + `"}]},"jsonrpc":"2.0","id":"b1-2"}`)
	if n := testing.AllocsPerRun(10, func() {
		if m, err := Parse(line); err != nil || m.Kind != Response {
			t.Fatal(m, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a response", n)
	}
}

func TestStringID(t *testing.T) {
	for _, tt := range []struct {
		id, want string
		ok       bool
	}{{`"b1-2"`, "b1-2", true}, {`"\u00621\u002d2"`, "b1-2", true}, {`""`, "", true}, {"12", "", false}, {"null", "", false}} {
		m, err := Parse([]byte(`{"jsonrpc":"2.0","method":"m","id":` + tt.id + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := m.StringID(); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %q, %v", tt.id, got, ok)
		}
	}
	if _, ok := (Message{}).StringID(); ok {
		t.Error("a message without an id has one")
	}
}

func TestRewriteID(t *testing.T) {
	for _, tt := range []struct{ line, id, want string }{
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":{"id":1,"n":9007199254740993}}`, `"a-b"`, `{"jsonrpc":"2.0","id":"a-b","method":"m","params":{"id":1,"n":9007199254740993}}`},
		{`{"result":{ "x" : 1.50 },"jsonrpc":"2.0","\u0069d" : "long id" }`, `2`, `{"result":{ "x" : 1.50 },"jsonrpc":"2.0","\u0069d" : 2 }`},
	} {
		m, err := Parse([]byte(tt.line))
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Rewrite(Rewrite{ID: []byte(tt.id)})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.line, got, err, tt.want)
		}
	}
}

func TestRewriteIDRefuses(t *testing.T) {
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", " 1", "1 ", "true", "{}", "[1]", `"a`, "1,2", `1,"method":"x"`, "x", "\"\n\""} {
		if got, err := m.Rewrite(Rewrite{ID: []byte(id)}); err == nil {
			t.Errorf("%q: %s", id, got)
		}
	}
	if m, err = Parse([]byte(`{"jsonrpc":"2.0","method":"m"}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Rewrite(Rewrite{ID: []byte("1")}); err == nil {
		t.Errorf("a notification became %s", got)
	}
}

// value generates JSON as no encoder would write it.
func value() *rapid.Generator[string] {
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{"0", "-0", "1.50", "9007199254740993", "1e400", `""`, `"\u0000\"\\"`, "\"\xff\"", "true", "null", `"id"`}),
		rapid.Custom(func(t *rapid.T) string {
			b, err := json.Marshal(rapid.String().Draw(t, "s"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", "", " ", "\t"})
		text := scalar.Draw(t, "v")
		for range rapid.IntRange(0, 4).Draw(t, "depth") {
			if rapid.Bool().Draw(t, "object") {
				text = "{" + space.Draw(t, "sp") + `"id":` + text + space.Draw(t, "sp") + `,"id" :2}`
			} else {
				text = "[" + text + space.Draw(t, "sp") + "," + scalar.Draw(t, "w") + "]"
			}
		}
		return text
	})
}

// TestRewriteIDProperty: whatever the message is, only the id's bytes change,
// and putting the old id back gives the message back.
func TestRewriteIDProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom([]string{"1", `"x"`, "-1.5", `"\u0031"`, "9007199254740993"})
		old := id.Draw(t, "old")
		members := rapid.Permutation([]string{
			`"jsonrpc":"2.0"`, `"method":"m"`, `"params":` + value().Draw(t, "params"), `"x":` + value().Draw(t, "x"), "ID",
		}).Draw(t, "members")
		before, after := "{", ""
		for i, member := range members {
			sep := ","
			if i == len(members)-1 {
				sep = " }"
			}
			switch {
			case member == "ID":
				before += `"i\u0064": `
				after = sep
			case after == "":
				before += member + sep
			default:
				after += member + sep
			}
		}
		line := before + old + after
		m, err := Parse([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		next := id.Draw(t, "new")
		got, err := m.Rewrite(Rewrite{ID: []byte(next)})
		if err != nil || string(got) != before+next+after {
			t.Fatalf("%s: %s, %v", line, got, err)
		}
		if m, err = Parse(got); err != nil {
			t.Fatal(err)
		}
		back, err := m.Rewrite(Rewrite{ID: []byte(old)})
		if err != nil || !bytes.Equal(back, []byte(line)) {
			t.Fatalf("%s came back as %s, %v", line, back, err)
		}
	})
}

// TestPlain compares plain, which takes eight bytes at a time, with one that
// takes them one by one.
func TestPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("aaaaa !\"#[\\]\x1f\x7f\x80\x9f\xa2\xdc\xff"))), 0, 40).Draw(t, "bytes")
		want := 0
		for want < len(b) && b[want] != '"' && b[want] != '\\' && b[want] >= ' ' {
			want++
		}
		if got := plain(b); got != want {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
	})
}
