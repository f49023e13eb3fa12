package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The levels of a fault.
const (
	Error   = "error"
	Warning = "warning"
)

// Fault is something that is wrong with a document.
type Fault struct {
	File string `json:"file"`
	// Line and Column begin at 1, and a column is a byte; 0 where there is no place.
	Line   int `json:"line,omitzero"`
	Column int `json:"column,omitzero"`
	// Field is where it is in the document: packages[0].version; "" is the whole.
	Field   string `json:"field,omitzero"`
	Level   string `json:"level"`
	Message string `json:"message"`
}

// Most bounds a document.
const Most = 1 << 20

// maxDepth and maxFaults bound what a document makes of itself.
const (
	maxDepth  = 64
	maxFaults = 200
)

// node is a value of a JSON document, and where it is.
type node struct {
	at    int // its first byte
	path  string
	value any // nil, bool, json.Number, string, []*node or *object
}

// object has its members in their order.
type object struct{ members []member }

type member struct {
	name string
	at   int
	node *node
}

// get returns a member, nil if there is none.
func (o *object) get(name string) *node {
	for _, m := range o.members {
		if m.name == name {
			return m.node
		}
	}
	return nil
}

// check is a document that is looked at.
type check struct {
	file   string
	doc    []byte
	faults []Fault
}

func (c *check) add(level string, at int, path, format string, args ...any) {
	if len(c.faults) == maxFaults {
		return
	}
	f := Fault{File: c.file, Field: path, Level: level, Message: fmt.Sprintf(format, args...)}
	if at >= 0 && at <= len(c.doc) {
		before := c.doc[:at]
		f.Line, f.Column = bytes.Count(before, []byte("\n"))+1, at-bytes.LastIndexByte(before, '\n')
	}
	c.faults = append(c.faults, f)
}

func (c *check) errorf(n *node, format string, args ...any) {
	c.add(Error, n.at, n.path, format, args...)
}
func (c *check) warnf(n *node, format string, args ...any) {
	c.add(Warning, n.at, n.path, format, args...)
}

// done returns what was found, in the order of the document.
func (c *check) done() []Fault {
	slices.SortStableFunc(c.faults, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return c.faults
}

// parse reads a JSON document; nil, with a fault, if it is none.
func (c *check) parse() *node {
	if len(c.doc) > Most {
		c.add(Error, -1, "", "it has %d bytes, more than %d", len(c.doc), Most)
		return nil
	}
	if i := notUTF8(c.doc); i >= 0 {
		c.add(Error, i, "", "it is not UTF-8")
		return nil
	}
	p := parser{check: c, dec: json.NewDecoder(bytes.NewReader(c.doc))}
	p.dec.UseNumber()
	n, err := p.value("", 0)
	if err == nil {
		if _, after := p.dec.Token(); !errors.Is(after, io.EOF) {
			c.add(Error, p.next(), "", "something follows the end of the document")
			return nil
		}
		return n
	}
	at, text := p.next(), err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		at, text = len(c.doc), "it ends too early"
	}
	c.add(Error, at, "", "it is no JSON: %s", text)
	return nil
}

// notUTF8 is where a document stops being UTF-8; -1 if it never does.
func notUTF8(doc []byte) int {
	for i := 0; i < len(doc); {
		r, n := utf8.DecodeRune(doc[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

type parser struct {
	*check
	dec *json.Decoder
}

// next is where the next token begins.
func (p *parser) next() int {
	at := int(p.dec.InputOffset())
	for at < len(p.doc) && strings.IndexByte(" \t\r\n,:", p.doc[at]) >= 0 {
		at++
	}
	return at
}

func (p *parser) value(path string, depth int) (*node, error) {
	n := &node{at: p.next(), path: path}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		n.value, err = p.object(path, depth)
	case json.Delim('['):
		list := []*node{}
		for p.dec.More() {
			item, err := p.value(path+"["+strconv.Itoa(len(list))+"]", depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		n.value = list
		_, err = p.dec.Token()
	default:
		n.value = token
	}
	return n, err
}

func (p *parser) object(path string, depth int) (*object, error) {
	o := &object{}
	for p.dec.More() {
		m := member{at: p.next()}
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		m.name, _ = token.(string) // the decoder takes nothing else
		inner := join(path, m.name)
		if m.node, err = p.value(inner, depth+1); err != nil {
			return nil, err
		}
		if o.get(m.name) != nil {
			p.add(Error, m.at, inner, "it is there twice")
			continue
		}
		o.members = append(o.members, m)
	}
	_, err := p.dec.Token()
	return o, err
}

// join is the path of a member.
func join(path, name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '$')
	}) {
		return path + "[" + strconv.QuoteToASCII(short(name)) + "]"
	}
	if path == "" {
		return short(name)
	}
	return path + "." + short(name)
}

// short is a text that is not too long to be shown.
func short(text string) string {
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	return text
}
