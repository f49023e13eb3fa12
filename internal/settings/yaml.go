package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// yamlDoc is a document in YAML. An entry is put in front of the others, with the
// indentation that they have.
type yamlDoc struct {
	body  []byte
	root  *yamlNode // nil if nothing is in it
	lines []int     // where each begins
}

// yamlNode is a value of a document, or a key. Comments are not in it.
type yamlNode struct {
	kind         kind
	text         string      // of a scalar, what it says; with a type, to compare it
	name         string      // of a scalar that is a string, what it says
	tag          string      // "!!map", where it is written
	anchor       string      // "&a", or "*a" of an alias
	flow         bool        // it is written in braces or brackets
	said         bool        // it is written, and not just left out
	line, column int         // from 1; of a table or list in block style, its first key's or dash's
	content      []*yamlNode // of a table keys and values in turn
}

func parseYAML(body []byte) (d *yamlDoc, err error) {
	if at := yamlTooDeep(body); at >= 0 {
		return nil, faultAt(body, at, "it is nested too deeply")
	}
	// No document is known to make the library panic. If one does, it is not edited.
	defer func() {
		if recover() != nil {
			d, err = nil, &Fault{1, 1, "it is not YAML"}
		}
	}()
	d = &yamlDoc{body: body, lines: yamlLines(body)}
	loader, err := yaml.NewLoader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for {
		var doc yaml.Node
		if err := loader.Load(&doc); errors.Is(err, io.EOF) {
			return d, nil
		} else if err != nil {
			return nil, yamlFault(err)
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
			continue
		}
		n := yamlNodeOf(doc.Content[0])
		switch {
		case n.kind == null && !n.said:
		case d.root != nil:
			return nil, &Fault{n.line, n.column, "it has more than one document"}
		case n.kind != table:
			return nil, &Fault{n.line, n.column, "it is not a table of keys"}
		default:
			d.root = n
		}
	}
}

// yamlFault is an error of the library with its place.
func yamlFault(err error) *Fault {
	var at *yaml.LoadError
	if !errors.As(err, &at) {
		return &Fault{1, 1, "it is not YAML"}
	}
	what := at.Message
	if at.Stage == yaml.ResolverStage || at.Stage == yaml.ConstructorStage {
		what = "it is not what its tag says" // the library's text may quote a value
	}
	return &Fault{max(at.Mark.Line, 1), max(at.Mark.Column, 1), what}
}

// yamlTooDeep is where a document is nested so deeply that what reads it, and
// recurses, could not, or -1. It errs on the safe side.
func yamlTooDeep(body []byte) int {
	depth, marks := 0, 0
	for i, c := range body {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		case '-', '?', ':', '!', '&':
			marks++
		case '\n':
			marks = 0
		}
		if depth > deepest || marks > deepest {
			return i
		}
	}
	return -1
}

// yamlLines is where the lines begin, as the library counts them: with the line
// separators of YAML 1.1.
func yamlLines(body []byte) []int {
	lines := []int{0}
	for i, r := range string(body) {
		switch r {
		case '\r':
			if i+1 < len(body) && body[i+1] == '\n' {
				continue
			}
			fallthrough
		case '\n', '\u0085', '\u2028', '\u2029':
			lines = append(lines, i+utf8.RuneLen(r))
		}
	}
	return lines
}

// yamlNodeOf makes a node of the library's.
func yamlNodeOf(n *yaml.Node) *yamlNode {
	out := &yamlNode{line: max(n.Line, 1), column: max(n.Column, 1), flow: n.Style&yaml.FlowStyle != 0}
	if n.Anchor != "" {
		out.anchor = "&" + n.Anchor
	}
	if n.Style&yaml.TaggedStyle != 0 {
		out.tag = n.Tag
	}
	switch n.Kind {
	case yaml.AliasNode:
		out.anchor = "*" + n.Value
		out.text = out.anchor
	case yaml.MappingNode, yaml.SequenceNode:
		if out.kind = list; n.Kind == yaml.MappingNode {
			out.kind = table
		}
		for _, c := range n.Content {
			out.content = append(out.content, yamlNodeOf(c))
		}
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			out.kind, out.said = null, n.Value != ""
		case "!!str":
			out.text, out.name = textOf(n.Value), n.Value
		default:
			out.text = n.ShortTag() + " " + n.Value
		}
	}
	// Its position is that of its tag or anchor, if it has one.
	if out.kind == table && !out.flow && len(out.content) > 0 {
		out.line, out.column = out.content[0].line, out.content[0].column
	}
	return out
}

// offset is where a node begins.
func (d *yamlDoc) offset(n *yamlNode) int {
	if n.line < 1 || n.line > len(d.lines) {
		return len(d.body)
	}
	at := d.lines[n.line-1]
	for range n.column - 1 {
		_, size := utf8.DecodeRune(d.body[at:])
		at += size
	}
	return at
}

