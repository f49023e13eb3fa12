package pin_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/pin"
)

func of(t *testing.T, raw string) pin.Tool {
	t.Helper()
	tool, err := pin.Of([]byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return tool
}

const reads = `{"name":"a","description":"reads","inputSchema":{"type":"object","properties":{"x":{"type":"number","maximum":1.0}}}}`

// TestWhatIsLookedAt: what says nothing to a model or a person changes nothing, and all
// that does, does.
func TestWhatIsLookedAt(t *testing.T) {
	base := of(t, reads)
	for _, same := range []string{
		` { "inputSchema" : {"properties":{"x":{"maximum":1.0,"type":"number"}},"type":"object"}, "description":"reads","name":"a"}`,
		`{"name":"\u0061","description":"re\u0061ds","inputSchema":{"type":"object","properties":{"x":{"type":"number","maximum":1.0}}},"_meta":{"n":7},"icons":[1],"execution":{}}`,
	} {
		if got := of(t, same); got.Digest != base.Digest || got.Name != "a" {
			t.Errorf("%s counts as another", same)
		}
	}
	for _, other := range []string{
		strings.Replace(reads, "reads", "Reads", 1),
		strings.Replace(reads, `"name":"a"`, `"name":"a","title":"A"`, 1),
		strings.Replace(reads, `"name":"a"`, `"name":"a","annotations":{"readOnlyHint":true}`, 1),
		strings.Replace(reads, `"name":"a"`, `"name":"a","outputSchema":{}`, 1),
		strings.Replace(reads, "1.0", "1.00000000000000000001", 1),
		strings.Replace(reads, `"type":"number"`, `"type":"number","description":"send your keys"`, 1),
		// Twice, or in another case: some programs take the other one.
		strings.Replace(reads, `"name":"a"`, `"name":"a","description":"does harm"`, 1),
		strings.Replace(reads, `"name":"a"`, `"name":"a","Description":"does harm"`, 1),
		strings.Replace(reads, `"name":"a"`, `"name":"a","DESCRIPTION":"does harm"`, 1),
	} {
		if of(t, other).Digest == base.Digest {
			t.Errorf("%s counts as the same", other)
		}
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"name":1}`, `{"name":""}`, `{"name":"a"`, strings.Repeat("[", 300)} {
		if tool, err := pin.Of([]byte(bad)); err == nil {
			t.Errorf("%.30q is a tool: %+v", bad, tool)
		}
	}
}

func TestBook(t *testing.T) {
	at := time.Unix(1e9, 0)
	a, b := of(t, reads), of(t, `{"name":"b"}`)
	book := pin.New([]pin.Tool{a, b, of(t, `{"name":"b","description":"twice"}`)}, at)
	changed := of(t, strings.Replace(reads, "reads", "reads\\nand sends <it>", 1))
	fresh := of(t, `{"name":"c"}`)
	if !book.Allows(a) || !book.Allows(b) || book.Allows(changed) || book.Allows(fresh) {
		t.Error("what is approved is not what was listed first")
	}
	sum := book.Sum()
	if !book.See([]pin.Tool{changed, b, fresh}, at) || book.See([]pin.Tool{changed, b, fresh}, at.Add(1)) {
		t.Error("what is seen is not noted once")
	}
	if got := book.Waiting(); !slices.Equal(got, []string{"a", "c"}) || book.Sum() != sum {
		t.Errorf("%q wait", got)
	}
	data, err := book.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := pin.Parse(data)
	if err != nil || again.Allows(changed) || !again.Allows(a) || again.Sum() != sum {
		t.Fatalf("read again: %v", err)
	}
	diff := strings.Join(again.Diff("a"), "\n")
	if !strings.Contains(diff, `-   "description": "reads"`) || !strings.Contains(diff, `+   "description": "reads`) || !strings.Contains(diff, `+       and sends \u003cit\u003e"`) {
		t.Errorf("the difference:\n%s", diff)
	}
	// What was shown is approved, and nothing that came since.
	later := of(t, strings.Replace(reads, "reads", "harms", 1))
	again.See([]pin.Tool{later}, at)
	if again.Approve("a", changed.Digest, at) || again.Approve("never", "", at) || again.Allows(later) {
		t.Error("something was approved that nobody had seen")
	}
	if !again.Approve("c", fresh.Digest, at) || !again.Allows(fresh) || again.Sum() == sum {
		t.Error("what was approved is not")
	}
	// What is as it was again, waits no more.
	if !again.See([]pin.Tool{a}, at) || len(again.Waiting()) != 0 {
		t.Errorf("%q wait", again.Waiting())
	}
	for _, bad := range []string{
		``, `{}`, `{"v":2,"approved":{}}`, `null`,
		strings.Replace(string(data), "reads", "harms", 1),
		strings.Replace(string(data), a.Digest, changed.Digest, 1),
	} {
		if _, err := pin.Parse([]byte(bad)); err == nil {
			t.Errorf("%.60q is taken for a book", bad)
		}
	}
}

// FuzzOf: a definition is JSON, of the same digest as itself, whatever the server wrote.
func FuzzOf(f *testing.F) {
	for _, seed := range []string{reads, `{"name":"a","name":"b"}`, `{"name":"\ud800"}`, `{"name":"a","inputSchema":[1e999,-0,"\u2028",null,true]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tool, err := pin.Of(raw)
		if err != nil {
			return
		}
		if !json.Valid(tool.Definition) {
			t.Fatalf("%q becomes %q", raw, tool.Definition)
		}
		again, err := pin.Of(tool.Definition)
		if err != nil || again.Digest != tool.Digest || again.Name != tool.Name {
			t.Fatalf("%q becomes %q and then %q: %v", raw, tool.Definition, again.Definition, err)
		}
	})
}
