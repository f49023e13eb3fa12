// Package jsonrpc frames JSON-RPC messages and finds their ids, on raw bytes.
//
// A message is one line. [Parse] finds the members of its envelope (method, id,
// params, result, error) without decoding what they hold. [Message.Rewrite]
// replaces some of them, [Edit] and its like what is inside: the bytes that are
// named and no others. Unknown members, the order of members, large integers and
// odd spacing pass through as they are.
package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind says what a message is.
type Kind uint8

// The kinds of messages.
const (
	Invalid       Kind = iota
	Request            // method and id
	Notification       // method, no id
	Response           // result and id
	ErrorResponse      // error; the id may be null or missing if it was not known
	Batch              // an array; its elements are not looked at
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Notification:
		return "notification"
	case Response:
		return "response"
	case ErrorResponse:
		return "error response"
	case Batch:
		return "batch"
	}
	return "invalid message"
}

// ErrInvalid is wrapped by every error of Parse.
var ErrInvalid = errors.New("not a JSON-RPC message")

// Message is the envelope of one line. Its slices alias that line and are nil
// where the message has no such member.
type Message struct {
	Kind   Kind
	Method string
	// ID is the exact text of a string, a number or null.
	ID     []byte
	Params []byte
	Result []byte
	Error  []byte

	line []byte
	at   places
}

// places is where the members of an envelope stand in the line.
type places struct{ id, params, result, error int }

// Parse finds the envelope of a line. The error, which wraps ErrInvalid, is nil
// unless the Kind is Invalid.
//
// The whole line must be JSON (RFC 8259, at most MaxDepth levels deep), and a
// message must say "jsonrpc": "2.0". A second member of the same name is refused
// if it belongs to the envelope: receivers differ in which of the two they take,
// so nobody could say what such a message means.
func Parse(line []byte) (Message, error) {
	s := scanner{b: line}
	s.blanks()
	var (
		m   Message
		err error
	)
	switch s.peek() {
	case '{':
		m, err = parseObject(&s)
	case '[':
		m.Kind, m.line = Batch, line
		err = s.value()
	default:
		err = s.fault("it does not begin with a brace")
	}
	if err == nil {
		s.blanks()
		if s.i < len(line) {
			err = s.fault("more follows the message")
		}
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// envelope is where the members of a message stand; nil if it has none.
type envelope struct {
	jsonrpc, id, method, params, result, error []byte
}

// member returns the place for the member that key, a JSON string, names, or
// nil if it does not belong to the envelope.
func (e *envelope) member(key []byte) *[]byte {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		// Any character may be written as an escape of six bytes.
		if len(name) > 6*len("jsonrpc") {
			return nil
		}
		name = []byte(unquote(key))
	}
	switch string(name) {
	case "jsonrpc":
		return &e.jsonrpc
	case "id":
		return &e.id
	case "method":
		return &e.method
	case "params":
		return &e.params
	case "result":
		return &e.result
	case "error":
		return &e.error
	}
	return nil
}

func parseObject(s *scanner) (Message, error) {
	var (
		e  envelope
		at places
	)
	s.i++ // the brace
	s.blanks()
	if s.peek() == '}' {
		s.i++
		return Message{}, s.fault("it is an empty object")
	}
	for {
		s.blanks()
		keyAt := s.i
		if err := s.str(); err != nil {
			return Message{}, err
		}
		member := e.member(s.b[keyAt:s.i])
		if member != nil && *member != nil {
			return Message{}, s.fault("it has two members " + string(s.b[keyAt:s.i]))
		}
		if err := s.colon(); err != nil {
			return Message{}, err
		}
		from := s.i
		if err := s.value(); err != nil {
			return Message{}, err
		}
		if member != nil {
			*member = s.b[from:s.i:s.i]
			switch member {
			case &e.id:
				at.id = from
			case &e.params:
				at.params = from
			case &e.result:
				at.result = from
			case &e.error:
				at.error = from
			}
		}
		s.blanks()
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			m, why := e.message()
			if why != "" {
				return Message{}, fmt.Errorf("%w: %s", ErrInvalid, why)
			}
			m.line, m.at = s.b, at
			return m, nil
		default:
			return Message{}, s.fault("a comma or brace is missing")
		}
	}
}

