package find

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recorded are the tools of the real servers, named as the gateway names them.
func recorded(t testing.TB) []Tool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "tools", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var tools []Tool
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
		server := strings.TrimSuffix(filepath.Base(file), ".json")
		for _, raw := range list {
			own := textOf(members(raw)["name"])
			listed := bytes.Replace(raw, encode(own), encode(server+"_"+own), 1)
			tools = append(tools, Tool{Name: server + "_" + own, Server: server, Own: own, Raw: listed})
		}
	}
	return tools
}

// request is one of testdata/requests.txt.
type request struct {
	text    string
	answers []string // SERVER/TOOL
}

func requests(t testing.TB) (all []request) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "requests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		answers, text, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("no request: %q", line)
		}
		all = append(all, request{text, strings.Split(answers, "|")})
	}
	if len(all) != 100 || lines.Err() != nil {
		t.Fatalf("%d requests, %v", len(all), lines.Err())
	}
	return all
}

// place returns at which place of the hits the answer is, counted from 1; 0 if it is
// not among them.
func (r request) place(hits []Hit) int {
	return 1 + slices.IndexFunc(hits, func(h Hit) bool { return slices.Contains(r.answers, h.Tool.Server+"/"+h.Tool.Own) })
}

// rates returns how many requests are answered by the first tool, and by one of the
// first five.
func rates(x *Index, all []request, missed func(request, []Hit)) (first, five int) {
	for _, r := range all {
		hits := x.Search(r.text, 5, nil)
		switch place := r.place(hits); {
		case place == 1:
			first++
			five++
		case place > 0:
			five++
		default:
			missed(r, hits)
		}
	}
	return first, five
}

// TestRequests holds what the ranking is worth. A change that costs more than some
// luck must not pass for one that does not matter.
func TestRequests(t *testing.T) {
	tools := recorded(t)
	all := requests(t)
	for _, r := range all {
		for _, answer := range r.answers {
			if !slices.ContainsFunc(tools, func(tool Tool) bool { return tool.Server+"/"+tool.Own == answer }) {
				t.Fatalf("%q is answered by %s, which there is not", r.text, answer)
			}
		}
	}
	first, five := rates(New(tools), all, func(r request, hits []Hit) {
		var got []string
		for _, h := range hits {
			got = append(got, h.Tool.Name)
		}
		t.Logf("%q is not answered by %v", r.text, got)
	})
	t.Logf("%d of 100 by the first, %d by one of five", first, five)
	if first < 65 || five < 90 {
		t.Errorf("%d of 100 by the first, at least 65 are wanted; %d by one of five, at least 90 are", first, five)
	}
}

// mistyped changes the places of two letters in the middle of the longest word.
func mistyped(text string) string {
	longest := slices.MaxFunc(strings.Fields(text), func(a, b string) int { return len(a) - len(b) })
	if len(longest) < 6 {
		return text
	}
	m := len(longest) / 2
	return strings.Replace(text, longest, longest[:m-1]+longest[m:m+1]+longest[m-1:m]+longest[m+1:], 1)
}

// TestMistypedRequests: one typing error in the longest word of each costs little.
func TestMistypedRequests(t *testing.T) {
	all := requests(t)
	for i := range all {
		all[i].text = mistyped(all[i].text)
	}
	first, five := rates(New(recorded(t)), all, func(request, []Hit) {})
	t.Logf("%d of 100 by the first, %d by one of five", first, five)
	if five < 80 {
		t.Errorf("%d of 100 are answered by one of five, at least 80 are wanted", five)
	}
}

// TestEachToolIsFoundByItsName: whatever else its words mean.
func TestEachToolIsFoundByItsName(t *testing.T) {
	tools := recorded(t)
	x := New(tools)
	for _, tool := range tools {
		for _, query := range []string{tool.Own, tool.Name, strings.ReplaceAll(tool.Own, "_", " "), strings.ToUpper(tool.Own)} {
			hits := x.Search(query, 5, nil)
			if !slices.ContainsFunc(hits, func(h Hit) bool { return h.Tool.Name == tool.Name }) {
				t.Errorf("%q does not find %s", query, tool.Name)
			}
		}
	}
}

