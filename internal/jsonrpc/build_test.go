package jsonrpc

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestBuild(t *testing.T) {
	id := StringID("b1-2")
	for _, tt := range []struct {
		name string
		want string
		kind Kind
		make func() ([]byte, error)
	}{
		{"request", `{"jsonrpc":"2.0","id":"b1-2","method":"tools/list"}`, Request,
			func() ([]byte, error) { return NewRequest(id, "tools/list", nil) }},
		{"request with params", `{"jsonrpc":"2.0","id":7,"method":"m","params":{"n":9007199254740993,  "s":"a\nb"}}`, Request,
			func() ([]byte, error) {
				return NewRequest([]byte("7"), "m", []byte("{\"n\":9007199254740993,\r\n\"s\":\"a\\nb\"}"))
			}},
		{"notification", `{"jsonrpc":"2.0","method":"a\"b","params":[]}`, Notification,
			func() ([]byte, error) { return NewNotification(`a"b`, []byte("[]")) }},
		{"result", `{"jsonrpc":"2.0","id":"b1-2","result":{}}`, Response,
			func() ([]byte, error) { return NewResult(id, []byte("{}")) }},
		{"error", `{"jsonrpc":"2.0","error":{"code":-32601,"message":"no","data":[1]}}`, ErrorResponse,
			func() ([]byte, error) {
				return NewError(nil, &Error{Code: CodeMethodNotFound, Message: "no", Data: json.RawMessage("[1]")})
			}},
		{"error without data", `{"jsonrpc":"2.0","id":1,"error":{"code":0,"message":""}}`, ErrorResponse,
			func() ([]byte, error) { return NewError([]byte("1"), &Error{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.make()
			if err != nil || string(got) != tt.want {
				t.Fatalf("got %s, %v", got, err)
			}
			if m, err := Parse(got); err != nil || m.Kind != tt.kind {
				t.Errorf("it is a %v, %v", m.Kind, err)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, make := range map[string]func() ([]byte, error){
		"params that are not JSON": func() ([]byte, error) { return NewRequest([]byte("1"), "m", []byte("{")) },
		"params that go on":        func() ([]byte, error) { return NewRequest([]byte("1"), "m", []byte(`{},"x":1`)) },
		"empty params":             func() ([]byte, error) { return NewNotification("m", []byte{}) },
		"a bad id":                 func() ([]byte, error) { return NewRequest([]byte("{}"), "m", nil) },
		"no id":                    func() ([]byte, error) { return NewRequest(nil, "m", nil) },
		"a result without an id":   func() ([]byte, error) { return NewResult(nil, []byte("{}")) },
		"a missing result":         func() ([]byte, error) { return NewResult([]byte("1"), nil) },
		"bad data":                 func() ([]byte, error) { return NewError([]byte("1"), &Error{Data: json.RawMessage("x")}) },
	} {
		if got, err := make(); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestDecodeError(t *testing.T) {
	e := DecodeError([]byte(`{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]},"x":1}`))
	if e.Code != CodeUnsupportedProtocolVersion || e.Error() != "no (error -32022)" || string(e.Data) != `{"supported":["2025-11-25"]}` {
		t.Errorf("got %+v", e)
	}
	if got := DecodeError([]byte(`{"code":3}`)).Error(); got != "error 3" {
		t.Errorf("got %q", got)
	}
	e = DecodeError([]byte(`{"code":"x","message":"` + strings.Repeat("y", 1000) + `"}`))
	if e.Code != CodeInternalError || !strings.Contains(e.Error(), "malformed") || len(e.Error()) > 400 {
		t.Errorf("got %v", e)
	}
	var typed *Error
	if !errors.As(error(e), &typed) {
		t.Error("not an error")
	}
}
