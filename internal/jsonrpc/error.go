package jsonrpc

import (
	"encoding/json"
	"fmt"
)

// Error codes of JSON-RPC 2.0, section 5.1.
const (
	CodeParseError     = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternalError  = -32603
)

// Error codes of MCP revisions up to 2025-11-25 (schema.ts, server/resources,
// client/elicitation). Peers of 2026-07-28 must not send them.
const (
	CodeResourceNotFound       = -32002
	CodeURLElicitationRequired = -32042
)

// Error codes of MCP 2026-07-28 (schema.ts, basic/lifecycle, basic/transports).
const (
	CodeHeaderMismatch                  = -32020
	CodeMissingRequiredClientCapability = -32021
	CodeUnsupportedProtocolVersion      = -32022
)

// Error is the error of a response.
type Error struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Error returns the peer's message and the code.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("error %d", e.Code)
	}
	return fmt.Sprintf("%s (error %d)", e.Message, e.Code)
}

// DecodeError decodes the member error of a response. One that is not as it
// should be still yields an Error that says so.
func DecodeError(raw []byte) *Error {
	var e Error
	if err := json.Unmarshal(raw, &e); err != nil {
		const most = 200
		if len(raw) > most {
			raw = raw[:most]
		}
		return &Error{Code: CodeInternalError, Message: fmt.Sprintf("the peer's error is malformed: %q", raw)}
	}
	return &e
}
