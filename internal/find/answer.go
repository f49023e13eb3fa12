package find

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// The results below are those of tools/call, with the same as text and as structured
// content, as the specification asks ("a tool that returns structured content SHOULD
// also return the serialized JSON in a TextContent block"). They have no resultType:
// whoever answers a client of 2026-07-28 adds it, as to any result.

// aboutMost bounds what is told of a tool in a list, in bytes. describe_tool has all.
const aboutMost = 240

// found is a tool in the result of find_tools.
type found struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	About     string `json:"description,omitzero"`
	Arguments string `json:"arguments"`
}

// FindResult is the result of find_tools. That nothing was found is no error.
func FindResult(hits []Hit) json.RawMessage {
	list := make([]found, len(hits))
	for i, h := range hits {
		member := members(h.Tool.Raw)
		about := textOf(member["description"])
		if about == "" {
			about = textOf(member["title"])
		}
		list[i] = found{h.Tool.Name, h.Tool.Server, short(about), signature(member["inputSchema"])}
	}
	said := struct {
		Tools []found `json:"tools"`
		Hint  string  `json:"hint,omitzero"`
	}{Tools: list}
	if len(list) == 0 {
		said.Hint = "nothing matches; say it in other words, or name the server"
	}
	return result(encode(said))
}

// DescribeResult is the result of describe_tool: the tool as it is listed.
func DescribeResult(t Tool) json.RawMessage {
	var plain bytes.Buffer
	if json.Compact(&plain, t.Raw) != nil {
		return ErrorResult("the definition of this tool is not JSON")
	}
	return result(plain.Bytes())
}

// UnknownResult is the result of describe_tool and call_tool for a name that no tool
// has which the caller may call; near are tools that may have been meant.
func UnknownResult(name string, near []Hit) json.RawMessage {
	text := fmt.Sprintf("there is no tool %.80q; %s returns the names of those that there are", name, FindName)
	if len(near) > 0 {
		names := make([]string, len(near))
		for i, h := range near {
			names[i] = h.Tool.Name
		}
		text += ", such as " + strings.Join(names, ", ")
	}
	return ErrorResult(text)
}

// ErrorResult is a result that says what was wrong with the call.
func ErrorResult(text string) json.RawMessage {
	return encode(struct {
		Content []content `json:"content"`
		IsError bool      `json:"isError"`
	}{[]content{{"text", text}}, true})
}

type content struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func result(structured json.RawMessage) json.RawMessage {
	return encode(struct {
		Content    []content       `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
	}{[]content{{"text", string(structured)}}, structured})
}

// signature names the arguments of a schema: those that must be there first, in the
// schema's order, then the others with a ?.
func signature(schema json.RawMessage) string {
	m := members(schema)
	properties := members(m["properties"])
	var required []string
	_ = json.Unmarshal(m["required"], &required)
	var names []string
	for _, name := range required {
		if _, is := properties[name]; is && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if !slices.Contains(required, name) {
			names = append(names, name+"?")
		}
	}
	return strings.Join(names, ", ")
}

// short is the beginning of a text, on one line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= aboutMost {
		return text
	}
	cut := aboutMost
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	if space := strings.LastIndexByte(text[:cut], ' '); space > cut/2 {
		cut = space
	}
	return text[:cut] + "…"
}
