package shim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// message is what travels in a frame: it lists its fields, once for both
// directions.
type message interface{ fields(c *coder) }

// coder writes a message as fields, or reads one. A field has the form of a frame:
// a byte that says which it is, four bytes of length (big endian), and its value:
//
//	text       its bytes, whatever they are
//	a number   eight bytes, big endian
//	a switch   nothing: that it is there is its value
//	a moment   the form of time.Time's MarshalBinary
//	a message  its fields
//	a list     one field for each element; of a map, a message with key and value
//
// What is zero is left out, and what is not known is skipped, so that either side
// may be older. It is not JSON because a shim would pay for what package
// encoding/json builds for each type: a tenth of its memory.
type coder struct {
	reading bool
	bytes   []byte // as far as written; or all that there is to read
	err     error  // the first
}

// encode appends the fields of m to b.
func encode(b []byte, m message) []byte {
	c := coder{bytes: b}
	m.fields(&c)
	return c.bytes
}

// decode reads the fields of m, which is zero before. What it keeps of b it copies.
func decode(b []byte, m message) error {
	c := coder{reading: true, bytes: b}
	for range c.all(0) {
		// The form of all is looked at once; those inside of others when it is
		// their turn.
	}
	if c.err == nil {
		m.fields(&c)
	}
	return c.err
}

// fieldHeader is what comes before the value of a field, in bytes.
const fieldHeader = 1 + 4

// all yields the values of the fields tag, of every field if it is 0.
func (c *coder) all(tag byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for b := c.bytes; len(b) > 0 && c.err == nil; {
			if len(b) < fieldHeader {
				c.fail("the head of a field is cut short")
				return
			}
			is, n := b[0], binary.BigEndian.Uint32(b[1:])
			if b = b[fieldHeader:]; uint64(n) > uint64(len(b)) {
				c.fail("a field of %d bytes in %d", n, len(b))
				return
			}
			value := b[:n:n]
			b = b[n:]
			if (tag == 0 || tag == is) && !yield(value) {
				return
			}
		}
	}
}

// value is that of the first field tag.
func (c *coder) value(tag byte) ([]byte, bool) {
	for v := range c.all(tag) {
		return v, true
	}
	return nil, false
}

func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
	}
}

// open begins a field and returns where its value does; close ends it.
func (c *coder) open(tag byte) int {
	c.bytes = append(c.bytes, tag, 0, 0, 0, 0)
	return len(c.bytes)
}

func (c *coder) close(from int) {
	binary.BigEndian.PutUint32(c.bytes[from-4:], uint32(len(c.bytes)-from))
}

// text is a string.
func text[T ~string](c *coder, tag byte, s *T) {
	if c.reading {
		if v, ok := c.value(tag); ok {
			*s = T(v)
		}
		return
	}
	if *s != "" {
		from := c.open(tag)
		c.bytes = append(c.bytes, *s...)
		c.close(from)
	}
}

// blob is a string of bytes.
func (c *coder) blob(tag byte, b *[]byte) {
	if c.reading {
		if v, ok := c.value(tag); ok {
			*b = slices.Clone(v)
		}
		return
	}
	if len(*b) > 0 {
		from := c.open(tag)
		c.bytes = append(c.bytes, *b...)
		c.close(from)
	}
}

// integer is any whole number.
func integer[T ~int | ~int64 | ~uint16 | ~uint64](c *coder, tag byte, n *T) {
	if c.reading {
		if v, ok := c.value(tag); ok && c.sized(v, 8) {
			*n = T(binary.BigEndian.Uint64(v))
		}
		return
	}
	if *n != 0 {
		from := c.open(tag)
		c.bytes = binary.BigEndian.AppendUint64(c.bytes, uint64(*n))
		c.close(from)
	}
}

func (c *coder) sized(v []byte, n int) bool {
	if len(v) != n {
		c.fail("a value of %d bytes that has %d", len(v), n)
		return false
	}
	return true
}

// flag is a switch.
func (c *coder) flag(tag byte, on *bool) {
	if c.reading {
		if v, ok := c.value(tag); ok && c.sized(v, 0) {
			*on = true
		}
		return
	}
	if *on {
		c.close(c.open(tag))
	}
}

// moment is a time, with its zone.
func (c *coder) moment(tag byte, t *time.Time) {
	if c.reading {
		if v, ok := c.value(tag); ok {
			if err := t.UnmarshalBinary(v); err != nil {
				c.fail("%v", err)
			}
		}
		return
	}
	if t.IsZero() {
		return
	}
	from := c.open(tag)
	b, err := t.AppendBinary(c.bytes)
	if err != nil {
		// A zone that it has no form for: the moment is what matters.
		b, _ = t.UTC().AppendBinary(c.bytes)
	}
	c.bytes = b
	c.close(from)
}

// inner is a message that is always there.
func (c *coder) inner(tag byte, fields func(*coder)) {
	if !c.reading {
		from := c.open(tag)
		fields(c)
		c.close(from)
		return
	}
	if v, ok := c.value(tag); ok {
		c.within(v, fields)
	}
}

// within reads v.
func (c *coder) within(v []byte, fields func(*coder)) {
	all := c.bytes
	c.bytes = v
	fields(c)
	c.bytes = all
}

// maybe is a message that may be missing.
func maybe[T any](c *coder, tag byte, p **T, fields func(*T, *coder)) {
	if !c.reading {
		if *p != nil {
			from := c.open(tag)
			fields(*p, c)
			c.close(from)
		}
		return
	}
	if v, ok := c.value(tag); ok {
		*p = new(T)
		c.within(v, func(c *coder) { fields(*p, c) })
	}
}

// texts is a list of strings.
func (c *coder) texts(tag byte, list *[]string) {
	if c.reading {
		for v := range c.all(tag) {
			*list = append(*list, string(v))
		}
		return
	}
	for _, s := range *list {
		from := c.open(tag)
		c.bytes = append(c.bytes, s...)
		c.close(from)
	}
}

// list is a list of messages.
func list[T any](c *coder, tag byte, l *[]T, fields func(*T, *coder)) {
	if c.reading {
		for v := range c.all(tag) {
			var value T
			c.within(v, func(c *coder) { fields(&value, c) })
			*l = append(*l, value)
		}
		return
	}
	for i := range *l {
		c.inner(tag, func(c *coder) { fields(&(*l)[i], c) })
	}
}

// table is a map of strings to something, in the order of its keys.
func table[T any](c *coder, tag byte, m *map[string]T, fields func(*T, *coder)) {
	if c.reading {
		for v := range c.all(tag) {
			if *m == nil {
				*m = map[string]T{}
			}
			var key string
			var value T
			c.within(v, func(c *coder) {
				text(c, 1, &key)
				c.inner(2, func(c *coder) { fields(&value, c) })
			})
			(*m)[key] = value
		}
		return
	}
	keys := make([]string, 0, len(*m))
	for key := range *m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		value := (*m)[key]
		from := c.open(tag)
		text(c, 1, &key)
		c.inner(2, func(c *coder) { fields(&value, c) })
		c.close(from)
	}
}