func TestSearch(t *testing.T) {
	x := New(recorded(t))
	for _, query := range []string{"", " ", "?!", "the of", "zzzzzz qqqqqq", strings.Repeat("x", 1<<20)} {
		if hits := x.Search(query, 5, nil); len(hits) != 0 {
			t.Errorf("%.20q: %+v", query, hits[0].Tool.Name)
		}
	}
	all := x.Search("file", 1000, nil)
	if len(all) < 15 || len(x.Search("file", 3, nil)) != 3 || len(x.Search("file", 0, nil)) != 0 || len(x.Search("file", -1, nil)) != 0 {
		t.Errorf("%d hits", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i].Score > all[i-1].Score || all[i].Score <= 0 {
			t.Errorf("%d is %v, %d is %v", i-1, all[i-1].Score, i, all[i].Score)
		}
	}
	// What may not be called is not found, and the others are as they were.
	keep := func(tool *Tool) bool { return tool.Server != "filesystem" }
	want := slices.DeleteFunc(slices.Clone(all), func(h Hit) bool { return h.Tool.Server == "filesystem" })
	if got := x.Search("file", 1000, keep); len(got) == len(all) || !slices.EqualFunc(got, want, sameHit) {
		t.Errorf("%d of %d", len(got), len(want))
	}
	for range 20 { // maps have no order
		if !slices.EqualFunc(New(recorded(t)).Search("lsit fiels", 9, nil), x.Search("lsit fiels", 9, nil), sameHit) {
			t.Fatal("a search has two outcomes")
		}
	}
	if x.Len() != 95 {
		t.Errorf("%d tools", x.Len())
	}
	if tool, ok := x.Tool("memory_read_graph"); !ok || tool.Own != "read_graph" {
		t.Errorf("%+v", tool)
	}
	if _, ok := x.Tool("read_graph"); ok {
		t.Error("a tool by its server's name for it")
	}
	none := New(nil)
	if len(none.Search("file", 5, nil)) != 0 || none.Len() != 0 {
		t.Error("no tools")
	}
	if twice := New([]Tool{{Name: "a", Server: "x"}, {Name: "a", Server: "y"}}); twice.tools[twice.byName["a"]].Server != "x" {
		t.Error("the second of two is called by their name")
	}
}

// What a server gets wrong in one member does not hide the others.
func TestOddTools(t *testing.T) {
	x := New([]Tool{{Name: "s_a", Server: "s", Own: "a", Raw: json.RawMessage(
		`{"description":5,"title":"Zebra","annotations":[],"inputSchema":{"properties":{"okapi":true,"giraffe":{"description":7},"list":{"items":{"properties":{"walrus":null}}}}}}`)},
		{Name: "s_b", Server: "s", Own: "penguin", Raw: json.RawMessage(`not JSON`)}})
	for _, word := range []string{"zebra", "okapi", "giraffes", "walrus", "penguin"} {
		if hits := x.Search(word, 5, nil); len(hits) != 1 {
			t.Errorf("%s: %d hits", word, len(hits))
		}
	}
	if got := string(DescribeResult(x.tools[1])); !strings.Contains(got, `"isError":true`) {
		t.Error(got)
	}
	FindResult(x.Search("penguin", 5, nil))
}

func sameHit(a, b Hit) bool { return a.Tool.Name == b.Tool.Name && a.Score == b.Score }

// many are n tools of many servers, made of the recorded ones.
func many(t testing.TB, n int) []Tool {
	var tools []Tool
	for round := 0; len(tools) < n; round++ {
		for _, tool := range recorded(t) {
			tool.Server = fmt.Sprintf("%s%d", tool.Server, round)
			tool.Name = tool.Server + "_" + tool.Own
			tools = append(tools, tool)
		}
	}
	return tools[:n]
}

func BenchmarkNew500(b *testing.B) {
	tools := many(b, 500)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := New(tools)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for b.Loop() {
		New(tools)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "index-bytes")
	runtime.KeepAlive(x)
}

func BenchmarkSearch500(b *testing.B) {
	x, all := New(many(b, 500)), requests(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.Search(all[i%len(all)].text, 5, nil)
	}
}

// BenchmarkRequests tells what the ranking is worth, and what its parts are.
func BenchmarkRequests(b *testing.B) {
	typed := requests(b)
	for i := range typed {
		typed[i].text = mistyped(typed[i].text)
	}
	alone := New(recorded(b))
	alone.alike = nil
	for _, c := range []struct {
		what string
		x    *Index
		all  []request
	}{
		{"as-it-is", New(recorded(b)), requests(b)},
		{"without-alike", alone, requests(b)},
		{"mistyped", New(recorded(b)), typed},
	} {
		b.Run(c.what, func(b *testing.B) {
			first, five := 0, 0
			for b.Loop() {
				first, five = rates(c.x, c.all, func(request, []Hit) {})
			}
			b.ReportMetric(float64(first), "first-of-100")
			b.ReportMetric(float64(five), "five-of-100")
		})
	}
}

// BenchmarkTokens tells what the lists cost a model, at four bytes a token.
func BenchmarkTokens(b *testing.B) {
	for _, c := range []struct {
		what  string
		tools []json.RawMessage
	}{
		{"all-95", listed(recorded(b))},
		{"all-500", listed(many(b, 500))},
		{"three", Offer([]string{"conformance", "context7", "everything", "filesystem", "memory", "playwright", "sequential-thinking"})},
	} {
		b.Run(c.what, func(b *testing.B) {
			var size int
			for b.Loop() {
				size = len(encode(map[string]any{"tools": c.tools}))
			}
			b.ReportMetric(float64(size), "list-bytes")
			b.ReportMetric(float64(size)/4, "list-tokens")
		})
	}
	b.Run("find", func(b *testing.B) {
		x, all, size := New(recorded(b)), requests(b), 0
		for b.Loop() {
			size = 0
			for _, r := range all {
				// A client shows its model the text or what is structured, not both.
				size += len(members(FindResult(x.Search(r.text, 5, nil)))["structuredContent"])
			}
		}
		b.ReportMetric(float64(size)/float64(len(all)), "result-bytes")
		b.ReportMetric(float64(size)/float64(len(all))/4, "result-tokens")
	})
}

func listed(tools []Tool) (raws []json.RawMessage) {
	for _, t := range tools {
		raws = append(raws, t.Raw)
	}
	return raws
}
