package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tailscale/hujson"
)

// jsonDoc is a document in JSON. An entry is put before the first member of what
// holds it: there a comma after it is all that has to be added, and comments stay
// with what they are about.
type jsonDoc struct {
	body  []byte
	root  hujson.Value
	empty bool // nothing is in it, not even {}
}

// deepest bounds how deep a document may be nested: the library recurses.
const deepest = 1000

func parseJSON(body []byte) (*jsonDoc, error) {
	d := &jsonDoc{body: body}
	if len(bytes.TrimSpace(body)) == 0 {
		d.empty = true
		return d, nil
	}
	if at := tooDeep(body); at >= 0 {
		return nil, faultAt(body, at, "it is nested too deeply")
	}
	// A comment on the last line needs an end.
	root, err := hujson.Parse(append(bytes.Clone(body), '\n'))
	if err != nil {
		fault := &Fault{Line: 1, Column: 1, What: err.Error()}
		text := err.Error()
		if _, e := fmt.Sscanf(text, "hujson: line %d, column %d:", &fault.Line, &fault.Column); e == nil {
			_, after, _ := strings.Cut(text, ", column ")
			_, fault.What, _ = strings.Cut(after, ": ")
		}
		// It may quote a value of the file.
		if strings.HasPrefix(fault.What, "invalid literal") {
			fault.What = "invalid literal"
		}
		return nil, fault
	}
	if _, ok := root.Value.(*hujson.Object); !ok {
		return nil, faultAt(body, root.StartOffset, "it is not an object")
	}
	d.root = root
	return d, nil
}

