package find

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The names of the three tools that are offered in the place of all.
const (
	FindName     = "find_tools"
	DescribeName = "describe_tool"
	CallName     = "call_tool"
)

// The bounds of how many tools a search returns.
const (
	limitDefault = 5
	limitMost    = 20
)

// serversMost bounds how many servers are named to a model, which must know what
// there is to be found.
const serversMost = 40

// Offer returns the three tools as they are listed, in the order of the constants.
// servers are those whose tools can be found, in the order in which to name them.
//
// What call_tool does is what the called tool does, so it has the annotations of a
// tool of which nothing is known; the other two read.
func Offer(servers []string) []json.RawMessage {
	find := "Find tools by what you want to do. Returns the best matches, each with its name, what it does and its arguments; " +
		"those that end in ? may be left out. Then call one with " + CallName + "."
	if named := servers[:min(len(servers), serversMost)]; len(named) > 0 {
		find += " There are tools of: " + strings.Join(named, ", ")
		if more := len(servers) - len(named); more > 0 {
			find += fmt.Sprintf(" and %d more servers", more)
		}
		find += "."
	}
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	name := text("The tool's name, as " + FindName + " returns it")
	return []json.RawMessage{
		definition(FindName, "Find tools", find, true, map[string]any{
			"query": text("What you want to do, in plain words, such as: rename a file"),
			"limit": map[string]any{"type": "integer", "minimum": 1, "maximum": limitMost, "default": limitDefault, "description": "How many to return at most"},
		}, "query"),
		definition(DescribeName, "Describe a tool", "Get the whole definition of a tool: its description, the JSON Schema of its arguments, its annotations.", true,
			map[string]any{"name": name}, "name"),
		definition(CallName, "Call a tool", "Call a tool that "+FindName+" found. Returns what the tool returns.", false, map[string]any{
			"name":      name,
			"arguments": map[string]any{"type": "object", "description": "The tool's arguments, by its own schema"},
		}, "name"),
	}
}

func definition(name, title, description string, reads bool, properties map[string]any, required ...string) json.RawMessage {
	type annotations struct {
		ReadOnly    bool `json:"readOnlyHint"`
		Destructive bool `json:"destructiveHint"`
		Idempotent  bool `json:"idempotentHint"`
		OpenWorld   bool `json:"openWorldHint"`
	}
	return encode(struct {
		Name        string         `json:"name"`
		Title       string         `json:"title"`
		Description string         `json:"description"`
		InputSchema map[string]any `json:"inputSchema"`
		Annotations annotations    `json:"annotations"`
	}{
		name, title, description,
		map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false},
		annotations{ReadOnly: reads, Destructive: !reads, Idempotent: reads, OpenWorld: !reads},
	})
}

// encode writes JSON as it is meant to be read, without escapes for HTML.
func encode(v any) json.RawMessage {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // what is encoded here are texts and valid JSON
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n"))
}
