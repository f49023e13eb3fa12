package jsonrpc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// MaxDepth is how deep arrays and objects may be nested: as deep as
// encoding/json decodes them.
const MaxDepth = 10000

// scanner steps over JSON and checks it (RFC 8259; bytes of strings that are not
// UTF-8 are let through, as encoding/json does). It allocates nothing.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) fault(why string) error {
	return fmt.Errorf("%w: %s (at byte %d)", ErrInvalid, why, s.i+1)
}

// peek returns the next byte, or 0 at the end; no JSON text holds a NUL.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) blanks() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// colon steps over what separates a key from its value.
func (s *scanner) colon() error {
	s.blanks()
	if s.peek() != ':' {
		return s.fault("a colon is missing")
	}
	s.i++
	s.blanks()
	return nil
}

// nest is the stack of open containers, one bit each: 1 is an object.
type nest struct {
	bits  [MaxDepth/64 + 1]uint64
	depth int
}

func (n *nest) push(object bool) bool {
	if n.depth == MaxDepth-1 { // the message is a level, too
		return false
	}
	bit := uint64(1) << (n.depth % 64)
	if object {
		n.bits[n.depth/64] |= bit
	} else {
		n.bits[n.depth/64] &^= bit
	}
	n.depth++
	return true
}

func (n *nest) inObject() bool {
	return n.bits[(n.depth-1)/64]>>((n.depth-1)%64)&1 == 1
}

// value steps over one value of any kind. It does not recurse: how deep a
// message is nested is the sender's choice, and the stack is ours.
func (s *scanner) value() error {
	if c := s.peek(); c != '{' && c != '[' {
		return s.scalar()
	}
	var open nest
	for {
		// Here a value is due.
		s.blanks()
		switch c := s.peek(); c {
		case '{', '[':
			if !open.push(c == '{') {
				return s.fault(fmt.Sprintf("it is nested more than %d levels deep", MaxDepth))
			}
			s.i++
			s.blanks()
			if s.peek() != c+2 { // '{' + 2 is '}', '[' + 2 is ']'
				if c == '{' {
					if err := s.key(); err != nil {
						return err
					}
				}
				continue
			}
			s.i++
			open.depth--
		default:
			if err := s.scalar(); err != nil {
				return err
			}
		}
		// Here a value has ended.
		more := false
		for !more {
			if open.depth == 0 {
				return nil
			}
			var err error
			if more, err = s.after(&open); err != nil {
				return err
			}
		}
	}
}

// after steps over what follows a value in a container: a comma (and the key
// that is due), or the container's end. more says that a value is due.
func (s *scanner) after(open *nest) (more bool, err error) {
	s.blanks()
	object := open.inObject()
	switch c := s.peek(); {
	case c == ',' && object:
		s.i++
		s.blanks()
		return true, s.key()
	case c == ',':
		s.i++
		return true, nil
	case c == '}' && object, c == ']' && !object:
		s.i++
		open.depth--
		return false, nil
	}
	return false, s.fault("a comma or bracket is missing")
}

// key steps over a member's name and its colon.
func (s *scanner) key() error {
	if err := s.str(); err != nil {
		return err
	}
	return s.colon()
}

func (s *scanner) scalar() error {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '-' || digit(c):
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.fault("a value is missing")
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.fault("a value is missing")
	}
	s.i += len(w)
	return nil
}

func (s *scanner) str() error {
	if s.peek() != '"' {
		return s.fault("a string is missing")
	}
	for i := s.i + 1; i < len(s.b); i++ {
		i += plain(s.b[i:])
		if i == len(s.b) {
			break
		}
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return nil
		case c < ' ':
			s.i = i
			return s.fault("a control character in a string")
		case c == '\\':
			n := escape(s.b[i:])
			if n == 0 {
				s.i = i
				return s.fault("a bad escape in a string")
			}
			i += n - 1
		}
	}
	s.i = len(s.b)
	return s.fault("a string without its end")
}

// plain returns how many bytes at the beginning of b are neither the end of a
// string nor anything that must be looked at in one. It takes eight at a time:
// most of what passes is the inside of strings.
func plain(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		// The lowest top bit that is set marks a byte that is 0, or less than a
		// blank; there may be wrong ones above it.
		found := ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-ones*' ')&^x) & tops
		if found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(b); n++ {
		if c := b[n]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return n
}

// escape returns the length of the escape that b begins with, or 0.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !digit(c) && !('a' <= c && c <= 'f') && !('A' <= c && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.i++
	}
	switch c := s.peek(); {
	case c == '0':
		s.i++
	case digit(c):
		s.digits()
	default:
		return s.fault("a bad number")
	}
	if s.peek() == '.' {
		s.i++
		if !digit(s.peek()) {
			return s.fault("a bad number")
		}
		s.digits()
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !digit(s.peek()) {
			return s.fault("a bad number")
		}
		s.digits()
	}
	return nil
}

func (s *scanner) digits() {
	for digit(s.peek()) {
		s.i++
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
