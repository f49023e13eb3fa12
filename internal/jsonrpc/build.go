package jsonrpc

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// StringID returns s as the text of an id.
func StringID(s string) []byte { return quote(s) }

// NewRequest returns a request as a line without its end. Params is JSON, or
// nil for none; it is copied as it is, but for line breaks between its tokens.
func NewRequest(id []byte, method string, params []byte) ([]byte, error) {
	line, err := appendID(nil, id)
	if err != nil {
		return nil, err
	}
	return appendCall(line, method, params)
}

// NewNotification returns a notification as a line without its end.
func NewNotification(method string, params []byte) ([]byte, error) {
	return appendCall([]byte(`{"jsonrpc":"2.0"`), method, params)
}

// NewResult returns a response as a line without its end. Result is JSON.
func NewResult(id, result []byte) ([]byte, error) {
	line, err := appendID(nil, id)
	if err != nil {
		return nil, err
	}
	if line, err = appendRaw(line, "result", result); err != nil {
		return nil, err
	}
	return append(line, '}'), nil
}

// NewError returns an error response as a line without its end. With a nil id it
// has none: that of a request that could not be read. JSON-RPC has it be null then,
// MCP from 2025-11-25 on has it be left out.
func NewError(id []byte, e *Error) ([]byte, error) {
	line := []byte(`{"jsonrpc":"2.0"`)
	if id != nil {
		var err error
		if line, err = appendID(nil, id); err != nil {
			return nil, err
		}
	}
	line = fmt.Appendf(line, `,"error":{"code":%d,"message":%s`, e.Code, quote(e.Message))
	if e.Data != nil {
		var err error
		if line, err = appendRaw(line, "data", e.Data); err != nil {
			return nil, err
		}
	}
	return append(line, '}', '}'), nil
}

func appendID(line, id []byte) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	line = append(line, `{"jsonrpc":"2.0","id":`...)
	return append(line, id...), nil
}

func appendCall(line []byte, method string, params []byte) ([]byte, error) {
	line = append(line, `,"method":`...)
	line = append(line, quote(method)...)
	if params != nil {
		var err error
		if line, err = appendRaw(line, "params", params); err != nil {
			return nil, err
		}
	}
	return append(line, '}'), nil
}

// appendRaw appends a member whose value is raw JSON.
func appendRaw(line []byte, name string, raw []byte) ([]byte, error) {
	if err := checkValue(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	line = fmt.Appendf(line, `,"%s":`, name)
	return appendLine(line, raw), nil
}

// checkValue says what is wrong with raw if it is not one JSON value.
func checkValue(raw []byte) error {
	s := scanner{b: raw}
	s.blanks()
	if err := s.value(); err != nil {
		return err
	}
	if s.blanks(); s.i < len(raw) {
		return s.fault("more follows the value")
	}
	return nil
}

// appendLine appends raw JSON. A line break can stand only between tokens there;
// it would end the message, so it becomes a blank.
func appendLine(line, raw []byte) []byte {
	at := len(line)
	line = append(line, raw...)
	for _, c := range []byte("\r\n") {
		for i := at; ; i++ {
			n := bytes.IndexByte(line[i:], c)
			if n < 0 {
				break
			}
			i += n
			line[i] = ' '
		}
	}
	return line
}

// appendQuoted appends s as a JSON string.
func appendQuoted(line []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(line, quote(s)...)
		}
	}
	line = append(line, '"')
	line = append(line, s...)
	return append(line, '"')
}

func quote(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("jsonrpc: a string does not marshal") // cannot happen
	}
	return text
}
