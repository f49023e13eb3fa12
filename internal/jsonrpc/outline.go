package jsonrpc

import (
	"errors"
	"fmt"
)

// Outline reads one message in pieces, of any size, and keeps of it what a small
// message with the same meaning to a relay has: each long value that is a member
// of the message, or of its params, result or error, is replaced by a mark. It
// holds no more than OutlineMost bytes of the message however long that is, and
// checks all of it.
type Outline struct {
	// mark makes the value that stands for hole number i: a JSON string.
	mark  func(i int) []byte
	holes []Hole
	out   []byte
	err   error

	at    int64 // of the next byte
	state lexState
	rest  string // of a word
	hex   int    // digits of an escape that are due
	isKey bool   // the string is a key
	open  nest

	key       []byte // the last one of the envelope, its beginning
	inner     bool   // the object at depth 2 is one whose members are looked at
	valueAt   int64  // where the value that may become a hole begins; -1: none
	valueOut  int    // the same place in out
	valueNest int    // the depth that it is at
	cutting   bool
}

// Hole is a value of a message, by its place there.
type Hole struct{ From, To int64 }

const (
	// outlineValue is the longest value that stays in an outline.
	outlineValue = 4 << 10
	// OutlineMost bounds an outline.
	OutlineMost = 256 << 10
)

// ErrOutline: the message has so many members that its outline is not short.
var ErrOutline = errors.New("the message is long and has no short outline")

type lexState uint8

const (
	lexValue lexState = iota
	lexValueOrEnd
	lexKey
	lexKeyOrEnd
	lexColon
	lexAfter
	lexString
	lexEscape
	lexHex
	lexWord
	lexMinus
	lexZero
	lexInt
	lexDot
	lexFraction
	lexExp
	lexExpSign
	lexExpDigits
	lexEnd
)

// NewOutline returns an Outline of nothing yet.
func NewOutline(mark func(i int) []byte) *Outline { return &Outline{mark: mark, valueAt: -1} }

// Write takes the next bytes of the message. It returns the error that Finish
// will return.
func (o *Outline) Write(p []byte) (int, error) {
	for i := 0; i < len(p) && o.err == nil; {
		n := 1
		if o.state == lexString {
			n = max(1, plain(p[i:]))
		}
		o.step(p[i : i+n])
		i += n
	}
	return len(p), o.err
}

// Finish returns the outline and what its marks stand for, in their order.
func (o *Outline) Finish() ([]byte, []Hole, error) {
	if o.err == nil && o.state != lexEnd {
		o.fault("it ends early")
	}
	return o.out, o.holes, o.err
}

func (o *Outline) fault(why string) {
	if o.err == nil {
		o.err = fmt.Errorf("%w: %s (at byte %d)", ErrInvalid, why, o.at+1)
	}
}

// keep adds to the outline.
func (o *Outline) keep(b []byte) {
	o.at += int64(len(b))
	if o.cutting {
		return
	}
	o.out = append(o.out, b...)
	if o.valueAt >= 0 && o.at-o.valueAt > outlineValue {
		o.cutting = true
		o.out = o.out[:o.valueOut]
	}
	if len(o.out) > OutlineMost && o.err == nil {
		o.err = ErrOutline
	}
}

