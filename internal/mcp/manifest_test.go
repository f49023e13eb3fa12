package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// sampleManifest has two pages of tools, odd spacing included.
func sampleManifest() *Manifest {
	return &Manifest{
		Key: "k", Era: Legacy, At: time.Unix(1, 0).UTC(),
		Hello: json.RawMessage(`{ "protocolVersion":"2025-11-25", "capabilities":{"tools":{}},"serverInfo":{"name":"<é>","version":"1"},"big":12345678901234567890}`),
		Lists: map[string][]json.RawMessage{
			"tools/list":   {json.RawMessage("{\"tools\":[ {\"name\":\"a\"}],\n\"nextCursor\":\"2\"}"), json.RawMessage(`{"nextCursor":null,"tools":[]}`)},
			"prompts/list": {json.RawMessage(`{"prompts":[]}`)},
		},
		Refused: map[string]json.RawMessage{"resources/templates/list": json.RawMessage(`{"code":-32601,"message":"no"}`)},
	}
}

func TestManifestKeepsEveryByte(t *testing.T) {
	m := sampleManifest()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Same(m) || !got.At.Equal(m.At) {
		t.Errorf("read %+v, wrote %+v", got, m)
	}
	for _, c := range []struct{ method, cursor, result, refused string }{
		{"tools/list", "", string(m.Lists["tools/list"][0]), ""},
		{"tools/list", "2", string(m.Lists["tools/list"][1]), ""},
		{"tools/list", "3", "", ""},
		{"prompts/list", "2", "", ""},
		{"resources/list", "", "", ""},
		{"resources/templates/list", "", "", `{"code":-32601,"message":"no"}`},
		{"resources/templates/list", "2", "", ""},
	} {
		result, refused := got.Page(c.method, c.cursor)
		if string(result) != c.result || string(refused) != c.refused {
			t.Errorf("%s at %q: %s, %s", c.method, c.cursor, result, refused)
		}
	}
}

func TestManifestChanges(t *testing.T) {
	a, b := sampleManifest(), sampleManifest()
	if got := a.Changes(b); len(got) != 0 {
		t.Errorf("nothing changed: %v", got)
	}
	b.Lists["resources/templates/list"] = []json.RawMessage{json.RawMessage(`{"resourceTemplates":[]}`)}
	delete(b.Lists, "prompts/list")
	if got := strings.Join(a.Changes(b), " "); got != "prompts resources" {
		t.Errorf("changed: %s", got)
	}
	if a.Same(b) {
		t.Error("they are not the same")
	}
}

// reseal writes a body with the sum that belongs to it, as an editor would who
// knows of that.
func reseal(t testing.TB, text string) []byte {
	t.Helper()
	data, err := json.Marshal(envelope{Version: manifestVersion, Sum: sumOf([]byte(text)), Body: json.RawMessage(text)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestManifestTrustsNothingElse(t *testing.T) {
	good, err := sampleManifest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	hello := b64(sampleManifest().Hello)
	list := func(method string, pages ...string) []byte {
		encoded := []string{}
		for _, p := range pages {
			encoded = append(encoded, `"`+b64([]byte(p))+`"`)
		}
		return reseal(t, `{"key":"k","era":"legacy","hello":"`+hello+`","lists":{"`+method+`":[`+strings.Join(encoded, ",")+`]},"at":"2026-01-01T00:00:00Z"}`)
	}
	if _, err := ParseManifest(list("tools/list", `{"tools":[]}`)); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	cases := map[string][]byte{
		"nothing":        nil,
		"half":           good[:len(good)/2],
		"one more brace": append(bytes.Clone(good), '}'),
		"a later one":    bytes.Replace(good, []byte(`{"v":1`), []byte(`{"v":2`), 1),
		"no key":         reseal(t, `{"key":"","era":"legacy","hello":"`+hello+`","lists":{},"at":"2026-01-01T00:00:00Z"}`),
		"no era":         reseal(t, `{"key":"k","era":"","hello":"`+hello+`","lists":{},"at":"2026-01-01T00:00:00Z"}`),
		"the other era":  reseal(t, `{"key":"k","era":"modern","hello":"`+hello+`","lists":{},"at":"2026-01-01T00:00:00Z"}`),
		"no hello":       reseal(t, `{"key":"k","era":"legacy","hello":"","lists":{},"at":"2026-01-01T00:00:00Z"}`),
		"an odd list":    list("tools/call", `{"tools":[]}`),
		"no pages":       list("tools/list"),
		"no array":       list("tools/list", `{"tools":{}}`),
		"no end":         list("tools/list", `{"tools":[],"nextCursor":"2"}`),
		"an early end":   list("tools/list", `{"tools":[]}`, `{"tools":[]}`),
		"a circle":       list("tools/list", `{"tools":[],"nextCursor":"2"}`, `{"tools":[],"nextCursor":"2"}`, `{"tools":[]}`),
		"not JSON":       list("tools/list", `{"tools":[]`),
		"unfinished":     list("tools/list", `{"tools":[],"resultType":"input_required"}`),
		"another error":  reseal(t, `{"key":"k","era":"legacy","hello":"`+hello+`","lists":{},"refused":{"tools/list":"`+b64([]byte(`{"code":1,"message":""}`))+`"},"at":"2026-01-01T00:00:00Z"}`),
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		cases[fmt.Sprintf("a bit of byte %d", i)] = flipped
	}
	for name, data := range cases {
		if m, err := ParseManifest(data); err == nil {
			whole, _ := sampleManifest().Encode()
			if again, encodeErr := m.Encode(); encodeErr == nil && bytes.Equal(again, whole) {
				continue // the bit was of a blank, or of a member's case
			}
			t.Errorf("%s: was believed", name)
		}
	}
}

func TestManifestHasABound(t *testing.T) {
	m := sampleManifest()
	m.Lists["tools/list"] = []json.RawMessage{json.RawMessage(`{"tools":["` + strings.Repeat("x", MaxManifest) + `"]}`)}
	if _, err := m.Encode(); err == nil {
		t.Error("it was written")
	}
	if _, err := ParseManifest(make([]byte, MaxManifest+2)); err == nil || !strings.Contains(err.Error(), "the most") {
		t.Errorf("a file that is too long: %v", err)
	}
}

// FuzzManifest: whatever is in the file, with its sum or without, is refused or
// is a manifest of which every page can be reached.
func FuzzManifest(f *testing.F) {
	good, err := sampleManifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(good, &e); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(e.Body))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(data []byte) {
			m, err := ParseManifest(data)
			if err != nil {
				return
			}
			_ = m.Info()
			for method, pages := range m.Lists {
				cursor := ""
				for i, p := range pages {
					if got, _ := m.Page(method, cursor); !bytes.Equal(got, p) {
						t.Fatalf("%s: page %d at %q is %s", method, i, cursor, got)
					}
					_, member := ListKind(method)
					if cursor, err = checkPage(p, member); err != nil {
						t.Fatal(err)
					}
				}
			}
			again, err := m.Encode()
			if err != nil {
				return // its time, for one
			}
			if n, err := ParseManifest(again); err != nil || !n.Same(m) {
				t.Fatalf("written and read again: %v", err)
			}
		}
		check(data)
		if json.Valid(data) {
			check(reseal(t, string(data)))
		}
	})
}
