package jsonrpc

import (
	"bytes"
	"fmt"
	"iter"
	"unicode/utf8"
)

// Get returns the value that path leads to below the JSON object raw, or nil if
// there is none. Of members with one name it takes the last, as most decoders
// do. The value aliases raw.
func Get(raw []byte, path ...string) []byte {
	for _, name := range path {
		var found []byte
		w := walkObject(raw)
		for w.next() {
			if w.is(name) {
				found = w.value()
			}
		}
		if w.bad {
			return nil
		}
		raw = found
	}
	return raw
}

// Find gives each of the members its value in the JSON object raw, as Get does, in
// one pass; nil if there is none.
func Find(raw []byte, members ...*Member) {
	for _, m := range members {
		m.Value = nil
	}
	w := walkObject(raw)
	for w.next() {
		for _, m := range members {
			if w.is(m.Name) {
				m.Value = w.value()
			}
		}
	}
	if w.bad {
		for _, m := range members {
			m.Value = nil
		}
	}
}

// Members returns the members of the JSON object raw in their order; none if it
// is not an object. The values alias raw.
func Members(raw []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		w := walkObject(raw)
		for w.next() {
			if !yield(unquote(w.key()), w.value()) {
				return
			}
		}
	}
}

// Elements returns the elements of the JSON array raw; none if it is not an
// array. The values alias raw.
func Elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w := walkArray(raw)
		for w.next() {
			if !yield(w.value()) {
				return
			}
		}
	}
}

// Member is a member of an object. To Edit it is what to make of those of its
// name: one with this value, or none if the value is nil.
type Member struct {
	Name  string
	Value []byte
}

// Edit returns the JSON object raw with the edits, whose names differ, made; no
// other member differs in a byte. A value takes the place of the first member of
// its name, or becomes the last member. Nil and null stand for an object without
// members. The result is raw itself if there was nothing to change.
func Edit(raw []byte, edits ...Member) ([]byte, error) {
	more := 0
	for _, e := range edits {
		if e.Value == nil {
			continue
		}
		if err := checkValue(e.Value); err != nil {
			return nil, fmt.Errorf("set %q: %w", e.Name, err)
		}
		more += len(e.Name) + len(e.Value) + len(`,"":`)
	}
	if raw == nil || isNull(bytes.Trim(raw, " \t\r\n")) {
		if more == 0 {
			return raw, nil
		}
		raw = []byte("{}")
	}
	w, out := walkObject(raw), editor{raw: raw, more: more}
	done := make([]bool, 16) // on the stack
	if len(edits) > len(done) {
		done = make([]bool, len(edits))
	}
	for w.next() {
		i := 0
		for i < len(edits) && !w.is(edits[i].Name) {
			i++
		}
		switch {
		case i == len(edits):
			out.keep(&w)
		case edits[i].Value == nil || done[i]:
			out.drop(&w)
		default:
			out.replace(&w, edits[i].Value)
			done[i] = true
		}
	}
	if w.bad {
		return nil, fmt.Errorf("%w: a member was to be set in what is not an object", ErrInvalid)
	}
	for i, e := range edits {
		if e.Value != nil && !done[i] {
			out.append(&w, e)
		}
	}
	return out.finish(&w), nil
}

// Set returns the JSON object raw with value at path, making the objects that
// are missing on the way; see Edit.
func Set(raw, value []byte, path ...string) ([]byte, error) {
	switch {
	case len(path) == 0:
		return nil, fmt.Errorf("a member to set needs a name")
	case value == nil:
		return nil, fmt.Errorf("set %q: a value is missing", path[len(path)-1])
	case len(path) > 1:
		var err error
		if value, err = Set(Get(raw, path[0]), value, path[1:]...); err != nil {
			return nil, fmt.Errorf("in %q: %w", path[0], err)
		}
	}
	return Edit(raw, Member{path[0], value})
}

// Delete returns the JSON object raw without the members that path leads to, by
// however many members of the same names; no other member differs in a byte. It
// returns raw itself if there are none.
func Delete(raw []byte, path ...string) []byte {
	if len(path) == 0 {
		return raw
	}
	w, out := walkObject(raw), editor{raw: raw}
	for w.next() {
		switch {
		case !w.is(path[0]):
			out.keep(&w)
		case len(path) == 1:
			out.drop(&w)
		default:
			out.replace(&w, Delete(w.value(), path[1:]...))
		}
	}
	if w.bad {
		return raw
	}
	return out.finish(&w)
}

