package home

import (
	"bytes"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// text is a TOML document that a user may have written, and of which some keys
// are to change while the rest, comments above all, stays as it is. It knows
// tables with a head of their own and keys below it, and can be wrong about
// other documents (a table written inline): the caller decodes the outcome and,
// if it does not say what it should, writes the document anew.
type text struct {
	parts []part
}

// part is a line of a document, or the lines of one key.
type part struct {
	text  []byte
	head  bool   // of a table
	table string // whose head it is
	isKey bool
	key   string
}

// splitText splits a document. A value that begins on a line ends where what
// was read so far decodes.
func splitText(doc []byte) *text {
	t := &text{}
	lines := bytes.SplitAfter(doc, []byte("\n"))
	for i := 0; i < len(lines); {
		p, n := part{text: lines[i]}, 1
		switch trimmed := bytes.TrimSpace(lines[i]); {
		case len(trimmed) == 0 || trimmed[0] == '#':
		case trimmed[0] == '[':
			p.head, p.table = true, tableName(trimmed)
		default:
			p, n = keyPart(lines[i:])
		}
		t.parts = append(t.parts, p)
		i += n
	}
	return t
}

// tableName returns the name in a head such as "[ name ] # comment"; "" if it is
// not a plain one.
func tableName(head []byte) string {
	plain, _, _ := strings.Cut(string(head), "#")
	name, closed := strings.CutSuffix(strings.TrimSpace(plain), "]")
	if !closed {
		return ""
	}
	return strings.TrimSpace(name[1:])
}

// keyPart returns the key that the first line begins, and how many lines it
// takes.
func keyPart(lines [][]byte) (part, int) {
	for n := 1; n <= len(lines); n++ {
		// Only a line that can end a value of several lines is tried: the
		// closing bracket or quotes are on it.
		if n > 1 && !bytes.ContainsAny(lines[n-1], "]\"'}") {
			continue
		}
		all := bytes.Join(lines[:n], nil)
		for key := range decodesAlone(all) {
			return part{text: all, isKey: true, key: key}, n
		}
	}
	return part{text: lines[0]}, 1
}

// decodesAlone returns what a piece of a document says, nil if that is nothing.
func decodesAlone(piece []byte) map[string]any {
	var doc map[string]any
	if toml.Unmarshal(piece, &doc) != nil {
		return nil
	}
	return doc
}

// bytes returns the document.
func (t *text) bytes() []byte {
	var doc []byte
	for _, p := range t.parts {
		doc = append(doc, p.text...)
	}
	return doc
}

// set sets a key of a table, which is added at the end if it is missing; the table
// "" is what is above the first head.
func (t *text) set(table, key string, value any) {
	t.ensure(table)
	begin, end := t.extent(table)
	p := part{text: appendLine(nil, key, value), isKey: true, key: key}
	if at := t.find(begin, end, key); at >= 0 {
		p.text = append(bytes.TrimSuffix(p.text, []byte("\n")), trailingComment(t.parts[at].text)...)
		t.parts[at] = p
		return
	}
	// After the last key, before what may be the next table's comment.
	last := end
	for last > begin && !t.parts[last-1].isKey {
		last--
	}
	if table == "" && last == 0 {
		last = end // below what a file without keys says of itself
	}
	t.endLine(last - 1)
	t.parts = slices.Insert(t.parts, last, p)
}

// unset removes a key of a table.
func (t *text) unset(table, key string) {
	begin, end := t.extent(table)
	if at := t.find(begin, end, key); at >= 0 {
		t.parts = slices.Delete(t.parts, at, at+1)
	}
}

// ensure adds the head of a table unless the document has it.
func (t *text) ensure(table string) {
	if begin, _ := t.extent(table); begin > 0 || table == "" {
		return
	}
	t.endLine(len(t.parts) - 1)
	if len(t.bytes()) > 0 {
		t.parts = append(t.parts, part{text: []byte("\n")})
	}
	t.parts = append(t.parts, part{text: []byte("[" + table + "]\n"), head: true, table: table})
}

// endLine ends the last line of a part that something will follow.
func (t *text) endLine(at int) {
	if at < 0 {
		return
	}
	if p := &t.parts[at]; len(p.text) > 0 && p.text[len(p.text)-1] != '\n' {
		p.text = append(slices.Clone(p.text), '\n')
	}
}

// extent returns the parts between a table's head and the next head; two zeros
// if there is no such table. Of the table "" it returns the parts above the first
// head.
func (t *text) extent(table string) (begin, end int) {
	if table == "" {
		if end = slices.IndexFunc(t.parts, func(p part) bool { return p.head }); end < 0 {
			end = len(t.parts)
		}
		return 0, end
	}
	for i, p := range t.parts {
		switch {
		case !p.head:
		case begin > 0:
			return begin, i
		case p.table == table:
			begin = i + 1
		}
	}
	if begin == 0 {
		return 0, 0
	}
	return begin, len(t.parts)
}

// find returns the part that sets a key, -1 if there is none.
func (t *text) find(begin, end int, key string) int {
	at := slices.IndexFunc(t.parts[begin:end], func(p part) bool { return p.isKey && p.key == key })
	if at < 0 {
		return -1
	}
	return begin + at
}

// trailingComment returns what follows the value of a key on its last line: a
// comment, if there is one, and the newline.
func trailingComment(key []byte) []byte {
	for i, c := range key {
		if c == '#' && decodesAlone(key[:i]) != nil {
			return append([]byte(" "), key[i:]...)
		}
	}
	return []byte("\n")
}
