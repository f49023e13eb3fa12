package merge

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Said is what one of the servers says of itself, in its answer to initialize or
// server/discover.
type Said struct {
	Server       string
	Capabilities []byte // raw JSON, nil if there are none
	Instructions string
}

// Capabilities is the union of what servers can do, as raw JSON. Of two values of
// one member that are no objects the first counts, but for a true that is false
// elsewhere. That lists change is always so: servers come and go.
func Capabilities(all []Said) []byte {
	union := map[string]any{}
	for _, s := range all {
		unite(union, s.Capabilities)
	}
	for _, kind := range []string{"tools", "prompts", "resources"} {
		object, ok := union[kind].(map[string]any)
		if !ok {
			object = map[string]any{}
			union[kind] = object
		}
		object["listChanged"] = []byte("true")
	}
	return appendUnion(nil, union)
}

// unite adds the members of a raw object.
func unite(union map[string]any, raw []byte) {
	for name, value := range jsonrpc.Members(raw) {
		text := string(value)
		if text == "null" {
			continue
		}
		had, there := union[name]
		object, isObject := had.(map[string]any)
		switch {
		case value[0] == '{' && (isObject || !there):
			if !there {
				object = map[string]any{}
				union[name] = object
			}
			unite(object, value)
		case !there, !isObject && text == "true":
			union[name] = bytes.Clone(value)
		}
	}
}

func appendUnion(out []byte, union map[string]any) []byte {
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(union)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, jsonrpc.StringID(name)...), ':')
		switch value := union[name].(type) {
		case map[string]any:
			out = appendUnion(out, value)
		case []byte:
			out = append(out, value...)
		}
	}
	return append(out, '}')
}

// Bounds on the instructions of one server and of all, in bytes: a client puts them
// before each conversation of its model.
const (
	instructionsMost    = 2 << 10
	allInstructionsMost = 16 << 10
)

// Instructions are those of all servers, each under the server's name. What is cut
// or left out is said.
func Instructions(all []Said) string {
	var b strings.Builder
	var omitted []string
	for _, s := range all {
		text := strings.TrimSpace(s.Instructions)
		if text == "" {
			continue
		}
		note := ""
		if len(text) > instructionsMost {
			note = fmt.Sprintf("\n[%d more bytes of these instructions are left out]", len(text)-instructionsMost)
			text = cut(text, instructionsMost)
		}
		part := "# " + s.Server + "\n\n" + text + note + "\n\n"
		if b.Len()+len(part) > allInstructionsMost {
			omitted = append(omitted, s.Server)
			continue
		}
		b.WriteString(part)
	}
	if len(omitted) > 0 {
		b.WriteString("[The instructions of these servers are left out for length: " + strings.Join(omitted, ", ") + "]\n")
	}
	return strings.TrimSpace(b.String())
}

// cut is the beginning of a text, in whole characters.
func cut(text string, most int) string {
	text = text[:most]
	for !utf8.ValidString(text) && text != "" {
		text = text[:len(text)-1]
	}
	return text
}

// Cache is for how long, and for whom, several answers together may be kept: the
// least time and the strictest scope of any. Scope is raw JSON.
type Cache struct {
	TTL     int64 // milliseconds
	Private bool
	Any     bool // there was an answer
}

// Add takes one answer more into account. One that does not say may not be kept.
func (c *Cache) Add(result []byte) {
	ttl, err := strconv.ParseInt(string(jsonrpc.Get(result, "ttlMs")), 10, 64)
	if err != nil || ttl < 0 {
		ttl = 0
	}
	if !c.Any || ttl < c.TTL {
		c.TTL = ttl
	}
	scope, _ := jsonrpc.Text(jsonrpc.Get(result, "cacheScope"))
	c.Private = c.Private || scope != "public"
	c.Any = true
}

// Members are those of a modern result that say so.
func (c *Cache) Members() []jsonrpc.Member {
	scope := `"public"`
	if c.Private || !c.Any {
		scope = `"private"`
	}
	return []jsonrpc.Member{
		{Name: "ttlMs", Value: strconv.AppendInt(nil, c.TTL, 10)},
		{Name: "cacheScope", Value: []byte(scope)},
	}
}