func (d *yamlDoc) fault(n *yamlNode, format string, args ...any) *Fault {
	return &Fault{n.line, n.column, fmt.Sprintf(format, args...)}
}

func (d *yamlDoc) tree() *tree {
	if d.root == nil {
		return &tree{kind: null}
	}
	return d.root.tree()
}

func (n *yamlNode) tree() *tree {
	t := &tree{kind: n.kind, text: n.text + n.anchor}
	if n.tag != "" {
		t.text = n.tag + " " + t.text
	}
	for i, c := range n.content {
		if n.kind == table && i%2 == 0 {
			key := c.name
			if c.text != textOf(key) {
				key = c.text + c.anchor
			}
			t.keys = append(t.keys, key)
			continue
		}
		t.kids = append(t.kids, c.tree())
	}
	return t
}

// yamlStep is a node on the path to an entry.
type yamlStep struct {
	key, value *yamlNode // the key is nil for an element of a list
	of         *yamlNode // what it is in
	i          int
}

// walk follows a path as far as it goes.
func (d *yamlDoc) walk(p Place) (found []yamlStep, err error) {
	at := d.root
	if at == nil {
		return nil, nil
	}
	for i, key := range p.Path {
		if at.anchor != "" {
			return nil, d.fault(at, "%s is shared by an anchor", strings.Join(p.Path[:i], "."))
		}
		if at.kind == null {
			return found, nil
		}
		inList := p.ID != "" && i == len(p.Path)-1
		switch {
		case inList && at.kind != list:
			return nil, d.fault(at, "%s is not a list", strings.Join(p.Path[:i], "."))
		case !inList && at.kind != table:
			return nil, d.fault(at, "%s is not a table", strings.Join(p.Path[:i], "."))
		}
		step, err := d.step(at, key, p.ID, inList)
		if err != nil {
			return nil, err
		}
		if step.value == nil {
			return found, nil
		}
		found = append(found, step)
		at = step.value
	}
	return found, nil
}

func (d *yamlDoc) step(at *yamlNode, key, id string, inList bool) (step yamlStep, err error) {
	if inList {
		for i, c := range at.content {
			if named, err := d.step(c, id, "", false); c.kind == table && err == nil && named.value != nil && named.value.text == textOf(key) {
				return yamlStep{value: c, of: at, i: i}, nil
			}
		}
		return step, nil
	}
	for i := 0; i+1 < len(at.content); i += 2 {
		k := at.content[i]
		if k.text != textOf(key) {
			continue
		}
		if step.value != nil {
			return step, d.fault(k, "%s is there twice", key)
		}
		step = yamlStep{k, at.content[i+1], at, i}
	}
	return step, nil
}

func (d *yamlDoc) value(p Place) (any, error) {
	found, err := d.walk(p)
	if err != nil {
		return nil, err
	}
	if len(found) < len(p.Path) {
		return nil, ErrMissing
	}
	var all any
	if err := yaml.Load(d.body, &all); err != nil {
		return nil, yamlFault(err)
	}
	for _, step := range found {
		switch in := all.(type) {
		case map[string]any:
			all = in[step.key.name]
		case []any:
			all = in[step.i]
		}
	}
	return all, nil
}

func (d *yamlDoc) start(p Place, made int) (int, error) {
	if made > len(p.Path) {
		return d.offset(d.root), nil
	}
	found, err := d.walk(p)
	if err == nil && len(found) < len(p.Path) {
		err = ErrMissing
	}
	if err != nil {
		return 0, err
	}
	return d.begin(found[len(p.Path)-made]), nil
}

// begin is where a step begins: its key, or the dash of an element.
func (d *yamlDoc) begin(s yamlStep) int {
	if s.key != nil {
		return d.offset(s.key)
	}
	at := d.offset(s.value)
	if s.of.flow {
		return at
	}
	dash := at - 1
	for dash > 0 && (d.body[dash] == ' ' || d.body[dash] == '\t') {
		dash--
	}
	if dash >= 0 && d.body[dash] == '-' {
		return dash
	}
	return at
}

func (d *yamlDoc) insert(p Place, e Entry) (at int, text string, made int, err error) {
	eol := lineEnd(d.body)
	found, err := d.walk(p)
	if err != nil {
		return 0, "", 0, err
	}
	rest := p.Path[len(found):]
	made = len(rest)
	if len(found) == 0 {
		return d.append(p, e, eol)
	}
	step := found[len(found)-1]
	in := step.value
	if in.flow {
		at = d.offset(in) + 1
		if c := d.body[at-1]; c != '{' && c != '[' {
			return 0, "", 0, d.fault(in, "it has a tag")
		}
		at += blanks(d.body, at)
		return at, flowYAML(rest, p.ID, e, len(in.content) > 0), made, nil
	}
	w := yamlWriter{eol: eol, id: p.ID}
	if in.kind == null {
		if in.said {
			return 0, "", 0, d.fault(in, "%s is null", strings.Join(p.Path[:len(found)], "."))
		}
		w.path(rest, e, indentOf(d.body, d.offset(step.key))+"  ")
	} else {
		w.path(rest, e, strings.Repeat(" ", in.column-1))
	}
	// On the line after the key, above the first of the others and its comment.
	at = lineAfter(d.body, d.offset(step.key))
	if at == 0 || d.body[at-1] != '\n' {
		return at, eol + strings.TrimSuffix(w.String(), eol), made, nil
	}
	return at, w.String(), made, nil
}

