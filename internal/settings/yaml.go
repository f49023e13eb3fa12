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
	root  *yaml.Node // nil if nothing is in it
	lines []int      // where each begins
}

func parseYAML(body []byte) (*yamlDoc, error) {
	d := &yamlDoc{body: body, lines: yamlLines(body)}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if err == io.EOF {
		return d, nil
	}
	if err != nil {
		return nil, yamlFault(err)
	}
	if err := dec.Decode(&more); err != io.EOF {
		if err != nil {
			return nil, yamlFault(err)
		}
		return nil, &Fault{max(more.Line, 1), max(more.Column, 1), "it has more than one document"}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return d, nil
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null" && root.Value == "":
		return d, nil
	case root.Kind != yaml.MappingNode:
		return nil, &Fault{root.Line, root.Column, "it is not a table of keys"}
	}
	d.root = root
	return d, nil
}

// yamlFault is an error of the library with its place.
func yamlFault(err error) *Fault {
	fault := &Fault{1, 1, strings.TrimPrefix(err.Error(), "yaml: ")}
	var at *yaml.LoadError
	if errors.As(err, &at) {
		fault.Line, fault.Column, fault.What = max(at.Mark.Line, 1), max(at.Mark.Column, 1), at.Message
	}
	return fault
}

// yamlLines is where the lines begin, by the line ends that YAML knows.
func yamlLines(body []byte) []int {
	lines := []int{0}
	for i := 0; i < len(body); {
		r, n := utf8.DecodeRune(body[i:])
		i += n
		switch {
		case r == '\r' && i < len(body) && body[i] == '\n':
		case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			lines = append(lines, i)
		}
	}
	return lines
}

// offset is where a node begins.
func (d *yamlDoc) offset(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(d.lines) {
		return len(d.body)
	}
	at := d.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(d.body[at:])
		at += size
	}
	return at
}

func (d *yamlDoc) fault(n *yaml.Node, format string, args ...any) *Fault {
	return &Fault{n.Line, n.Column, fmt.Sprintf(format, args...)}
}

func (d *yamlDoc) tree() *tree {
	if d.root == nil {
		return &tree{kind: null}
	}
	return yamlTree(d.root)
}

func yamlTree(n *yaml.Node) *tree {
	switch n.Kind {
	case yaml.MappingNode:
		t := &tree{kind: table, text: n.Anchor}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if n.Content[i].Kind != yaml.ScalarNode || n.Content[i].Tag != "!!str" {
				key = fmt.Sprintf("%s %d %s", n.Content[i].Tag, n.Content[i].Kind, key)
			}
			t.keys = append(t.keys, key)
			t.kids = append(t.kids, yamlTree(n.Content[i+1]))
		}
		return t
	case yaml.SequenceNode:
		t := &tree{kind: list, text: n.Anchor}
		for _, c := range n.Content {
			t.kids = append(t.kids, yamlTree(c))
		}
		return t
	case yaml.AliasNode:
		return &tree{text: "*" + n.Value}
	}
	switch {
	case n.Anchor != "":
		return &tree{text: fmt.Sprintf("&%s %s %s", n.Anchor, n.Tag, n.Value)}
	case n.Tag == "!!null":
		return &tree{kind: null}
	case n.Tag == "!!str":
		return &tree{text: textOf(n.Value)}
	}
	return &tree{text: n.Tag + " " + n.Value}
}

// yamlStep is a node on the path to an entry.
type yamlStep struct {
	key, value *yaml.Node // the key is nil for an element of a list
	of         *yaml.Node // what it is in
	i          int
}

