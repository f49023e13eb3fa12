// Package pin remembers what a server's tools were when they were approved, and tells
// what is different now.
//
// Of a tool that is what a model and a person go by: its name, title, description,
// input and output schema, and annotations. The order of members and the space between
// tokens say nothing; a member that is there twice does, since programs differ in which
// they take. Icons, _meta and the like are not looked at: some change with every run.
package pin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tool is the definition of a tool, as far as it is looked at.
type Tool struct {
	Name string
	// Definition is JSON in a form of its own: equal ones have the same bytes.
	Definition json.RawMessage
	Digest     string
}

// members are those that are looked at, without regard to case: some programs read
// JSON so.
func looked(member string) bool {
	switch strings.ToLower(member) {
	case "name", "title", "description", "inputschema", "outputschema", "annotations":
		return true
	}
	return false
}

// depthMost bounds how deep a definition may be.
const depthMost = 200

// Of returns the tool that raw describes, an element of a list of tools.
func Of(raw []byte) (Tool, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := read(dec, 0)
	if err != nil {
		return Tool{}, fmt.Errorf("read a tool: %w", err)
	}
	all, ok := v.(object)
	if !ok {
		return Tool{}, errors.New("read a tool: it is no object")
	}
	t := Tool{}
	var kept object
	for _, m := range all {
		if !looked(m.name) {
			continue
		}
		kept = append(kept, m)
		if name, isText := m.value.(string); isText && m.name == "name" {
			t.Name = name
		}
	}
	if t.Name == "" {
		return Tool{}, errors.New("read a tool: it has no name")
	}
	t.Definition = write(nil, kept)
	sum := sha256.Sum256(t.Definition)
	t.Digest = base64.RawURLEncoding.EncodeToString(sum[:])
	return t, nil
}

// object is a JSON object, whose members may have the same name.
type object []member

type member struct {
	name  string
	value any // object, []any, string, json.Number, bool or nil
}

func read(dec *json.Decoder, depth int) (any, error) {
	if depth > depthMost {
		return nil, errors.New("it is too deep")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		var o object
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			value, err := read(dec, depth+1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{name.(string), value})
		}
		// Of members of one name the order stays: it may decide which of them counts.
		slices.SortStableFunc(o, func(a, b member) int { return strings.Compare(a.name, b.name) })
		_, err := dec.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			value, err := read(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := dec.Token()
		return list, err
	}
	return token, nil
}

func write(b []byte, v any) []byte {
	switch v := v.(type) {
	case object:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(write(b, m.name), ':')
			b = write(b, m.value)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = write(b, e)
		}
		return append(b, ']')
	default:
		text, err := json.Marshal(v)
		if err != nil {
			panic("pin: a token of JSON cannot be written") // cannot happen
		}
		return append(b, text...)
	}
}

// Entry is a tool in a Book.
type Entry struct {
	Digest     string          `json:"digest"`
	Definition json.RawMessage `json:"definition"`
	At         time.Time       `json:"at"` // when it was approved, or first seen
}

// Book is what is known of a server's tools.
type Book struct {
	Version int `json:"v"`
	// Approved are the tools that clients may have.
	Approved map[string]Entry `json:"approved"`
	// Pending are those that were seen since and are withheld.
	Pending map[string]Entry `json:"pending,omitempty"`
}

// version is that of the form of a Book.
const version = 1

// MaxBook bounds a Book as it is written, in bytes, and pendingMost what waits.
const (
	MaxBook     = 16 << 20
	pendingMost = 1000
)

// Parse reads what Encode wrote.
func Parse(data []byte) (*Book, error) {
	var b Book
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, errors.New("what was approved is not JSON as Berth writes it")
	}
	if b.Version != version || b.Approved == nil {
		return nil, fmt.Errorf("what was approved is of version %d, and this Berth knows %d", b.Version, version)
	}
	for _, list := range []map[string]Entry{b.Approved, b.Pending} {
		for name, e := range list {
			if t, err := Of(e.Definition); err != nil || t.Name != name || t.Digest != e.Digest {
				return nil, fmt.Errorf("what was approved was edited or damaged: %.64q", name)
			}
		}
	}
	return &b, nil
}

// Encode returns the bytes of the book's file.
func (b *Book) Encode() ([]byte, error) {
	data, err := json.Marshal(b)
	if err == nil && len(data) > MaxBook {
		err = fmt.Errorf("what was approved has %d bytes, and %d is the most", len(data), MaxBook)
	}
	return append(data, '\n'), err
}

// New is a book in which these tools are approved: those that were listed when nothing
// was. Of two of one name it is the first.
func New(tools []Tool, at time.Time) *Book {
	b := &Book{Version: version, Approved: map[string]Entry{}}
	for _, t := range tools {
		if _, twice := b.Approved[t.Name]; !twice {
			b.Approved[t.Name] = Entry{t.Digest, t.Definition, at.UTC()}
		}
	}
	return b
}

// Allows says whether a tool is as it was approved.
func (b *Book) Allows(t Tool) bool {
	e, ok := b.Approved[t.Name]
	return ok && e.Digest == t.Digest
}

// See notes tools that are listed now, and reports whether the book has changed. One
// that is approved waits no more.
func (b *Book) See(tools []Tool, at time.Time) (changed bool) {
	for _, t := range tools {
		was, waits := b.Pending[t.Name]
		switch {
		case b.Allows(t):
			if waits {
				delete(b.Pending, t.Name)
				changed = true
			}
		case waits && was.Digest == t.Digest, !waits && len(b.Pending) >= pendingMost:
		default:
			if b.Pending == nil {
				b.Pending = map[string]Entry{}
			}
			b.Pending[t.Name] = Entry{t.Digest, t.Definition, at.UTC()}
			changed = true
		}
	}
	return changed
}

// Clone is a book with lists of its own.
func (b *Book) Clone() *Book {
	return &Book{b.Version, maps.Clone(b.Approved), maps.Clone(b.Pending)}
}

// Waiting are the names of the tools that are withheld, sorted.
func (b *Book) Waiting() []string { return slices.Sorted(maps.Keys(b.Pending)) }

// Approve approves a tool as it was seen, if it is the one of this digest.
func (b *Book) Approve(name, digest string, at time.Time) bool {
	e, ok := b.Pending[name]
	if !ok || e.Digest != digest {
		return false
	}
	e.At = at.UTC()
	b.Approved[name] = e
	delete(b.Pending, name)
	return true
}

// Sum stands for the tools that are approved.
func (b *Book) Sum() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(b.Approved)) {
		fmt.Fprintf(h, "%q %s\n", name, b.Approved[name].Digest)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}
