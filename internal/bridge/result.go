package bridge

import (
	"bytes"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Server is what a server says about itself: raw JSON, or nil.
type Server struct {
	Info []byte
}

// ResultToModern makes the result of a legacy server that of a modern one. A list
// of tools loses those that have to run as tasks: see TaskTools.
func ResultToModern(method string, result []byte, s Server) []byte {
	edits := []jsonrpc.Member{{Name: "resultType", Value: []byte(`"complete"`)}}
	if cacheable(method) {
		// What a server of the other era says of other clients is not known.
		edits = append(edits,
			jsonrpc.Member{Name: "ttlMs", Value: []byte("0")},
			jsonrpc.Member{Name: "cacheScope", Value: []byte(`"private"`)})
	}
	if method == "tools/list" {
		edits = append(edits, toolsWithoutTasks(result)...)
	}
	return edit(result, append(edits, identity(result, s)...)...)
}

// Identify adds to a modern result who the server is, unless it says so itself.
func Identify(result []byte, s Server) []byte {
	return edit(result, identity(result, s)...)
}

func identity(result []byte, s Server) []jsonrpc.Member {
	if !given(s.Info) {
		return nil
	}
	meta := metaOf(result)
	if jsonrpc.Get(meta, metaServerInfo) != nil {
		return nil
	}
	return []jsonrpc.Member{editMeta(meta, jsonrpc.Member{Name: metaServerInfo, Value: s.Info})}
}

// ResultToLegacy makes the result of a modern server that of a legacy one. It is
// for results that are complete: see ResultType.
func ResultToLegacy(method string, result []byte) []byte {
	edits := append(make([]jsonrpc.Member, 0, 6), jsonrpc.Member{Name: "resultType"})
	if cacheable(method) {
		edits = append(edits, jsonrpc.Member{Name: "ttlMs"}, jsonrpc.Member{Name: "cacheScope"})
	}
	meta, structured := jsonrpc.Member{Name: "_meta"}, jsonrpc.Member{Name: "structuredContent"}
	jsonrpc.Find(result, &meta, &structured)
	switch method {
	case "tools/list":
		edits = append(edits, toolsForLegacy(result)...)
	case "tools/call":
		edits = append(edits, structuredForLegacy(result, structured.Value)...)
	}
	return edit(result, append(edits, editMeta(meta.Value, jsonrpc.Member{Name: metaServerInfo}))...)
}

// ResultType says of what type a modern server's result is: "complete",
// "input_required", or one of an extension. It is "" if the type is no string.
func ResultType(result []byte) string {
	raw := jsonrpc.Get(result, "resultType")
	if raw == nil {
		return "complete"
	}
	return text(raw)
}

// cacheable says whether a modern result must say for how long, and for whom, it
// may be kept.
func cacheable(method string) bool {
	switch method {
	case "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read":
		return true
	}
	return false
}

// TaskTools returns the names of the tools in a legacy server's list that can only
// run as tasks, which a client of the other era cannot ask for.
func TaskTools(result []byte) []string {
	var names []string
	if !mentions(result, "taskSupport") {
		return nil
	}
	for tool := range jsonrpc.Elements(jsonrpc.Get(result, "tools")) {
		if needsTask(tool) {
			names = append(names, text(jsonrpc.Get(tool, "name")))
		}
	}
	return names
}

func needsTask(tool []byte) bool {
	return text(jsonrpc.Get(tool, "execution", "taskSupport")) == "required"
}

// mentions says whether name may be that of a member somewhere inside raw.
func mentions(raw []byte, name string) bool {
	return bytes.Contains(raw, []byte(name)) || bytes.Contains(raw, []byte(`\u`))
}

func toolsWithoutTasks(result []byte) []jsonrpc.Member {
	if !mentions(result, "taskSupport") {
		return nil
	}
	return editTools(result, func(tool []byte) []byte {
		if needsTask(tool) {
			return nil
		}
		return withoutTaskSupport(tool)
	})
}

func editTools(result []byte, f func(tool []byte) []byte) []jsonrpc.Member {
	tools := jsonrpc.Get(result, "tools")
	if tools == nil {
		return nil
	}
	return []jsonrpc.Member{{Name: "tools", Value: jsonrpc.EditElements(tools, f)}}
}

func withoutTaskSupport(tool []byte) []byte {
	execution := jsonrpc.Get(tool, "execution")
	less := jsonrpc.Delete(execution, "taskSupport")
	switch {
	case len(less) == len(execution):
		return tool
	case empty(less):
		less = nil
	}
	return edit(tool, jsonrpc.Member{Name: "execution", Value: less})
}

// toolsForLegacy removes what a legacy client would misread. Its schemas of
// results are objects; one of another kind makes it refuse the whole list.
func toolsForLegacy(result []byte) []jsonrpc.Member {
	if !mentions(result, "taskSupport") && !mentions(result, "outputSchema") {
		return nil
	}
	return editTools(result, func(tool []byte) []byte {
		tool = withoutTaskSupport(tool)
		if schema := jsonrpc.Get(tool, "outputSchema"); schema != nil && text(jsonrpc.Get(schema, "type")) != "object" {
			tool = jsonrpc.Delete(tool, "outputSchema")
		}
		return tool
	})
}

// structuredForLegacy puts structured content that is no object into one, and
// into the text as well if there is none.
func structuredForLegacy(result, value []byte) []jsonrpc.Member {
	if value == nil || isObject(value) {
		return nil
	}
	edits := []jsonrpc.Member{{Name: "structuredContent", Value: join(`{"result":`, value, "}")}}
	return append(edits, asText(result, value)...)
}

// asText adds value to the content of a result if that holds no text.
func asText(result, value []byte) []jsonrpc.Member {
	content := jsonrpc.Get(result, "content")
	list := append([]byte(nil), '[')
	for block := range jsonrpc.Elements(content) {
		if text(jsonrpc.Get(block, "type")) == "text" {
			return nil
		}
		list = append(append(list, block...), ',')
	}
	if content != nil && content[0] != '[' {
		return nil
	}
	list = append(list, `{"type":"text","text":`...)
	list = append(list, jsonrpc.StringID(string(value))...)
	return []jsonrpc.Member{{Name: "content", Value: append(list, '}', ']')}}
}

// join is raw between two pieces of text.
func join(before string, raw []byte, after string) []byte {
	out := make([]byte, 0, len(before)+len(raw)+len(after))
	out = append(out, before...)
	out = append(out, raw...)
	return append(out, after...)
}