// EditElements returns the JSON array raw with what f makes of each element,
// which is JSON or, to remove the element, nil. It returns raw itself if f
// returns what it was given, and if raw is not an array.
func EditElements(raw []byte, f func(element []byte) []byte) []byte {
	w, out := walkArray(raw), editor{raw: raw}
	for w.next() {
		if value := f(w.value()); value != nil {
			out.replace(&w, value)
		} else {
			out.drop(&w)
		}
	}
	if w.bad {
		return raw
	}
	return out.finish(&w)
}

// walk steps over the members of an object or the elements of an array. A piece
// is what stands between two commas: a value with its key and the blanks.
type walk struct {
	s             scanner
	object        bool
	began, ended  bool
	bad           bool // it is no such container, or broken
	from, to      int  // the piece
	keyAt, keyTo  int
	valAt, valTo  int
	closingAt     int // the closing bracket, once ended
	opening, last byte
}

func walkObject(raw []byte) walk {
	return walk{s: scanner{b: raw}, object: true, opening: '{', last: '}'}
}

func walkArray(raw []byte) walk {
	return walk{s: scanner{b: raw}, opening: '[', last: ']'}
}

// next steps to the next piece. If it returns false, ended or bad says why.
func (w *walk) next() bool {
	if w.ended || w.bad {
		return false
	}
	s := &w.s
	if !w.began {
		w.began = true
		s.blanks()
		if s.peek() != w.opening {
			w.bad = true
			return false
		}
		s.i++
		w.from = s.i
		s.blanks()
		if s.peek() == w.last {
			w.end()
			return false
		}
	} else {
		w.from = s.i
		s.blanks()
	}
	if w.object {
		w.keyAt = s.i
		if s.str() != nil {
			w.bad = true
			return false
		}
		w.keyTo = s.i
		if s.colon() != nil {
			w.bad = true
			return false
		}
	}
	w.valAt = s.i
	if s.value() != nil {
		w.bad = true
		return false
	}
	w.valTo = s.i
	s.blanks()
	w.to = s.i
	switch s.peek() {
	case ',':
		s.i++
	case w.last:
		w.end()
	default:
		w.bad = true
	}
	return !w.bad
}

func (w *walk) end() {
	w.ended = true
	w.closingAt = w.s.i
}

// key is the text of the key, with its quotes.
func (w *walk) key() []byte { return w.s.b[w.keyAt:w.keyTo:w.keyTo] }

func (w *walk) value() []byte { return w.s.b[w.valAt:w.valTo:w.valTo] }

// is says whether the key is name.
func (w *walk) is(name string) bool {
	key := w.key()
	text := key[1 : len(key)-1]
	if string(text) == name {
		return bytes.IndexByte(text, '\\') < 0
	}
	if bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
		return false
	}
	return unquote(key) == name
}

// editor copies the pieces of a walk, from the first that changes.
type editor struct {
	raw     []byte
	more    int // bytes that may be added
	out     []byte
	changed bool
	n       int // pieces kept so far
}

func (e *editor) keep(w *walk) {
	if e.changed {
		e.comma()
		e.out = append(e.out, e.raw[w.from:w.to]...)
		return
	}
	e.n++
}

func (e *editor) drop(w *walk) { e.begin(e.before(w)) }

func (e *editor) replace(w *walk, value []byte) {
	if old := w.value(); len(old) == len(value) && &old[0] == &value[0] {
		e.keep(w)
		return
	}
	e.begin(e.before(w))
	e.comma()
	e.out = append(e.out, e.raw[w.from:w.valAt]...)
	e.out = appendLine(e.out, value)
	e.out = append(e.out, e.raw[w.valTo:w.to]...)
}

// append adds a member once the walk has ended.
func (e *editor) append(w *walk, m Member) {
	e.begin(w.closingAt)
	e.comma()
	e.out = appendQuoted(e.out, m.Name)
	e.out = append(e.out, ':')
	e.out = appendLine(e.out, m.Value)
}

// before is where the piece begins, with the comma that leads to it.
func (e *editor) before(w *walk) int {
	if e.n > 0 {
		return w.from - 1
	}
	return w.from
}

// begin starts the copy, if none was, with what stands before that place.
func (e *editor) begin(at int) {
	if e.changed {
		return
	}
	e.changed = true
	e.out = append(make([]byte, 0, len(e.raw)+e.more), e.raw[:at]...)
}

func (e *editor) comma() {
	if e.n > 0 {
		e.out = append(e.out, ',')
	}
	e.n++
}

func (e *editor) finish(w *walk) []byte {
	if !e.changed {
		return e.raw
	}
	return append(e.out, e.raw[w.closingAt:]...)
}
