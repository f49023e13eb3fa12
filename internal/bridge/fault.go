package bridge

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// ErrorToModern makes the error of a legacy server, the member error of its
// response, that of a modern one, and says with which HTTP status to send it.
func ErrorToModern(method string, e []byte) (out []byte, status int) {
	fault := jsonrpc.DecodeError(e)
	switch fault.Code {
	case jsonrpc.CodeResourceNotFound:
		e = withCode(e, jsonrpc.CodeInvalidParams)
	case jsonrpc.CodeURLElicitationRequired:
		// Modern servers ask in the result, and these must not send this code.
		e = edit(withCode(e, jsonrpc.CodeInvalidParams), jsonrpc.Member{Name: "message", Value: jsonrpc.StringID(
			"the server wants a page to be opened first, which it cannot ask of this client: see data (" + fault.Message + ")")})
	}
	return e, Status(jsonrpc.DecodeError(e).Code)
}

// ErrorToLegacy makes the error of a modern server that of a legacy one.
func ErrorToLegacy(method string, e []byte) []byte {
	fault := jsonrpc.DecodeError(e)
	switch fault.Code {
	case jsonrpc.CodeInvalidParams:
		if method == "resources/read" && notFound(fault) {
			return withCode(e, jsonrpc.CodeResourceNotFound)
		}
	case jsonrpc.CodeHeaderMismatch, jsonrpc.CodeMissingRequiredClientCapability, jsonrpc.CodeUnsupportedProtocolVersion:
		return withCode(e, jsonrpc.CodeInvalidParams)
	}
	return e
}

// notFound tells a resource that does not exist from other invalid params, which
// modern servers report with one code.
func notFound(e *jsonrpc.Error) bool {
	return jsonrpc.Get(e.Data, "uri") != nil || strings.Contains(strings.ToLower(e.Message), "not found")
}

func withCode(e []byte, code int64) []byte {
	return edit(e, jsonrpc.Member{Name: "code", Value: fmt.Append(nil, code)})
}

// Status is the HTTP status of a modern response with an error of that code.
func Status(code int64) int {
	switch code {
	case jsonrpc.CodeMethodNotFound:
		return http.StatusNotFound
	case jsonrpc.CodeParseError, jsonrpc.CodeInvalidRequest, jsonrpc.CodeInvalidParams,
		jsonrpc.CodeHeaderMismatch, jsonrpc.CodeMissingRequiredClientCapability, jsonrpc.CodeUnsupportedProtocolVersion:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// AsksOf returns what a legacy server that answered with the error "URL
// elicitation required" would have asked: pages that a modern client may be asked
// to open, before the same request is sent again. ok is false for other errors.
func AsksOf(e []byte) (asks []Ask, ok bool) {
	fault := jsonrpc.DecodeError(e)
	if fault.Code != jsonrpc.CodeURLElicitationRequired {
		return nil, false
	}
	for params := range jsonrpc.Elements(jsonrpc.Get(fault.Data, "elicitations")) {
		if text(jsonrpc.Get(params, "mode")) != "url" {
			return nil, false
		}
		asks = append(asks, Ask{Key: fmt.Sprintf("url-%d", len(asks)+1), Method: "elicitation/create", Params: params})
	}
	return asks, len(asks) > 0
}
