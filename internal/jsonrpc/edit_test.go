package jsonrpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGet(t *testing.T) {
	const raw = ` { "a" : {"b":[1, 2],"b":{"c" : 9007199254740993}} , "\u0061b":null,"\ud83d\ude00":"x","\"":1} `
	for _, tt := range []struct {
		path []string
		want string
	}{
		{nil, raw},
		{[]string{"a", "b", "c"}, "9007199254740993"},
		{[]string{"a", "b"}, `{"c" : 9007199254740993}`},
		{[]string{"ab"}, "null"},
		{[]string{"😀"}, `"x"`},
		{[]string{`"`}, "1"},
		{[]string{`\u0061b`}, ""},
		{[]string{"a", "c"}, ""},
		{[]string{"ab", "c"}, ""},
		{[]string{"b"}, ""},
	} {
		if got := Get([]byte(raw), tt.path...); string(got) != tt.want || (got == nil) != (tt.want == "") {
			t.Errorf("%q: got %q", tt.path, got)
		}
	}
	for _, raw := range []string{"", "[]", "1", "{", `{"a":1`, `{"a":1,}`, `{"a"1}`, `{"a":1 "b":2}`, "{a:1}"} {
		if got := Get([]byte(raw), "a"); got != nil {
			t.Errorf("%s: got %q", raw, got)
		}
	}
}

func TestFind(t *testing.T) {
	a, b, c := Member{Name: "a"}, Member{Name: "b"}, Member{Name: "c", Value: []byte("old")}
	Find([]byte(`{"a":1,"b":{"c":2},"\u0061":[3]}`), &a, &b, &c)
	if string(a.Value) != "[3]" || string(b.Value) != `{"c":2}` || c.Value != nil {
		t.Errorf("%s, %s, %s", a.Value, b.Value, c.Value)
	}
	for _, raw := range []string{"", "[]", `{"a":1`, `{"a":1,"b"`} {
		a.Value = []byte("old")
		if Find([]byte(raw), &a); a.Value != nil {
			t.Errorf("%s: %s", raw, a.Value)
		}
	}
}

func TestMembers(t *testing.T) {
	var got []string
	for key, value := range Members([]byte(` {"a": 1 , "\u0061" :[2,{}],"":"x" } `)) {
		got = append(got, key, string(value))
	}
	if want := []string{"a", "1", "a", "[2,{}]", "", `"x"`}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for range Members([]byte(`{"a":1,"b":2}`)) {
		break
	}
	for _, raw := range []string{"", "{}", " { } ", "[1]", "null"} {
		for key := range Members([]byte(raw)) {
			t.Errorf("%s has %q", raw, key)
		}
	}
}

func TestElements(t *testing.T) {
	var got []string
	for value := range Elements([]byte(` [ 1,{"a":[]} , "x"] `)) {
		got = append(got, string(value))
	}
	if want := []string{"1", `{"a":[]}`, `"x"`}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for range Elements([]byte("[1,2]")) {
		break
	}
	for _, raw := range []string{"", "[]", " [ ] ", `{"a":1}`, "null"} {
		for value := range Elements([]byte(raw)) {
			t.Errorf("%s has %s", raw, value)
		}
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct{ raw, value, path, want string }{
		{`{"a":1,"b":2}`, "3", "a", `{"a":3,"b":2}`},
		{` { "a" : 1 , "b":2 } `, "3", "b", ` { "a" : 1 , "b":3 } `},
		{`{"a":1, "b":2,"\u0061":4 ,"a": 5}`, "3", "a", `{"a":3, "b":2}`},
		{`{"a":1 }`, "3", "c", `{"a":1 ,"c":3}`},
		{`{ }`, "3", "c", `{ "c":3}`},
		{``, "3", "c", `{"c":3}`},
		{` null `, "3", "c", `{"c":3}`},
		{`{"a":1}`, "3", `"ü`, `{"a":1,"\"ü":3}`},
		{`{"x":9007199254740993}`, "{\"n\":\r\n1}", "m/c/d", `{"x":9007199254740993,"m":{"c":{"d":{"n":  1}}}}`},
		{`{"m":{"c":1,"k": 1e400}, "m":{"c":{"e":5}, "k": 1e401},"z":0}`, "3", "m/c/d", `{"m":{"c":{"e":5,"d":3}, "k": 1e401},"z":0}`},
		{`{"m":null}`, "3", "m/c", `{"m":{"c":3}}`},
	} {
		raw := []byte(tt.raw)
		if tt.raw == "" {
			raw = nil
		}
		got, err := Set(raw, []byte(tt.value), strings.Split(tt.path, "/")...)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s, %s\n got %s, %v\nwant %s", tt.raw, tt.path, got, err, tt.want)
		}
		if string(raw) != tt.raw {
			t.Errorf("%s was changed in its place", tt.raw)
		}
	}
	for _, tt := range []struct{ raw, value, path string }{
		{"[]", "1", "a"}, {"1", "1", "a"}, {`{"a":1`, "1", "a"}, {`{"a":1}`, "", "a"}, {"{}", "1 2", "a"}, {"{}", "{", "a"},
		{`{"a":1}`, "1", "a/b"}, {`{"a":[]}`, "1", "a/b"}, {"", "1", "a"},
	} {
		if got, err := Set([]byte(tt.raw), []byte(tt.value), strings.Split(tt.path, "/")...); err == nil {
			t.Errorf("%s, %s: got %s", tt.raw, tt.path, got)
		}
	}
	if got, err := Set([]byte("{}"), []byte("1")); err == nil {
		t.Errorf("without a path: got %s", got)
	}
	if got, err := Set([]byte("{}"), nil, "a"); err == nil {
		t.Errorf("without a value: got %s", got)
	}
}