// append puts an entry, and all that holds it, at the end of the document.
func (d *yamlDoc) append(p Place, e Entry, eol string) (at int, text string, made int, err error) {
	made = len(p.Path)
	if d.root != nil && d.root.flow {
		at = d.offset(d.root) + 1
		if d.body[at-1] != '{' {
			return 0, "", 0, d.fault(d.root, "it has a tag")
		}
		at += blanks(d.body, at)
		return at, flowYAML(p.Path, p.ID, e, len(d.root.content) > 0), made, nil
	}
	w := yamlWriter{eol: eol, id: p.ID}
	if n := len(d.body); n > 0 && d.body[n-1] != '\n' {
		w.WriteString(eol)
	}
	indent := ""
	if d.root != nil {
		indent = strings.Repeat(" ", d.root.column-1)
	}
	w.path(p.Path, e, indent)
	return len(d.body), w.String(), made, nil
}

func (d *yamlDoc) cut(p Place, made int) ([]splice, error) {
	found, err := d.walk(p)
	if err == nil && len(found) < len(p.Path) {
		err = ErrMissing
	}
	if err != nil {
		return nil, err
	}
	last := len(found) - 1
	for ; made > 1 && last > 0 && found[last].alone(); made-- {
		last--
	}
	s := found[last]
	begin := d.begin(s)
	line := lineStart(d.body, begin)
	if s.of.flow || !onlyBlank(d.body[line:begin]) {
		return nil, faultAt(d.body, begin, "the entry shares its line with others, and has to be removed by hand")
	}
	// All that is further to the right belongs to it.
	column, end := begin-line, lineAfter(d.body, begin)
	for at := end; at < len(d.body); {
		next := lineAfter(d.body, at)
		if !onlyBlank(d.body[at:next]) {
			if blanks(d.body, at) <= column {
				break
			}
			end = next
		}
		at = next
	}
	return []splice{{line, end}}, nil
}

// alone says whether there is nothing else in what it is in.
func (s yamlStep) alone() bool {
	if s.key != nil {
		return len(s.of.content) == 2
	}
	return len(s.of.content) == 1
}

// flowYAML is an entry for a table that is written in braces, or a list in brackets.
func flowYAML(path []string, id string, e Entry, more bool) string {
	text := Line(e)
	for i := range slices.Backward(path) {
		switch {
		case id != "" && i == len(path)-1 && i > 0:
			text = "[" + text + "]"
		case id != "" && i == len(path)-1:
		default:
			if text = quote(path[i]) + ": " + text; i > 0 {
				text = "{" + text + "}"
			}
		}
	}
	if more {
		text += ", "
	}
	return text
}

// yamlWriter writes an entry in YAML's block style.
type yamlWriter struct {
	strings.Builder
	eol, id string
}

func (w *yamlWriter) path(path []string, e Entry, indent string) {
	if len(path) == 1 && w.id != "" {
		w.fields(e, indent+"- ", indent+"  ")
		return
	}
	w.WriteString(indent + yamlText(path[0]) + ":" + w.eol)
	if len(path) == 1 {
		w.fields(e, indent+"  ", indent+"  ")
		return
	}
	w.path(path[1:], e, indent+"  ")
}

func (w *yamlWriter) fields(e Entry, first, indent string) {
	for i, f := range e {
		if i == 0 {
			w.WriteString(first)
		} else {
			w.WriteString(indent)
		}
		w.WriteString(yamlText(f.Key) + ":")
		switch v := f.Value.(type) {
		case Entry:
			if len(v) == 0 {
				w.WriteString(" {}" + w.eol)
				continue
			}
			w.WriteString(w.eol)
			w.fields(v, indent+"  ", indent+"  ")
		case []string:
			if len(v) == 0 {
				w.WriteString(" []" + w.eol)
				continue
			}
			w.WriteString(w.eol)
			for _, s := range v {
				w.WriteString(indent + "  - " + yamlText(s) + w.eol)
			}
		case string:
			w.WriteString(" " + yamlText(v) + w.eol)
		default:
			fmt.Fprintf(w, " %v%s", v, w.eol)
		}
	}
}

// yamlText is a string, without quotes where it means the same to every reader of
// YAML.
func yamlText(s string) string {
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return quote(s)
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_"
	if strings.Trim(s, letters+"0123456789.-") != "" || !strings.Contains(letters, s[:1]) {
		return quote(s)
	}
	return s
}
