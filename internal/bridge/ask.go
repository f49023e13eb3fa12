package bridge

import (
	"fmt"
	"maps"
	"slices"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Ask is what a server asks of a client while it works on a request: a request of
// its own if it is legacy, an entry of a result if it is modern.
type Ask struct {
	Key    string // among those of one result
	Method string
	Params []byte // nil if there are none
}

// KeyOf names what a legacy server asks, since its request carries no key: by who is
// asked, and for what. The same question has the same key each time; several
// questions may share one.
func KeyOf(method string, params []byte) string {
	switch method {
	case "elicitation/create":
		if text(jsonrpc.Get(params, "mode")) == "url" {
			return "user_visit"
		}
		only, properties := "", 0
		for name := range jsonrpc.Members(jsonrpc.Get(params, "requestedSchema", "properties")) {
			only = name
			properties++
		}
		if properties == 1 && isWord(only) {
			return "user_" + only
		}
		return "user_input"
	case "sampling/createMessage":
		return "model_reply"
	case "roots/list":
		return "client_roots"
	}
	return "input"
}

// isWord says whether a name is short and plain enough to be part of a key.
func isWord(name string) bool {
	for _, r := range name {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// InputRequired is the result by which a modern client is asked. State is what it
// sends back with its answers; "" is none.
func InputRequired(asks []Ask, state string) []byte {
	out := []byte(`{"resultType":"input_required"`)
	for i, a := range asks {
		if i == 0 {
			out = append(out, `,"inputRequests":{`...)
		} else {
			out = append(out, ',')
		}
		out = append(out, jsonrpc.StringID(a.Key)...)
		out = append(out, `:{"method":`...)
		out = append(out, jsonrpc.StringID(a.Method)...)
		out = append(out, `,"params":`...)
		out = append(out, askToModern(a.Params)...)
		out = append(out, '}')
	}
	if len(asks) > 0 {
		out = append(out, '}')
	}
	if state != "" {
		out = append(out, `,"requestState":`...)
		out = append(out, jsonrpc.StringID(state)...)
	}
	return append(out, '}')
}

// askToModern removes what only a request has: the token for its progress, and
// that it may become a task. There are clients (go-sdk 1.8.0) that do not take an
// entry without params, which the revision allows.
func askToModern(params []byte) []byte {
	if !given(params) {
		return []byte("{}")
	}
	return edit(params, jsonrpc.Member{Name: "task"}, editMeta(metaOf(params), jsonrpc.Member{Name: "progressToken"}))
}

// Legacy returns the params of the request by which a legacy client is asked. An
// id stands for the page that it is to open, if that has none: legacy clients
// insist on it.
func (a Ask) Legacy(id string) []byte {
	if a.Method != "elicitation/create" || text(jsonrpc.Get(a.Params, "mode")) != "url" || jsonrpc.Get(a.Params, "elicitationId") != nil {
		return a.Params
	}
	return edit(a.Params, jsonrpc.Member{Name: "elicitationId", Value: jsonrpc.StringID(id)})
}

// ParseInputRequired returns what a modern server asks by its result, and the
// state to send back as raw JSON, nil if there is none. Both may be missing from a
// list of asks: then the request is to be sent again later. ok is false if the
// result does not ask; an error is a server's fault.
func ParseInputRequired(result []byte) (asks []Ask, state []byte, ok bool, err error) {
	if ResultType(result) != "input_required" {
		return nil, nil, false, nil
	}
	return parseAsks(result)
}

// AsksIn returns what a legacy server asks by the result of a request, as
// ParseInputRequired does. Its revision has no such results, but there are servers
// (go-sdk 1.8.0) that give one where the answers to what they asked before lead to
// further questions, without saying of what type it is.
func AsksIn(method string, result []byte) (asks []Ask, state []byte, ok bool, err error) {
	switch method {
	case "tools/call", "prompts/get", "resources/read":
	default:
		return nil, nil, false, nil
	}
	if !mentions(result, "input") {
		return nil, nil, false, nil
	}
	kind, requests := jsonrpc.Member{Name: "resultType"}, jsonrpc.Member{Name: "inputRequests"}
	jsonrpc.Find(result, &kind, &requests)
	if text(kind.Value) != "input_required" && (kind.Value != nil || !isObject(requests.Value) || empty(requests.Value)) {
		return nil, nil, false, nil
	}
	return parseAsks(result)
}

// parseAsks is for results that are known to ask.
func parseAsks(result []byte) (asks []Ask, state []byte, ok bool, err error) {
	state = jsonrpc.Get(result, "requestState")
	if _, isText := jsonrpc.Text(state); state != nil && !isText {
		return nil, nil, true, fmt.Errorf("the server asks with a requestState that is no string")
	}
	requests := jsonrpc.Get(result, "inputRequests")
	if requests == nil && state == nil {
		return nil, nil, true, fmt.Errorf("the server asks for input without saying which, and gives no requestState")
	}
	if requests != nil && !isObject(requests) {
		return nil, nil, true, fmt.Errorf("the server asks with inputRequests that are no object")
	}
	at := make(map[string]int)
	for key, raw := range jsonrpc.Members(requests) {
		method, isText := jsonrpc.Text(jsonrpc.Get(raw, "method"))
		if !isText {
			return nil, nil, true, fmt.Errorf("the server asks %q without a method", key)
		}
		a := Ask{Key: key, Method: method, Params: jsonrpc.Get(raw, "params")}
		if i, again := at[key]; again {
			asks[i] = a
			continue
		}
		at[key] = len(asks)
		asks = append(asks, a)
	}
	return asks, state, true, nil
}

// Retry makes the params of a request those by which it is sent to a modern
// server again, with the answers by the keys of what was asked, each raw JSON, and
// the state of the server's result.
func Retry(params []byte, answers map[string][]byte, state []byte) []byte {
	var responses []byte
	for _, key := range slices.Sorted(maps.Keys(answers)) {
		if responses == nil {
			responses = append(responses, '{')
		} else {
			responses = append(responses, ',')
		}
		responses = append(responses, jsonrpc.StringID(key)...)
		responses = append(responses, ':')
		responses = append(responses, answers[key]...)
	}
	if responses != nil {
		responses = append(responses, '}')
	}
	return edit(params,
		jsonrpc.Member{Name: "inputResponses", Value: responses},
		jsonrpc.Member{Name: "requestState", Value: state})
}

// Answers returns what a modern client answers by the params of its retry, by the
// keys of what it was asked, and the state that it was to send back. What is no
// object cannot be an answer and is left out. ok is false if it is no retry.
func Answers(params []byte) (answers map[string][]byte, state string, ok bool) {
	responses, raw := jsonrpc.Get(params, "inputResponses"), jsonrpc.Get(params, "requestState")
	if responses == nil && raw == nil {
		return nil, "", false
	}
	answers = make(map[string][]byte)
	for key, answer := range jsonrpc.Members(responses) {
		delete(answers, key)
		if isObject(answer) {
			answers[key] = answer
		}
	}
	return answers, text(raw), true
}

// Answered says whether an answer has the shape that the method asks for.
func Answered(method string, answer []byte) bool {
	switch method {
	case "elicitation/create":
		switch text(jsonrpc.Get(answer, "action")) {
		case "accept", "decline", "cancel":
			return true
		}
		return false
	case "sampling/createMessage":
		return jsonrpc.Get(answer, "role") != nil && jsonrpc.Get(answer, "content") != nil
	case "roots/list":
		roots := jsonrpc.Get(answer, "roots")
		return len(roots) > 0 && roots[0] == '['
	}
	return isObject(answer)
}

// Allowed returns the error for a server that asks what the client, by the
// capabilities that it declared, cannot be asked; nil if it can. If modern, it is
// the error that a modern client's own request may end with; else, what a legacy
// client would answer, and a legacy server understands.
func Allowed(method string, params, capabilities []byte, modern bool) *jsonrpc.Error {
	capability, member := "", ""
	switch method {
	case "elicitation/create":
		capability, member = "elicitation", "form"
		if text(jsonrpc.Get(params, "mode")) == "url" {
			member = "url"
		}
	case "sampling/createMessage":
		capability = "sampling"
		switch {
		case given(jsonrpc.Get(params, "tools")), given(jsonrpc.Get(params, "toolChoice")):
			member = "tools"
		case modern && includesContext(params):
			// Older clients could do so without a capability of that name.
			member = "context"
		}
	case "roots/list":
		capability = "roots"
	default:
		if modern {
			return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: fmt.Sprintf("a client of %s cannot be asked %q", Modern, method)}
		}
		return nil // it says so itself
	}
	declared := jsonrpc.Get(capabilities, capability)
	switch {
	case !given(declared):
	case member == "", given(jsonrpc.Get(declared, member)):
		return nil
	case member == "form" && !given(jsonrpc.Get(declared, "url")):
		return nil // before there were two modes, this was the only one
	}
	e := &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound}
	name, need := capability, "{}"
	if member != "" {
		name, need = capability+"."+member, `{"`+member+`":{}}`
		if given(declared) {
			e.Code = jsonrpc.CodeInvalidParams
		}
	}
	if member == "form" && !given(declared) {
		name, need = capability, "{}"
	}
	if modern {
		e.Code = jsonrpc.CodeMissingRequiredClientCapability
		e.Data = []byte(`{"requiredCapabilities":{"` + capability + `":` + need + `}}`)
	}
	e.Message = fmt.Sprintf("the server asks %q, and the client did not declare the capability %s", method, name)
	return e
}

func includesContext(params []byte) bool {
	c := text(jsonrpc.Get(params, "includeContext"))
	return c == "thisServer" || c == "allServers"
}