func TestEdit(t *testing.T) {
	var many []Member
	for i := range 20 {
		many = append(many, Member{fmt.Sprint("k", i), []byte("0")})
	}
	for _, tt := range []struct {
		raw   string
		edits []Member
		want  string
	}{
		{`{"a":1,"b":2,"c":3}`, []Member{{"b", nil}, {"d", []byte("4")}, {"a", []byte("true")}}, `{"a":true,"c":3,"d":4}`},
		{`{"a":1,"b":2}`, []Member{{"a", nil}, {"b", nil}, {"c", []byte("3")}}, `{"c":3}`},
		{`{"k19":1,"x":1,"k19":2}`, many[18:], `{"k19":0,"x":1,"k18":0}`},
		{`{"k19":1,"x":1,"k19":2}`, append([]Member{{"x", nil}}, many...), `{"k19":0,"k0":0,"k1":0,"k2":0,"k3":0,"k4":0,"k5":0,"k6":0,"k7":0,"k8":0,"k9":0,"k10":0,"k11":0,"k12":0,"k13":0,"k14":0,"k15":0,"k16":0,"k17":0,"k18":0}`},
	} {
		got, err := Edit([]byte(tt.raw), tt.edits...)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.raw, got, err, tt.want)
		}
	}
	for _, raw := range [][]byte{nil, []byte("null"), []byte(`{"a":1}`)} {
		if got, err := Edit(raw, Member{Name: "b"}); err != nil || string(got) != string(raw) || (got == nil) != (raw == nil) {
			t.Errorf("nothing to remove from %q: got %q, %v", raw, got, err)
		}
	}
}

func TestDelete(t *testing.T) {
	for _, tt := range []struct{ raw, path, want string }{
		{`{"a":1,"b":2, "c":3}`, "a", `{"b":2, "c":3}`},
		{`{"a":1,"b":2, "c":3}`, "b", `{"a":1, "c":3}`},
		{`{"a":1,"b":2, "c":3 }`, "c", `{"a":1,"b":2}`},
		{`{"a":1,"b":2,"\u0061":3,"a":4}`, "a", `{"b":2}`},
		{` { "a" : 1 } `, "a", ` {} `},
		{`{"m":{"a":1,"b":2},"m":{"a":3}, "m":4}`, "m/a", `{"m":{"b":2},"m":{}, "m":4}`},
	} {
		raw := []byte(tt.raw)
		if got := Delete(raw, strings.Split(tt.path, "/")...); string(got) != tt.want || string(raw) != tt.raw {
			t.Errorf("%s, %s\n got %s\nwant %s", tt.raw, tt.path, got, tt.want)
		}
	}
	for _, tt := range []struct{ raw, path string }{
		{`{"a":1}`, "b"}, {`{"a":1}`, "a/b"}, {`{"m":{"a":1},"m":[]}`, "m/b"}, {"[]", "a"}, {`{"a":1`, "a"}, {`{"a":1,"b":`, "a"}, {"null", "a"},
	} {
		raw := []byte(tt.raw)
		if got := Delete(raw, strings.Split(tt.path, "/")...); len(got) != len(raw) || &got[0] != &raw[0] {
			t.Errorf("%s, %s: got %s", tt.raw, tt.path, got)
		}
	}
	if got := Delete([]byte("{}")); string(got) != "{}" {
		t.Errorf("without a path: got %s", got)
	}
}

