package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is one event of a stream (HTML, "server-sent events", section 9.2.6).
type event struct {
	name  string
	id    string // the last that the stream gave
	data  []byte // a message, or the outline of one
	retry time.Duration
}

const (
	// fieldMost bounds a field that is not data, in bytes.
	fieldMost = 16 << 10
	// retryMost bounds how long a server may have its client wait.
	retryMost = 5 * time.Minute
)

// errField: a line of a stream is longer than any that means something.
var errField = errors.New("a field of the server's stream is longer than 16 KiB")

// events reads a stream, and calls f with each event that has data, an id or a time
// to wait. Of long data only the outline is in memory. It returns io.EOF at the end
// of the stream, and what f returns if that is an error.
type events struct {
	r     *bufio.Reader
	data  piecemeal
	any   bool // the event has a field data
	ev    event
	fresh bool // it has an id or a time to wait
	begun bool
	cr    bool // the line before ended in CR: LF would belong to it
}

func (e *events) each(f func(event) error) error {
	defer e.data.forget()
	for {
		end, err := e.line()
		if err != nil {
			// An event that did not end is none.
			return err
		}
		if !end {
			continue
		}
		if !e.any && !e.fresh {
			e.ev.name = ""
			continue
		}
		ev := e.ev
		if ev.data, err = e.data.take(); err != nil {
			return &spoolError{err}
		}
		e.any, e.fresh, e.ev = false, false, event{id: ev.id}
		if err := f(ev); err != nil {
			return err
		}
	}
}

// line reads one line; end says that it is the blank one after an event.
func (e *events) line() (end bool, err error) {
	name, ended, err := e.name()
	if err != nil || ended && name == "" {
		return err == nil, err
	}
	if ended {
		return false, e.field(name, "") // a name without a value
	}
	if name == "data" {
		if e.any {
			_, err = e.data.Write([]byte{'\n'})
		}
		if e.any = true; err == nil {
			err = e.value(&e.data)
		}
		return false, err
	}
	var v short
	if err := e.value(&v); err != nil {
		return false, err
	}
	return false, e.field(name, v.String())
}

// name reads a line up to its colon, or to its end.
func (e *events) name() (name string, ended bool, err error) {
	var b []byte
	for {
		c, err := e.r.ReadByte()
		if err != nil {
			return "", false, err
		}
		if e.cr {
			if e.cr = false; c == '\n' {
				continue
			}
		}
		switch {
		case c == ':':
			return e.trim(b), false, nil
		case c == '\n', c == '\r':
			e.cr = c == '\r'
			return e.trim(b), true, nil
		case len(b) >= fieldMost:
			return "", false, errField
		}
		b = append(b, c)
	}
}

// trim takes the byte order mark off that a stream may begin with.
func (e *events) trim(b []byte) string {
	if !e.begun {
		e.begun = true
		b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	}
	return string(b)
}

// value writes the rest of a line to w, without the blank that it may begin with.
func (e *events) value(w io.Writer) error {
	first := true
	for {
		// A CR ends a line as well, so that what is buffered is searched for both.
		if _, err := e.r.Peek(1); err != nil {
			return err
		}
		part, _ := e.r.Peek(e.r.Buffered())
		end := bytes.IndexAny(part, "\r\n")
		used := len(part)
		if end >= 0 {
			used = end + 1
			e.cr = part[end] == '\r'
			part = part[:end]
		}
		if first {
			part, first = bytes.TrimPrefix(part, []byte(" ")), false
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		if _, err := e.r.Discard(used); err != nil {
			return err
		}
		if end >= 0 {
			return nil
		}
	}
}

// field takes a field that is not data. A comment has no name.
func (e *events) field(name, value string) error {
	switch name {
	case "data": // without a colon
		if e.any {
			if _, err := e.data.Write([]byte{'\n'}); err != nil {
				return err
			}
		}
		e.any = true
	case "event":
		e.ev.name = value
	case "id":
		if isHeaderValue(value) || value == "" {
			e.ev.id, e.fresh = value, true
		}
	case "retry":
		if ms, err := strconv.ParseUint(value, 10, 32); err == nil && strings.Trim(value, "0123456789") == "" {
			e.ev.retry, e.fresh = min(time.Duration(ms)*time.Millisecond, retryMost), true
		}
	}
	return nil
}

// spoolError is why a long message could not be kept.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// short is a value that is kept whole; one that is too long is an error.
type short struct{ strings.Builder }

func (s *short) Write(b []byte) (int, error) {
	if s.Len()+len(b) > fieldMost {
		return 0, errField
	}
	return s.Builder.Write(b)
}

// isHeaderValue says whether a text of the server's may be sent back in a header.
func isHeaderValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 4<<10
}
