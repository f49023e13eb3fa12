package settings

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// tree is what a document says, in a form in which two can be compared.
type tree struct {
	kind kind
	text string   // of a scalar
	keys []string // of a table
	kids []*tree
}

type kind byte

const (
	scalar kind = iota
	null
	table
	list
)

func (t *tree) equal(o *tree) bool {
	if t.kind != o.kind || t.text != o.text || !slices.Equal(t.keys, o.keys) {
		return false
	}
	return slices.EqualFunc(t.kids, o.kids, (*tree).equal)
}

// sameBut says whether two documents say the same but for an entry, and for what
// holds it where that holds nothing else.
func sameBut(a, b document, p Place) bool {
	x, y := without(a.tree(), p.Path, p.ID), without(b.tree(), p.Path, p.ID)
	return x.equal(y)
}

// without is a tree without an entry and what would hold nothing then. Of what is
// not on the path, it shares the nodes.
func without(t *tree, path []string, id string) *tree {
	switch {
	case t.kind == null || len(t.kids) == 0 && t.kind != scalar:
		return &tree{kind: null}
	case t.kind == table && (id == "" || len(path) > 1):
		at := slices.Index(t.keys, path[0])
		if at < 0 {
			return t
		}
		rest := &tree{kind: null}
		if len(path) > 1 {
			rest = without(t.kids[at], path[1:], id)
		}
		out := &tree{kind: table, keys: slices.Clone(t.keys), kids: slices.Clone(t.kids)}
		if rest.kind != null {
			out.kids[at] = rest
			return out
		}
		out.keys = slices.Delete(out.keys, at, at+1)
		out.kids = slices.Delete(out.kids, at, at+1)
		if len(out.kids) == 0 {
			return rest
		}
		return out
	case t.kind == list && len(path) == 1 && id != "":
		out := &tree{kind: list}
		for _, kid := range t.kids {
			if !kid.named(id, path[0]) {
				out.kids = append(out.kids, kid)
			}
		}
		if len(out.kids) == 0 {
			return &tree{kind: null}
		}
		return out
	}
	return t
}

// named says whether an element of a list has that name.
func (t *tree) named(id, name string) bool {
	at := slices.Index(t.keys, id)
	return at >= 0 && t.kids[at].kind == scalar && t.kids[at].text == textOf(name)
}

// textOf is the text of a scalar that is a string. The type is part of it, so that
// 1 is not "1".
func textOf(s string) string { return "s" + s }

// treeOf is the tree of what a decoder made of a document.
func treeOf(v any) *tree {
	switch v := v.(type) {
	case nil:
		return &tree{kind: null}
	case string:
		return &tree{text: textOf(v)}
	case map[string]any:
		t := &tree{kind: table}
		for _, key := range sortedKeys(v) {
			t.keys = append(t.keys, key)
			t.kids = append(t.kids, treeOf(v[key]))
		}
		return t
	case []any:
		t := &tree{kind: list}
		for _, e := range v {
			t.kids = append(t.kids, treeOf(e))
		}
		return t
	}
	return &tree{text: fmt.Sprintf("%T %v", v, v)}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// quote is a string of JSON, which is one of YAML and of TOML, too.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // of a string it never fails
	return strings.TrimSuffix(b.String(), "\n")
}

// lineEnd is how the lines of a document end.
func lineEnd(body []byte) string {
	if i := slices.Index(body, '\n'); i > 0 && body[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// lineStart is where the line of an offset begins.
func lineStart(body []byte, at int) int {
	for at > 0 && body[at-1] != '\n' {
		at--
	}
	return at
}

// lineAfter is where the line after that of an offset begins, or the end.
func lineAfter(body []byte, at int) int {
	for at < len(body) {
		at++
		if body[at-1] == '\n' {
			break
		}
	}
	return at
}

// blanks is the number of spaces and tabs from an offset on.
func blanks(body []byte, at int) int {
	n := 0
	for at+n < len(body) && (body[at+n] == ' ' || body[at+n] == '\t') {
		n++
	}
	return n
}

// indentOf is what the line of an offset begins with.
func indentOf(body []byte, at int) string {
	start := lineStart(body, at)
	return string(body[start : start+blanks(body, start)])
}

// endsLine says whether a line ends at an offset.
func endsLine(body []byte, at int) bool {
	return at >= len(body) || body[at] == '\n' || body[at] == '\r' && at+1 < len(body) && body[at+1] == '\n'
}