func TestEditElements(t *testing.T) {
	f := func(element []byte) []byte {
		switch string(element) {
		case "0":
			return nil
		case "1":
			return []byte(`"one"`)
		}
		return element
	}
	for _, tt := range []struct{ raw, want string }{
		{"[0, 1 ,2]", `[ "one" ,2]`},
		{"[2, 0,3 ]", "[2,3 ]"},
		{"[ 0 ]", "[]"},
		{"[2,0]", "[2]"},
		{"[1,1,1]", `["one","one","one"]`},
	} {
		if got := EditElements([]byte(tt.raw), f); string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.raw, got, tt.want)
		}
	}
	for _, raw := range []string{"[]", "[2 , {}]", `{"a":0}`, "0", "[0", "[0,1"} {
		raw := []byte(raw)
		if got := EditElements(raw, f); len(got) != len(raw) || &got[0] != &raw[0] {
			t.Errorf("%s: got %s", raw, got)
		}
	}
}

func TestRewrite(t *testing.T) {
	for _, tt := range []struct {
		line string
		r    Rewrite
		want string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":{"id":1}, "x":2}`, Rewrite{ID: []byte("22"), Params: []byte("[]")},
			`{"jsonrpc":"2.0","id":22,"method":"m","params":[], "x":2}`},
		{` {"params" : {} ,"method":"m","id":"a","jsonrpc":"2.0"}`, Rewrite{ID: []byte("22"), Params: []byte("{\"a\":\n1}")},
			` {"params" : {"a": 1} ,"method":"m","id":22,"jsonrpc":"2.0"}`},
		{`{"jsonrpc":"2.0","id":1,"method":"}" } `, Rewrite{Params: []byte("{}")}, `{"jsonrpc":"2.0","id":1,"method":"}" ,"params":{}} `},
		{`{"jsonrpc":"2.0","method":"m"}`, Rewrite{Params: []byte("{}")}, `{"jsonrpc":"2.0","method":"m","params":{}}`},
		{`{"result":{},"error":null,"jsonrpc":"2.0","id":3}`, Rewrite{ID: []byte(`"x"`), Result: []byte("[1]")}, `{"result":[1],"error":null,"jsonrpc":"2.0","id":"x"}`},
		{`{"jsonrpc":"2.0","id":3,"result":null,"error":{"code":1}}`, Rewrite{ID: []byte("4"), Error: []byte("{}")}, `{"jsonrpc":"2.0","id":4,"result":null,"error":{}}`},
		{`{"jsonrpc":"2.0","method":"m"}`, Rewrite{}, `{"jsonrpc":"2.0","method":"m"}`},
		{` [1] `, Rewrite{}, ` [1] `},
	} {
		m, err := Parse([]byte(tt.line))
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Rewrite(tt.r)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.line, got, err, tt.want)
		}
		if _, err := Parse(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	for _, tt := range []struct {
		line string
		r    Rewrite
	}{
		{`{"jsonrpc":"2.0","method":"m"}`, Rewrite{ID: []byte("1")}},
		{`{"jsonrpc":"2.0","method":"m"}`, Rewrite{Result: []byte("1")}},
		{`{"jsonrpc":"2.0","id":1,"result":null,"error":{}}`, Rewrite{Result: []byte("1")}},
		{`{"jsonrpc":"2.0","id":1,"result":{}}`, Rewrite{Params: []byte("{}")}},
		{`{"jsonrpc":"2.0","id":1,"result":{},"error":null}`, Rewrite{Error: []byte("{}")}},
		{`[{"jsonrpc":"2.0","id":1,"method":"m"}]`, Rewrite{Params: []byte("{}")}},
	} {
		m, err := Parse([]byte(tt.line))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Rewrite(tt.r); err == nil {
			t.Errorf("%s: got %s", tt.line, got)
		}
	}
}

// pair is a member of an object as the model holds it: its piece of text in two
// parts, the key as decoded, and the value.
type pair struct{ head, key, value, tail string }

func (p pair) String() string { return p.head + p.value + p.tail }

