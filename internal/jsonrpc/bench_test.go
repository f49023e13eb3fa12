package jsonrpc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{100, 10_000, 1_000_000} {
		line := []byte(`{"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", size) + `"}]},"jsonrpc":"2.0","id":"b1-2"}`)
		b.Run(fmt.Sprintf("shallow/%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(line); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("encoding-json/%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				var m struct {
					JSONRPC            string
					ID, Params, Result json.RawMessage
					Method             string
				}
				if err := json.Unmarshal(line, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEdit(b *testing.B) {
	params := kilobyte()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + string(params) + `}`))
	if err != nil {
		b.Fatal(err)
	}
	token := []byte(`"b1-1"`)
	for name, f := range map[string]func(){
		"get":     func() { Get(params, "_meta", "progressToken") },
		"set":     func() { params, _ = Set(params, token, "_meta", "progressToken") },
		"rewrite": func() { _, _ = m.Rewrite(Rewrite{ID: token, Params: params}) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
