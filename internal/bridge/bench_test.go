package bridge

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkBridge(b *testing.B) {
	c := Client{Capabilities: []byte(`{"sampling":{},"elicitation":{"form":{},"url":{}}}`), Info: []byte(info), LogLevel: []byte(`"info"`)}
	for _, size := range []int{1_000, 100_000} {
		text := strings.Repeat("x", size)
		params := []byte(`{"name":"t","arguments":{"text":"` + text + `"},"_meta":{"progressToken":1}}`)
		result := []byte(`{"content":[{"type":"text","text":"` + text + `"}],"isError":false}`)
		modernParams, modernResult := ToModern(params, c), ResultToModern("tools/call", result, Server{Info: []byte(info)})
		for _, bb := range []struct {
			name string
			do   func()
		}{
			{"ToModern", func() { ToModern(params, c) }},
			{"ToLegacy", func() { ToLegacy(modernParams) }},
			{"ResultToModern", func() { ResultToModern("tools/call", result, Server{Info: []byte(info)}) }},
			{"ResultToLegacy", func() { ResultToLegacy("tools/call", modernResult) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", bb.name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					bb.do()
				}
			})
		}
	}
}