func join(pairs []pair) string {
	var texts []string
	for _, p := range pairs {
		texts = append(texts, p.String())
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// TestEditProperty compares Edit and Delete with a list of members.
func TestEditProperty(t *testing.T) {
	names := map[string]string{`"a"`: "a", `"\u0061"`: "a", `"b"`: "b", `"c\n"`: "c\n", `"\ud83d\ude00"`: "😀", `"😀"`: "😀"}
	keys := make([]string, 0, len(names))
	for k := range names {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", "", " ", "\t"})
		var pairs []pair
		for range rapid.IntRange(0, 6).Draw(t, "members") {
			k := rapid.SampledFrom(keys).Draw(t, "key")
			pairs = append(pairs, pair{
				space.Draw(t, "s") + k + space.Draw(t, "s") + ":" + space.Draw(t, "s"), names[k], value().Draw(t, "value"), space.Draw(t, "s"),
			})
		}
		raw := join(pairs)
		name := rapid.SampledFrom([]string{"a", "b", "c\n", "😀", "d"}).Draw(t, "name")

		var without, with []pair
		found := false
		for _, p := range pairs {
			if p.key != name {
				without, with = append(without, p), append(with, p)
				continue
			}
			if !found {
				found = true
				p.value = `{"new":1}`
				with = append(with, p)
			}
		}
		if !found {
			with = append(with, pair{string(quote(name)) + ":", name, `{"new":1}`, ""})
		}
		if got := Delete([]byte(raw), name); string(got) != join(without) {
			t.Fatalf("without %q\n got %s\nwant %s", name, got, join(without))
		}
		if got, err := Edit([]byte(raw), Member{Name: name}); err != nil || string(got) != join(without) {
			t.Fatalf("without %q\n got %s, %v\nwant %s", name, got, err, join(without))
		}
		if got, err := Set([]byte(raw), []byte(`{"new":1}`), name); err != nil || string(got) != join(with) {
			t.Fatalf("with %q\n got %s, %v\nwant %s", name, got, err, join(with))
		}
		var last string
		for i, key := 0, ""; i < len(pairs); i++ {
			if key = pairs[i].key; key == name {
				last = pairs[i].value
			}
		}
		if got := Get([]byte(raw), name); string(got) != last {
			t.Fatalf("%q of %s is %s", name, raw, got)
		}
	})
}

func FuzzEdit(f *testing.F) {
	for _, s := range append(seeds(), `{"a":1,"a":{"b":2}}`, `{ "\u0061" : [ ] , "b":null } `, `{"a":1,}`, `{"a":1}x`) {
		f.Add([]byte(s), "a")
		f.Add([]byte(s), "\xff")
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		before := bytes.Clone(raw)
		set, err := Set(raw, []byte("[7]"), name)
		less := Delete(raw, name)
		got := Get(raw, name)
		kept := EditElements(raw, func(e []byte) []byte { return e })
		if !bytes.Equal(raw, before) || !bytes.Equal(kept, raw) {
			t.Fatalf("%q was changed in its place", before)
		}
		var members map[string]json.RawMessage
		if !json.Valid(raw) || json.Unmarshal(raw, &members) != nil {
			return
		}
		name = strings.ToValidUTF8(name, "\ufffd")
		if !bytes.Equal(got, members[name]) && !strings.Contains(name, "\ufffd") {
			t.Fatalf("%q of %q is %q, want %q", name, raw, got, members[name])
		}
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		for what, now := range map[string][]byte{"set": set, "deleted": less} {
			var after map[string]json.RawMessage
			if err := json.Unmarshal(now, &after); err != nil {
				t.Fatalf("%q, %s %q, is %q: %v", raw, what, name, now, err)
			}
			for key, value := range members {
				if key != name && !strings.Contains(key, "\ufffd") && !bytes.Equal(after[key], value) {
					t.Fatalf("%q, %s %q: %q is %q", raw, what, name, key, after[key])
				}
			}
		}
		var n int
		for range Members(raw) {
			n++
		}
		if n < len(members) {
			t.Fatalf("%q has %d members", raw, n)
		}
	})
}

// kilobyte is params of some 1 KB.
func kilobyte() []byte {
	return []byte(`{"name":"t","arguments":{"text":"` + strings.Repeat("x", 900) + `","n":[1,2,3]},"_meta":{"progressToken":9007199254740993,"traceparent":"00-0af7-b7ad-01"}}`)
}

func TestEditAllocations(t *testing.T) {
	params := kilobyte()
	line := slices.Concat([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`), params, []byte("}"))
	m, err := Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	one, token := []byte("1"), []byte(`"b1-1"`)
	for _, tt := range []struct {
		what string
		most float64
		f    func()
	}{
		{"Get", 0, func() {
			if Get(params, "_meta", "progressToken") == nil {
				t.Fatal("no token")
			}
		}},
		{"Find", 0, func() {
			name, meta := Member{Name: "name"}, Member{Name: "_meta"}
			if Find(params, &name, &meta); name.Value == nil || meta.Value == nil {
				t.Fatal("nothing found")
			}
		}},
		{"Delete of nothing", 0, func() { Delete(params, "_meta", "x") }},
		{"Edit", 1, func() {
			if _, err := Edit(params, Member{"name", one}, Member{"x", one}, Member{"arguments", nil}); err != nil {
				t.Fatal(err)
			}
		}},
		{"Set", 2, func() {
			if _, err := Set(params, token, "_meta", "progressToken"); err != nil {
				t.Fatal(err)
			}
		}},
		{"Rewrite", 1, func() {
			if _, err := m.Rewrite(Rewrite{ID: token, Params: params}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		if n := testing.AllocsPerRun(100, tt.f); n > tt.most {
			t.Errorf("%s allocates %v times", tt.what, n)
		}
	}
}