// walk follows a path as far as it goes.
func (d *yamlDoc) walk(p Place) (found []yamlStep, err error) {
	at := d.root
	if at == nil {
		return nil, nil
	}
	for i, key := range p.Path {
		if at.Kind == yaml.AliasNode || at.Anchor != "" {
			return nil, d.fault(at, "%s is shared by an anchor", strings.Join(p.Path[:i], "."))
		}
		if at.Kind == yaml.ScalarNode && at.Tag == "!!null" {
			return found, nil
		}
		inList := p.ID != "" && i == len(p.Path)-1
		switch {
		case inList && at.Kind != yaml.SequenceNode:
			return nil, d.fault(at, "%s is not a list", strings.Join(p.Path[:i], "."))
		case !inList && at.Kind != yaml.MappingNode:
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

func (d *yamlDoc) step(at *yaml.Node, key, id string, inList bool) (step yamlStep, err error) {
	if inList {
		for i, c := range at.Content {
			if named, err := d.step(c, id, "", false); c.Kind == yaml.MappingNode && err == nil && named.value != nil && named.value.Value == key {
				return yamlStep{value: c, of: at, i: i}, nil
			}
		}
		return step, nil
	}
	for i := 0; i+1 < len(at.Content); i += 2 {
		k := at.Content[i]
		if k.Kind != yaml.ScalarNode || k.Value != key {
			continue
		}
		if step.value != nil {
			return step, d.fault(k, "%s is there twice", key)
		}
		step = yamlStep{k, at.Content[i+1], at, i}
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
	var v any
	if err := found[len(found)-1].value.Decode(&v); err != nil {
		return nil, yamlFault(err)
	}
	return v, nil
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
	if s.of.Style&yaml.FlowStyle != 0 {
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
	if in.Style&yaml.FlowStyle != 0 {
		at = d.offset(in) + 1
		if c := d.body[at-1]; c != '{' && c != '[' {
			return 0, "", 0, d.fault(in, "it has a tag")
		}
		at += blanks(d.body, at)
		return at, flowYAML(rest, p.ID, e, len(in.Content) > 0), made, nil
	}
	w := yamlWriter{eol: eol, id: p.ID}
	if in.Kind == yaml.ScalarNode {
		if in.Value != "" {
			return 0, "", 0, d.fault(in, "%s is %s", strings.Join(p.Path[:len(found)], "."), in.Value)
		}
		w.path(rest, e, indentOf(d.body, d.offset(step.key))+"  ")
	} else {
		w.path(rest, e, strings.Repeat(" ", in.Content[0].Column-1-dashes(in)))
	}
	// On the line after the key, above the first of the others and its comment.
	at = lineAfter(d.body, d.offset(step.key))
	if at == 0 || d.body[at-1] != '\n' {
		return at, eol + strings.TrimSuffix(w.String(), eol), made, nil
	}
	return at, w.String(), made, nil
}

// dashes is how far the elements of a list stand to the right of their dashes.
func dashes(in *yaml.Node) int {
	if in.Kind == yaml.SequenceNode {
		return in.Content[0].Column - in.Column
	}
	return 0
}

// append puts an entry, and all that holds it, at the end of the document.
func (d *yamlDoc) append(p Place, e Entry, eol string) (at int, text string, made int, err error) {
	made = len(p.Path)
	if d.root != nil && d.root.Style&yaml.FlowStyle != 0 {
		at = d.offset(d.root) + 1
		if d.body[at-1] != '{' {
			return 0, "", 0, d.fault(d.root, "it has a tag")
		}
		at += blanks(d.body, at)
		return at, flowYAML(p.Path, p.ID, e, len(d.root.Content) > 0), made, nil
	}
	w := yamlWriter{eol: eol, id: p.ID}
	if n := len(d.body); n > 0 && d.body[n-1] != '\n' {
		w.WriteString(eol)
	}
	indent := ""
	if d.root != nil {
		indent = strings.Repeat(" ", d.root.Column-1)
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
	if s.of.Style&yaml.FlowStyle != 0 || !onlyBlank(d.body[line:begin]) {
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
		return len(s.of.Content) == 2
	}
	return len(s.of.Content) == 1
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