// step takes one byte, or several of the inside of a string.
func (o *Outline) step(b []byte) {
	c := b[0]
	if blank(c) && o.state < lexString || blank(c) && o.state == lexEnd {
		o.keep(b)
		return
	}
	switch o.state {
	case lexValue, lexValueOrEnd:
		if c == ']' && o.state == lexValueOrEnd {
			o.close(b)
			return
		}
		o.value(b)
	case lexKey, lexKeyOrEnd:
		switch {
		case c == '}' && o.state == lexKeyOrEnd:
			o.close(b)
		case c == '"':
			o.isKey, o.state = true, lexString
			if o.open.depth == 1 {
				o.key = o.key[:0]
			}
			o.keep(b)
		default:
			o.fault("a string is missing")
		}
	case lexColon:
		if c != ':' {
			o.fault("a colon is missing")
			return
		}
		o.state = lexValue
		o.keep(b)
	case lexAfter:
		o.after(b)
	case lexString:
		o.inString(b)
	case lexEscape:
		switch c {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			o.state = lexString
		case 'u':
			o.state, o.hex = lexHex, 4
		default:
			o.fault("a bad escape in a string")
		}
		o.keep(b)
		o.noteKey(b)
	case lexHex:
		if !digit(c) && !('a' <= c && c <= 'f') && !('A' <= c && c <= 'F') {
			o.fault("a bad escape in a string")
		}
		if o.hex--; o.hex == 0 {
			o.state = lexString
		}
		o.keep(b)
		o.noteKey(b)
	case lexWord:
		if c != o.rest[0] {
			o.fault("a value is missing")
			return
		}
		o.rest = o.rest[1:]
		o.keep(b)
		if o.rest == "" {
			o.ended()
		}
	case lexEnd:
		o.fault("more follows the message")
	default:
		o.number(b)
	}
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// noteKey keeps the beginning of a key of the envelope.
func (o *Outline) noteKey(b []byte) {
	if o.isKey && o.open.depth == 1 && len(o.key)+len(b) <= 64 {
		o.key = append(o.key, b...)
	}
}

func (o *Outline) inString(b []byte) {
	switch c := b[0]; {
	case len(b) > 1:
		o.keep(b)
		o.noteKey(b)
	case c == '"':
		o.keep(b)
		if o.isKey {
			o.isKey, o.state = false, lexColon
			return
		}
		o.ended()
	case c == '\\':
		o.state = lexEscape
		o.keep(b)
		o.noteKey(b)
	case c < ' ':
		o.fault("a control character in a string")
	default:
		o.keep(b)
		o.noteKey(b)
	}
}

// value takes the first byte of one.
func (o *Outline) value(b []byte) {
	c := b[0]
	depth := o.open.depth
	if depth == 0 && c != '{' {
		o.fault("it does not begin with a brace")
		return
	}
	inner := depth == 1 && c == '{' && o.holdsMembers()
	if o.valueAt < 0 && (depth == 1 && !inner || depth == 2 && o.inner) {
		o.valueAt, o.valueOut, o.valueNest = o.at, len(o.out), depth
	}
	switch {
	case c == '{' || c == '[':
		if !o.open.push(c == '{') {
			o.fault(fmt.Sprintf("it is nested more than %d levels deep", MaxDepth))
			return
		}
		if depth == 1 {
			o.inner = inner
		}
		o.state = lexValueOrEnd
		if c == '{' {
			o.state = lexKeyOrEnd
		}
	case c == '"':
		o.isKey, o.state = false, lexString
	case c == '-':
		o.state = lexMinus
	case c == '0':
		o.state = lexZero
	case digit(c):
		o.state = lexInt
	case c == 't':
		o.state, o.rest = lexWord, "rue"
	case c == 'f':
		o.state, o.rest = lexWord, "alse"
	case c == 'n':
		o.state, o.rest = lexWord, "ull"
	default:
		o.fault("a value is missing")
		return
	}
	o.keep(b)
}

// holdsMembers says whether the members of the value that comes are looked at.
func (o *Outline) holdsMembers() bool {
	name := string(o.key)
	for _, c := range o.key {
		if c == '\\' {
			name = unquote(append(append([]byte{'"'}, o.key...), '"'))
			break
		}
	}
	return name == "result" || name == "params" || name == "error"
}

func (o *Outline) after(b []byte) {
	object := o.open.inObject()
	switch c := b[0]; {
	case c == ',' && object:
		o.state = lexKey
		o.keep(b)
	case c == ',':
		o.state = lexValue
		o.keep(b)
	case c == '}' && object, c == ']' && !object:
		o.close(b)
	default:
		o.fault("a comma or bracket is missing")
	}
}

// close takes the end of a container.
func (o *Outline) close(b []byte) {
	o.open.depth--
	o.keep(b)
	o.ended()
}

// ended: a value has ended.
func (o *Outline) ended() {
	o.state = lexAfter
	if o.open.depth == 0 {
		o.state = lexEnd
	}
	if o.valueAt < 0 || o.open.depth != o.valueNest {
		return
	}
	if o.cutting {
		o.cutting = false
		o.out = append(o.out, o.mark(len(o.holes))...)
		o.holes = append(o.holes, Hole{o.valueAt, o.at})
	}
	o.valueAt = -1
}

// number takes one more byte of a number, or what follows it.
func (o *Outline) number(b []byte) {
	c := b[0]
	next := lexAfter
	switch o.state {
	case lexMinus:
		switch {
		case c == '0':
			next = lexZero
		case digit(c):
			next = lexInt
		}
	case lexZero, lexInt:
		switch {
		case c == '.':
			next = lexDot
		case c == 'e' || c == 'E':
			next = lexExp
		case digit(c) && o.state == lexInt:
			next = lexInt
		}
	case lexDot, lexFraction:
		switch {
		case digit(c):
			next = lexFraction
		case (c == 'e' || c == 'E') && o.state == lexFraction:
			next = lexExp
		}
	case lexExp, lexExpSign, lexExpDigits:
		switch {
		case digit(c):
			next = lexExpDigits
		case (c == '+' || c == '-') && o.state == lexExp:
			next = lexExpSign
		}
	}
	if next != lexAfter {
		o.state = next
		o.keep(b)
		return
	}
	switch o.state {
	case lexZero, lexInt, lexFraction, lexExpDigits:
		o.ended()
		o.step(b)
	default:
		o.fault("a bad number")
	}
}