// tooDeep is where a document is nested too deeply, or -1. It may count a bracket in
// a string after a comment that has quotes, and then errs on the safe side.
func tooDeep(body []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"' || inString && c == '\n':
			inString = c == '"' && !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > deepest {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

func (d *jsonDoc) tree() *tree {
	if d.empty {
		return &tree{kind: null}
	}
	return jsonTree(d.root)
}

func jsonTree(v hujson.Value) *tree {
	switch x := v.Value.(type) {
	case *hujson.Object:
		t := &tree{kind: table}
		for _, m := range x.Members {
			t.keys = append(t.keys, m.Name.Value.(hujson.Literal).String())
			t.kids = append(t.kids, jsonTree(m.Value))
		}
		return t
	case *hujson.Array:
		t := &tree{kind: list}
		for _, e := range x.Elements {
			t.kids = append(t.kids, jsonTree(e))
		}
		return t
	case hujson.Literal:
		switch x.Kind() {
		case 'n':
			return &tree{kind: null}
		case '"':
			return &tree{text: textOf(x.String())}
		}
		return &tree{text: string(x)}
	}
	return &tree{kind: null}
}

// member is a member on the path to an entry.
type member struct {
	in *hujson.Value // the object
	i  int
}

func (m member) object() *hujson.Object      { return m.in.Value.(*hujson.Object) }
func (m member) member() hujson.ObjectMember { return m.object().Members[m.i] }

// walk follows a path as far as it goes: the members on it, and the object in which
// the next one would be, nil if all are there.
func (d *jsonDoc) walk(path []string) (found []member, next *hujson.Value, err error) {
	next = &d.root
	for _, key := range path {
		obj, ok := next.Value.(*hujson.Object)
		if !ok {
			return nil, nil, faultAt(d.body, next.StartOffset, "%s is not an object", path[len(found)-1])
		}
		at := -1
		for i, m := range obj.Members {
			if m.Name.Value.(hujson.Literal).String() != key {
				continue
			}
			if at >= 0 {
				return nil, nil, faultAt(d.body, m.Name.StartOffset, "%s is there twice", key)
			}
			at = i
		}
		if at < 0 {
			return found, next, nil
		}
		found = append(found, member{next, at})
		next = &obj.Members[at].Value
	}
	return found, nil, nil
}

func (d *jsonDoc) value(p Place) (any, error) {
	if p.ID != "" {
		return nil, errors.New("lists of entries are not known in JSON")
	}
	if d.empty {
		return nil, ErrMissing
	}
	found, next, err := d.walk(p.Path)
	if err != nil {
		return nil, err
	}
	if next != nil {
		return nil, ErrMissing
	}
	v := found[len(found)-1].member().Value.Clone()
	v.Standardize()
	var value any
	if err := json.Unmarshal(v.Pack(), &value); err != nil {
		return nil, err
	}
	return value, nil
}

func (d *jsonDoc) start(p Place, made int) (int, error) {
	if made > len(p.Path) {
		return d.root.StartOffset, nil
	}
	found, next, err := d.walk(p.Path)
	if err == nil && next != nil {
		err = ErrMissing
	}
	if err != nil {
		return 0, err
	}
	return found[len(p.Path)-made].member().Name.StartOffset, nil
}

// unit is by how much this document indents.
func (d *jsonDoc) unit() string {
	if root, ok := d.root.Value.(*hujson.Object); ok && len(root.Members) > 0 {
		first := root.Members[0].Name
		if bytes.IndexByte(first.BeforeExtra, '\n') >= 0 {
			if unit := indentOf(d.body, first.StartOffset); unit != "" {
				return unit
			}
		}
	}
	return "  "
}

func (d *jsonDoc) insert(p Place, e Entry) (at int, text string, made int, err error) {
	eol := lineEnd(d.body)
	if d.empty {
		w := jsonWriter{eol: eol, unit: "  "}
		w.open("{", "")
		w.path(p.Path, e, w.unit)
		w.close("}", "")
		return 0, w.String() + eol, len(p.Path) + 1, nil
	}
	found, obj, err := d.walk(p.Path)
	if err != nil {
		return 0, "", 0, err
	}
	path := p.Path[len(found):]
	made = len(path)
	members := obj.Value.(*hujson.Object).Members
	extra := obj.Value.(*hujson.Object).AfterExtra
	if len(members) > 0 {
		extra = members[0].Name.BeforeExtra
	}
	at = obj.StartOffset + 1
	lines := bytes.IndexByte(extra, '\n') >= 0
	switch {
	case len(members) > 0 && !lines, len(members) == 0 && !lines && d.oneLine():
		// All on a line, as programs write it.
		at += blanks(d.body, at)
		w := jsonWriter{flat: true}
		if len(members) == 0 || len(members[0].Value.BeforeExtra) > 0 {
			w.space = " "
		}
		w.path(path, e, "")
		if len(members) > 0 {
			w.WriteString("," + w.space)
		}
		return at, w.String(), made, nil
	}
	at += sameLine(d.body[at:])
	own := indentOf(d.body, obj.StartOffset)
	w := jsonWriter{eol: eol, unit: d.unit()}
	indent := own + w.unit
	if len(members) > 0 {
		indent = indentOf(d.body, members[0].Name.StartOffset)
	}
	w.WriteString(eol + indent)
	w.path(path, e, indent)
	switch {
	case len(members) > 0:
		w.WriteString(",")
	case !lines:
		w.WriteString(eol + own)
	}
	return at, w.String(), made, nil
}

// oneLine says whether the document is written without line ends, and is not just
// {}.
func (d *jsonDoc) oneLine() bool {
	root := d.root.Value.(*hujson.Object)
	return len(root.Members) > 0 && bytes.IndexByte(d.body[d.root.StartOffset:d.root.EndOffset], '\n') < 0
}

// sameLine is how much of the blanks and comments after a brace is on its line.
func sameLine(b []byte) int {
	for i := 0; i < len(b); {
		switch {
		case endsLine(b, i):
			return i
		case bytes.HasPrefix(b[i:], []byte("//")):
			for !endsLine(b, i) {
				i++
			}
		case bytes.HasPrefix(b[i:], []byte("/*")):
			i += 2 + bytes.Index(b[i+2:], []byte("*/")) + 2
		case b[i] == ' ' || b[i] == '\t':
			i++
		default:
			return 0
		}
	}
	return 0
}

func (d *jsonDoc) cut(p Place, made int) ([]splice, error) {
	found, next, err := d.walk(p.Path)
	if err == nil && next != nil {
		err = ErrMissing
	}
	if err != nil {
		return nil, err
	}
	last := len(found) - 1
	for ; made > 1 && last > 0; made, last = made-1, last-1 {
		obj := found[last].object()
		if len(obj.Members) > 1 || !obj.AfterExtra.IsStandard() || !obj.Members[0].Name.BeforeExtra.IsStandard() {
			break
		}
	}
	return d.cutMember(found[last]), nil
}

func (d *jsonDoc) cutMember(m member) []splice {
	obj, b := m.object(), d.body
	own := m.member()
	begin, end := own.Name.StartOffset, own.Value.EndOffset
	var cuts []splice
	// The comma: the one after it, or else the one before.
	after := own.Value.AfterExtra
	isLast := m.i == len(obj.Members)-1
	comma := end + len(after)
	switch {
	case !isLast || comma < len(b) && b[comma] == ',':
		if hujson.Extra(after).IsStandard() {
			end = comma + 1
		} else {
			cuts = append(cuts, splice{comma, comma + 1})
		}
	case m.i > 0:
		prev := obj.Members[m.i-1].Value
		comma = prev.EndOffset + len(prev.AfterExtra)
		cuts = append(cuts, splice{comma, comma + 1})
	}
	// The line, if it has no other.
	for begin > 0 && (b[begin-1] == ' ' || b[begin-1] == '\t') {
		begin--
	}
	rest := end + blanks(b, end)
	switch {
	case begin > 0 && b[begin-1] == '\n' && endsLine(b, rest):
		begin--
		if begin > 0 && b[begin-1] == '\r' {
			begin--
		}
		end = rest
	case begin > 0 && b[begin-1] == '\n':
		begin = own.Name.StartOffset
		end = rest
	default:
		begin = own.Name.StartOffset
	}
	whole := splice{begin, end}
	if len(cuts) == 0 {
		return []splice{whole}
	}
	if c := cuts[0]; c.begin < begin {
		return []splice{c, whole}
	} else if c.begin >= end {
		return []splice{whole, c}
	}
	return []splice{whole}
}

// jsonWriter writes members of JSON.
type jsonWriter struct {
	strings.Builder
	eol, unit, space string
	flat             bool
}

func (w *jsonWriter) open(bracket, indent string) {
	w.WriteString(bracket)
	w.line(indent + w.unit)
}

func (w *jsonWriter) close(bracket, indent string) {
	w.line(indent)
	w.WriteString(bracket)
}

func (w *jsonWriter) line(indent string) {
	if !w.flat {
		w.WriteString(w.eol + indent)
	}
}

func (w *jsonWriter) comma(indent string) {
	w.WriteString(",")
	if w.flat {
		w.WriteString(w.space)
	}
	w.line(indent)
}

func (w *jsonWriter) key(key string) {
	w.WriteString(quote(key) + ":")
	if !w.flat {
		w.WriteString(" ")
	} else {
		w.WriteString(w.space)
	}
}

// path writes an entry as the innermost of nested members.
func (w *jsonWriter) path(path []string, e Entry, indent string) {
	w.key(path[0])
	if len(path) == 1 {
		w.object(e, indent)
		return
	}
	w.open("{", indent)
	w.path(path[1:], e, indent+w.unit)
	w.close("}", indent)
}

func (w *jsonWriter) object(e Entry, indent string) {
	if len(e) == 0 {
		w.WriteString("{}")
		return
	}
	w.open("{", indent)
	for i, f := range e {
		if i > 0 {
			w.comma(indent + w.unit)
		}
		w.key(f.Key)
		w.valueOf(f.Value, indent+w.unit)
	}
	w.close("}", indent)
}

func (w *jsonWriter) valueOf(v any, indent string) {
	switch v := v.(type) {
	case Entry:
		w.object(v, indent)
	case []string:
		if len(v) == 0 {
			w.WriteString("[]")
			return
		}
		w.open("[", indent)
		for i, s := range v {
			if i > 0 {
				w.comma(indent + w.unit)
			}
			w.WriteString(quote(s))
		}
		w.close("]", indent)
	case string:
		w.WriteString(quote(v))
	default:
		fmt.Fprint(w, v)
	}
}

// Line is an entry as JSON on one line, which YAML reads as well.
func Line(e Entry) string {
	w := jsonWriter{flat: true, space: " "}
	w.object(e, "")
	return w.String()
}

// Text is an entry as JSON text, for a person to paste.
func Text(e Entry) string {
	w := jsonWriter{eol: "\n", unit: "  "}
	w.object(e, "")
	return w.String()
}
