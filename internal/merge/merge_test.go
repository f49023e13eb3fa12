package merge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

func TestName(t *testing.T) {
	long := strings.Repeat("x", 60)
	for _, c := range []struct{ prefix, name, want string }{
		{"fs", "read_file", "fs_read_file"},
		{"fs", "read-File9", "fs_read-File9"},
		{"fs", "read.file", "fs_read_file_"},
		{"fs", "", "fs__"},
		{"fs", "a b", "fs_a_b_"},
		{"fs", "größe", "fs_gr__e_"},
		{"fs", long, "fs_" + strings.Repeat("x", 38) + "_"},
	} {
		got := Name("files", c.prefix, c.name, NameMost)
		if got != c.want && !(strings.HasSuffix(c.want, "_") && strings.HasPrefix(got, c.want) && len(got) == len(c.want)+sumLen) {
			t.Errorf("%q of %q is %q, not %q", c.name, c.prefix, got, c.want)
		}
	}
	if a, b := Name("a", "p", long, 48), Name("b", "p", long, 48); a == b {
		t.Errorf("%q of two servers", a)
	}
}

// What the names of one server are depends on nothing but itself, each leads back to
// its prefix, and none is anyone else's.
func TestNames(t *testing.T) {
	server := rapid.StringMatching(`[a-z0-9]([a-z0-9._-]{0,30}[a-z0-9])?`)
	tool := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9_.-]{1,80}`), rapid.StringMatching(`[a-z]{1,3}`), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(32, 128).Draw(t, "most")
		seen := map[string]string{}
		for _, name := range rapid.SliceOfNDistinct(server, 1, 4, rapid.ID).Draw(t, "servers") {
			prefix := Prefix(name)
			if err := berth.CheckPrefix(prefix); err != nil {
				t.Fatal(err)
			}
			tools := rapid.SliceOfN(tool, 0, 12).Draw(t, "tools")
			public := Names(name, prefix, tools, most)
			mine := map[string]bool{}
			for i, p := range public {
				if p == "" {
					if !mine[tools[i]] {
						t.Fatalf("%q has no name", tools[i])
					}
					continue
				}
				mine[tools[i]] = true
				if len(p) > most || !plain(p) {
					t.Fatalf("%q is %q", tools[i], p)
				}
				if Owner(p) != prefix {
					t.Fatalf("%q leads to %q, not %q", p, Owner(p), prefix)
				}
				if own := prefix + "_" + tools[i]; p != own && !MayBeSum(p) {
					t.Fatalf("%q is %q", tools[i], p)
				}
				of := fmt.Sprintf("%s %q", name, tools[i])
				if other, taken := seen[p]; taken {
					t.Fatalf("%q is %s and %s", p, other, of)
				}
				seen[p] = of
			}
		}
	})
}

func TestPrefix(t *testing.T) {
	for server, want := range map[string]string{
		"github": "github", "a-b": "a-b", "12345678901234567890": "12345678901234567890",
	} {
		if got := Prefix(server); got != want {
			t.Errorf("the prefix of %q is %q", server, got)
		}
	}
	if a, b := Prefix("a.b"), Prefix("a_b"); a == b || a == "a-b" {
		t.Errorf("the prefixes of a.b and a_b are %q and %q", a, b)
	}
}

func TestAlias(t *testing.T) {
	for _, c := range []struct{ uri, alias string }{
		{"file:///etc/motd", "file://berth.two//etc/motd"},
		{"ui://clock/face", "ui://berth.two/clock/face"},
		{"memo:today", "memo:berth.two/today"},
		{"https://example.com/?a=b#c", "https://berth.two/example.com/?a=b#c"},
		{"demo://x/{id}", "demo://berth.two/x/{id}"},
		{"no scheme", "no scheme"},
	} {
		if got := Alias("two", c.uri); got != c.alias {
			t.Errorf("%q is %q, not %q", c.uri, got, c.alias)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		uri := rapid.StringMatching(`[a-z][a-z0-9+.-]{0,8}:(//)?[ -~]{0,40}`).Draw(t, "uri")
		server := rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,20}`).Draw(t, "server")
		alias := Alias(server, uri)
		if s, u, ok := Unalias(alias); !ok || s != server || u != uri {
			t.Fatalf("%q of %q is %q, and that is %q of %q, %v", uri, server, alias, u, s, ok)
		}
		scheme, _, _ := strings.Cut(uri, ":")
		if got, _, _ := strings.Cut(alias, ":"); got != scheme {
			t.Fatalf("%q became %q", uri, alias)
		}
	})
}

func TestOwners(t *testing.T) {
	var o Owners
	var clashes []string
	o.List([]string{"one", "two"}, [][]string{{"a:1", "a:2"}, {"a:2", "a:3"}}, func(uri, first, second string) {
		clashes = append(clashes, uri+" "+first+" "+second)
	})
	if fmt.Sprint(clashes) != "[a:2 one two]" {
		t.Errorf("clashes: %v", clashes)
	}
	for _, c := range []struct{ server, uri, public string }{
		{"one", "a:1", "a:1"},
		{"one", "a:2", "a:2"},
		{"two", "a:2", "a:berth.two/2"},
		{"two", "a:3", "a:3"},
		{"two", "a:4", "a:4"}, // a link
		{"one", "a:4", "a:berth.one/4"},
		{"one", "a:berth.two/9", "a:berth.one/berth.two/9"}, // it is not two's
	} {
		public := o.Publish(c.server, c.uri)
		if public != c.public {
			t.Errorf("%s of %s is %s, not %s", c.uri, c.server, public, c.public)
		}
		if server, uri, ok := o.Resolve(public); !ok || server != c.server || uri != c.uri {
			t.Errorf("%s is %s of %s, %v", public, uri, server, ok)
		}
	}
	if _, _, ok := o.Resolve("a:5"); ok {
		t.Error("nobody has mentioned a:5")
	}
	for i := range seenMost + 10 {
		o.Publish("one", fmt.Sprintf("b:%d", i))
	}
	if len(o.seen) != seenMost {
		t.Errorf("%d URIs are remembered", len(o.seen))
	}
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		template, uri string
		matches       bool
	}{
		{"demo://x/{id}", "demo://x/1", true},
		{"demo://x/{id}", "demo://y/1", false},
		{"file:///{+path}", "file:///a/b/c", true},
		{"file:///{path}", "file:///a/b/c", false},
		{"q://s{?a,b}", "q://s?a=1&b=2", true},
	} {
		p, err := ParseTemplate(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if p.Matches(c.uri) != c.matches {
			t.Errorf("%s and %s: %v", c.template, c.uri, !c.matches)
		}
	}
	if _, err := ParseTemplate("a:{"); err == nil {
		t.Error("a:{ is no template")
	}
}

func TestCapabilities(t *testing.T) {
	got := string(Capabilities([]Said{
		{Server: "a", Capabilities: []byte(`{"tools":{"listChanged":false},"logging":{},"x":{"n":1,"deep":{"a":true}}}`)},
		{Server: "b", Capabilities: []byte(`{"resources":{"subscribe":true},"x":{"n":2,"deep":{"a":false,"b":null}},"y":false}`)},
		{Server: "c"},
	}))
	want := `{"logging":{},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true},"x":{"deep":{"a":true},"n":1},"y":false}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestInstructions(t *testing.T) {
	all := []Said{{Server: "a", Instructions: " do this "}, {Server: "b"}, {Server: "c", Instructions: strings.Repeat("ü", 1500)}}
	got := Instructions(all)
	if !strings.HasPrefix(got, "# a\n\ndo this\n\n# c\n\nüü") || !strings.HasSuffix(got, "[952 more bytes of these instructions are left out]") {
		t.Errorf("%s", got)
	}
	for i := range 20 {
		all = append(all, Said{Server: fmt.Sprintf("s%d", i), Instructions: strings.Repeat("y", 2000)})
	}
	got = Instructions(all)
	if len(got) > allInstructionsMost+400 || !strings.Contains(got, "left out for length: s7, s8") {
		t.Errorf("%d bytes: %s", len(got), got[len(got)-300:])
	}
}

