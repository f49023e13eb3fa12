package bridge

import (
	"fmt"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Downgrade makes content that a legacy revision does not know text. It is for
// results of tools/call and prompts/get, and for params of sampling/createMessage;
// what belongs to other methods it returns as it is.
func Downgrade(version, method string, raw []byte) []byte {
	if version >= v2506 {
		return raw
	}
	switch method {
	case "tools/call":
		content := jsonrpc.Get(raw, "content")
		if content == nil {
			return raw
		}
		out := edit(raw, jsonrpc.Member{Name: "content", Value: jsonrpc.EditElements(content, func(block []byte) []byte {
			return downgradeBlock(version, block)
		})})
		if value := jsonrpc.Get(out, "structuredContent"); given(value) {
			out = edit(out, asText(out, value)...)
		}
		return out
	case "prompts/get", "sampling/createMessage":
		messages := jsonrpc.Get(raw, "messages")
		if messages == nil {
			return raw
		}
		return edit(raw, jsonrpc.Member{Name: "messages", Value: jsonrpc.EditElements(messages, func(message []byte) []byte {
			block := jsonrpc.Get(message, "content")
			if block == nil {
				return message
			}
			return edit(message, jsonrpc.Member{Name: "content", Value: downgradeBlock(version, block)})
		})})
	}
	return raw
}

// downgradeBlock changes one block of content. Annotations and members that are
// not known stay.
func downgradeBlock(version string, block []byte) []byte {
	switch kind := text(jsonrpc.Get(block, "type")); {
	case kind == "audio" && version < v2503:
		data := jsonrpc.Get(block, "data")
		return asTextBlock(block, fmt.Sprintf("[audio, %s, %d bytes in base64: revision %s of MCP cannot carry it]",
			orUnknown(text(jsonrpc.Get(block, "mimeType"))), len(text(data)), version),
			jsonrpc.Member{Name: "data"}, jsonrpc.Member{Name: "mimeType"})
	case kind == "resource_link":
		name := text(jsonrpc.Get(block, "title"))
		if name == "" {
			name = text(jsonrpc.Get(block, "name"))
		}
		says := text(jsonrpc.Get(block, "uri"))
		if name != "" {
			says = name + ": " + says
		}
		if d := text(jsonrpc.Get(block, "description")); d != "" {
			says += "\n" + d
		}
		return asTextBlock(block, says)
	}
	return block
}

func asTextBlock(block []byte, says string, more ...jsonrpc.Member) []byte {
	return edit(block, append(more,
		jsonrpc.Member{Name: "type", Value: []byte(`"text"`)},
		jsonrpc.Member{Name: "text", Value: jsonrpc.StringID(says)})...)
}

func orUnknown(s string) string {
	if s == "" {
		return "of unknown type"
	}
	return s
}