// message decides what the members make; why is empty unless they make nothing.
func (e *envelope) message() (m Message, why string) {
	if string(e.jsonrpc) != `"2.0"` && (e.jsonrpc == nil || unquote(e.jsonrpc) != "2.0") {
		return m, `it does not say "jsonrpc": "2.0"`
	}
	if e.id != nil && !isID(e.id) {
		return m, "its id is neither a string nor a number"
	}
	m = Message{ID: e.id, Params: e.params, Result: e.result, Error: e.error}
	switch {
	case e.method != nil:
		if e.method[0] != '"' {
			return m, "its method is not a string"
		}
		if e.result != nil || e.error != nil {
			return m, "it is a request and a response at once"
		}
		m.Method = unquote(e.method)
		m.Kind = Request
		if e.id == nil {
			m.Kind = Notification
		}
	// Some servers write a null beside the member that counts.
	case e.error != nil && !(isNull(e.error) && e.result != nil):
		if e.error[0] != '{' {
			return m, "its error is not an object"
		}
		if e.result != nil && !isNull(e.result) {
			return m, "it has a result and an error"
		}
		m.Kind, m.Result = ErrorResponse, nil
	case e.result != nil:
		if e.id == nil || isNull(e.id) {
			return m, "its result belongs to no request: it has no id"
		}
		m.Kind, m.Error = Response, nil
	default:
		return m, "it has no method, result or error"
	}
	return m, ""
}

// Size is how many bytes the message has.
func (m Message) Size() int { return len(m.line) }

func isNull(raw []byte) bool { return string(raw) == "null" }

// isID says whether raw, which is JSON, is a string, a number or null.
func isID(raw []byte) bool {
	c := raw[0]
	return c == '"' || c == '-' || '0' <= c && c <= '9' || c == 'n'
}

// unquote decodes a JSON string; of anything else it returns "".
func unquote(raw []byte) string {
	if raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Text decodes a JSON string; ok is false if raw is none.
func Text(raw []byte) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return unquote(raw), true
}

// StringID decodes an id that is a string; ok is false if it is none.
func (m Message) StringID() (id string, ok bool) { return Text(m.ID) }

// Rewrite is what Message.Rewrite replaces; nil leaves a member as it is.
type Rewrite struct {
	ID, Params, Result, Error []byte
}

// Rewrite returns a copy of the message with other members; no other byte
// differs. Only params may be given to a message that had none. The ID must be
// the text of a JSON string or number. The others must be JSON, such as the
// members of a message and what Edit makes of them: they are not looked at again.
func (m Message) Rewrite(r Rewrite) ([]byte, error) {
	if r.ID != nil {
		if err := checkID(r.ID); err != nil {
			return nil, err
		}
	}
	parts := [...]part{
		{"id", m.ID, r.ID, m.at.id},
		{"params", m.Params, r.Params, m.at.params},
		{"result", m.Result, r.Result, m.at.result},
		{"error", m.Error, r.Error, m.at.error},
	}
	for i := range parts { // into the order of the line
		for j := i; j > 0 && parts[j].at < parts[j-1].at; j-- {
			parts[j], parts[j-1] = parts[j-1], parts[j]
		}
	}
	const name = `,"params":`
	size, more := len(m.line), []byte(nil)
	for _, p := range parts {
		switch {
		case p.now == nil:
		case p.was != nil:
			size += len(p.now) - len(p.was)
		case p.name == "params" && (m.Kind == Request || m.Kind == Notification):
			more = p.now
			size += len(name) + len(more)
		default:
			return nil, fmt.Errorf("replace the %s of a %v that has none", p.name, m.Kind)
		}
	}
	line, from := make([]byte, 0, size), 0
	for _, p := range parts {
		if p.now != nil && p.was != nil {
			line = append(line, m.line[from:p.at]...)
			line = appendLine(line, p.now)
			from = p.at + len(p.was)
		}
	}
	if more != nil {
		end := bytes.LastIndexByte(m.line, '}')
		line = append(line, m.line[from:end]...)
		line = append(line, name...)
		line = appendLine(line, more)
		from = end
	}
	return append(line, m.line[from:]...), nil
}

// part is a member that Rewrite may replace, and where in the line it stands.
type part struct {
	name     string
	was, now []byte
	at       int
}

func checkID(id []byte) error {
	s := scanner{b: id}
	if len(id) == 0 || s.value() != nil || s.i != len(id) || !isID(id) {
		return fmt.Errorf("%s cannot be the id of a message", strconv.Quote(string(id)))
	}
	return nil
}