func TestCache(t *testing.T) {
	for _, c := range []struct {
		results []string
		want    string
	}{
		{nil, `[{ttlMs 0} {cacheScope "private"}]`},
		{[]string{`{"ttlMs":500,"cacheScope":"public"}`, `{"ttlMs":300,"cacheScope":"public"}`}, `[{ttlMs 300} {cacheScope "public"}]`},
		{[]string{`{"ttlMs":500,"cacheScope":"public"}`, `{"ttlMs":700,"cacheScope":"private"}`}, `[{ttlMs 500} {cacheScope "private"}]`},
		{[]string{`{"ttlMs":500,"cacheScope":"public"}`, `{}`}, `[{ttlMs 0} {cacheScope "private"}]`},
	} {
		var cache Cache
		for _, r := range c.results {
			cache.Add([]byte(r))
		}
		if got := fmt.Sprintf("%s", cache.Members()); got != c.want {
			t.Errorf("%v: %s", c.results, got)
		}
	}
}

// What is not a URI of a resource passes byte for byte.
func TestResultURIs(t *testing.T) {
	mark := func(uri string) string { return "n:" + uri }
	for result, want := range map[string]string{
		`{"content":[{"type":"text","text":"uri"}], "x":1.50}`:                                     `{"content":[{"type":"text","text":"uri"}], "x":1.50}`,
		`{"content":[{"type":"resource_link","uri":"a:1","name":"z"},{"type":"text","text":"u"}]}`: `{"content":[{"type":"resource_link","uri":"n:a:1","name":"z"},{"type":"text","text":"u"}]}`,
		`{"content":[{"type":"resource","resource":{"uri":"a:1","text":"t"}}]}`:                    `{"content":[{"type":"resource","resource":{"uri":"n:a:1","text":"t"}}]}`,
		`{"contents":[{"uri":"a:1","blob":"AA=="}]}`:                                               `{"contents":[{"uri":"n:a:1","blob":"AA=="}]}`,
		`{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:1"}}}]}`:    `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"n:a:1"}}}]}`,
		`{"messages":[{"content":[{"type":"resource_link","uri":"a:1"}]},{"content":"uri"}]}`:      `{"messages":[{"content":[{"type":"resource_link","uri":"n:a:1"}]},{"content":"uri"}]}`,
		`{"structuredContent":{"uri":"a:1"}}`:                                                      `{"structuredContent":{"uri":"a:1"}}`,
	} {
		if got := string(ResultURIs([]byte(result), mark)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestToolURIs(t *testing.T) {
	mark := func(uri string) string { return "n:" + uri }
	in := `{"name":"t","_meta":{"ui":{"resourceUri":"ui://a"},"ui/resourceUri":"ui://a"}}`
	want := `{"name":"t","_meta":{"ui":{"resourceUri":"n:ui://a"},"ui/resourceUri":"n:ui://a"}}`
	if got := string(ToolURIs([]byte(in), mark)); got != want {
		t.Errorf("got %s", got)
	}
}

func TestNameAskers(t *testing.T) {
	in := `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"who?"}},"s":{"method":"sampling/createMessage","params":{"message":"x"}}},"requestState":"st"}`
	want := `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"[git] who?"}},"s":{"method":"sampling/createMessage","params":{"message":"x"}}},"requestState":"st"}`
	if got := string(NameAskers([]byte(in), "git")); got != want {
		t.Errorf("got %s", got)
	}
}

// FuzzResult: what a server says never makes anything but JSON of JSON.
func FuzzResult(f *testing.F) {
	f.Add([]byte(`{"content":[{"type":"resource_link","uri":"a:1"}],"contents":[{"uri":"b:2"}],"messages":[{"content":{"type":"resource","resource":{"uri":"c:3"}}}],"inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m"}}}}`))
	f.Fuzz(func(t *testing.T, result []byte) {
		if !isObject(result) {
			return
		}
		same := ResultURIs(result, func(uri string) string { return uri })
		if string(same) != string(result) {
			t.Errorf("%q became %q", result, same)
		}
		out := NameAskers(ResultURIs(result, func(uri string) string { return Alias("s", uri) }), "s")
		if !isObject(out) {
			t.Errorf("%q became %q", result, out)
		}
		for _, kind := range Kinds() {
			if key := kind.KeyOf(result); key != "" {
				if got := kind.KeyOf(kind.Rekey(result, "other")); got != "other" {
					t.Errorf("%q is known by %q", result, got)
				}
			}
		}
	})
}

func isObject(raw []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}
