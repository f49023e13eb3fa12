package merge

import (
	"bytes"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Kind is a list that servers have.
type Kind struct {
	Method string // that asks for it
	Member string // of the result, which holds it
	Key    string // member of an element by which it is known
	// Changed is the notification that it has changed.
	Changed string
}

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		{"tools/list", "tools", "name", "notifications/tools/list_changed"},
		{"prompts/list", "prompts", "name", "notifications/prompts/list_changed"},
		{"resources/list", "resources", "uri", "notifications/resources/list_changed"},
		{"resources/templates/list", "resourceTemplates", "uriTemplate", "notifications/resources/list_changed"},
	}
}

// KindOf is the list that a method asks for.
func KindOf(method string) (kind Kind, ok bool) {
	for _, k := range Kinds() {
		if k.Method == method {
			return k, true
		}
	}
	return Kind{}, false
}

// KeyOf is what an element of the list is known by, "" if it has no such thing.
func (k Kind) KeyOf(element []byte) string {
	key, _ := jsonrpc.Text(jsonrpc.Get(element, k.Key))
	return key
}

// Rekey is an element under another key.
func (k Kind) Rekey(element []byte, key string) []byte {
	if k.KeyOf(element) == key {
		return element
	}
	return set(element, jsonrpc.StringID(key), k.Key)
}

// set is jsonrpc.Set, which cannot fail where the path leads to what is there.
func set(raw, value []byte, path ...string) []byte {
	out, err := jsonrpc.Set(raw, value, path...)
	if err != nil {
		return raw
	}
	return out
}

// ToolURIs is a tool with publish applied to the URIs of resources that it names in
// its _meta, for MCP Apps.
func ToolURIs(tool []byte, publish func(uri string) string) []byte {
	if !bytes.Contains(tool, []byte("esourceUri")) {
		return tool
	}
	for _, path := range [][]string{{"_meta", "ui", "resourceUri"}, {"_meta", "ui/resourceUri"}} {
		tool = republish(tool, publish, path...)
	}
	return tool
}

// republish applies publish to the URI at a path, if there is one.
func republish(raw []byte, publish func(string) string, path ...string) []byte {
	uri, ok := jsonrpc.Text(jsonrpc.Get(raw, path...))
	if !ok {
		return raw
	}
	if p := publish(uri); p != uri {
		return set(raw, jsonrpc.StringID(p), path...)
	}
	return raw
}

// ResultURIs is the result of tools/call, prompts/get or resources/read with publish
// applied to the URIs of resources in it: links, embedded resources, contents.
func ResultURIs(result []byte, publish func(uri string) string) []byte {
	if !bytes.Contains(result, []byte(`uri`)) {
		return result
	}
	result = each(result, "content", func(block []byte) []byte { return blockURIs(block, publish) })
	result = each(result, "contents", func(c []byte) []byte { return republish(c, publish, "uri") })
	return each(result, "messages", func(message []byte) []byte {
		content := jsonrpc.Get(message, "content")
		if content == nil {
			return message
		}
		if content[0] == '[' {
			return each(message, "content", func(block []byte) []byte { return blockURIs(block, publish) })
		}
		if changed := blockURIs(content, publish); !same(changed, content) {
			return set(message, changed, "content")
		}
		return message
	})
}

// each applies f to the elements of an array that is a member.
func each(raw []byte, member string, f func([]byte) []byte) []byte {
	list := jsonrpc.Get(raw, member)
	if list == nil || list[0] != '[' {
		return raw
	}
	changed := false
	edited := jsonrpc.EditElements(list, func(element []byte) []byte {
		out := f(element)
		changed = changed || !same(out, element)
		return out
	})
	if !changed {
		return raw
	}
	return set(raw, edited, member)
}

// blockURIs is a block of content with publish applied to what it names.
func blockURIs(block []byte, publish func(string) string) []byte {
	switch kind, _ := jsonrpc.Text(jsonrpc.Get(block, "type")); kind {
	case "resource_link":
		return republish(block, publish, "uri")
	case "resource":
		return republish(block, publish, "resource", "uri")
	}
	return block
}

// same says whether two slices are the same bytes in memory.
func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// NameAsker has the params of elicitation/create say which server asks.
func NameAsker(params []byte, server string) []byte {
	message, ok := jsonrpc.Text(jsonrpc.Get(params, "message"))
	if !ok {
		return params
	}
	return set(params, jsonrpc.StringID("["+server+"] "+message), "message")
}

// NameAskers is a result of the type input_required whose elicitations say which
// server asks.
func NameAskers(result []byte, server string) []byte {
	asks := jsonrpc.Get(result, "inputRequests")
	if asks == nil {
		return result
	}
	edited := asks
	for key, ask := range jsonrpc.Members(asks) {
		if method, _ := jsonrpc.Text(jsonrpc.Get(ask, "method")); method != "elicitation/create" {
			continue
		}
		if params := jsonrpc.Get(ask, "params"); params != nil {
			edited = set(edited, NameAsker(params, server), key, "params")
		}
	}
	if same(edited, asks) {
		return result
	}
	return set(result, edited, "inputRequests")
}
