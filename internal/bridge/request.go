package bridge

import (
	"fmt"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Client is what a client says about itself: in its initialize request if it is
// legacy, with each request if it is modern. The members are raw JSON, or nil.
type Client struct {
	Capabilities []byte
	Info         []byte
	LogLevel     []byte
}

// DoesTasks says whether a modern client takes what a request became for an answer.
func (c Client) DoesTasks() bool {
	return given(jsonrpc.Get(c.Capabilities, "extensions", tasksExtension))
}

// NeedsTasks is the error for a modern client that asks for what belongs to tasks, and
// did not declare their extension.
func NeedsTasks(method string) *jsonrpc.Error {
	return &jsonrpc.Error{
		Code:    jsonrpc.CodeMissingRequiredClientCapability,
		Message: fmt.Sprintf("%s is for clients that declare the extension %s", method, tasksExtension),
		Data:    []byte(`{"requiredCapabilities":{"extensions":{"` + tasksExtension + `":{}}}}`),
	}
}

// ToModern makes the params of a legacy client's request those of a modern one.
func ToModern(params []byte, c Client) []byte {
	capabilities := withoutTasks(c.Capabilities)
	if !given(capabilities) {
		capabilities = []byte("{}")
	}
	return edit(params,
		// A server without tasks ignores that one was asked for.
		jsonrpc.Member{Name: "task"},
		editMeta(metaOf(params),
			jsonrpc.Member{Name: metaVersion, Value: []byte(`"` + Modern + `"`)},
			jsonrpc.Member{Name: metaClientInfo, Value: c.Info},
			jsonrpc.Member{Name: metaCapabilities, Value: capabilities},
			jsonrpc.Member{Name: metaLogLevel, Value: c.LogLevel}))
}

// ToLegacy makes the params of a modern client's request those of a legacy one.
func ToLegacy(params []byte) []byte {
	return edit(params,
		jsonrpc.Member{Name: "inputResponses"},
		jsonrpc.Member{Name: "requestState"},
		editMeta(metaOf(params),
			jsonrpc.Member{Name: metaVersion},
			jsonrpc.Member{Name: metaClientInfo},
			jsonrpc.Member{Name: metaCapabilities},
			jsonrpc.Member{Name: metaLogLevel}))
}

// withoutTasks removes tasks, of either era, from capabilities.
func withoutTasks(capabilities []byte) []byte {
	capabilities = jsonrpc.Delete(capabilities, "tasks")
	extensions := jsonrpc.Get(capabilities, "extensions")
	less := jsonrpc.Delete(extensions, tasksExtension)
	switch {
	case len(less) == len(extensions):
		return capabilities
	case empty(less):
		less = nil
	}
	return edit(capabilities, jsonrpc.Member{Name: "extensions", Value: less})
}

// ClientOf returns what the params of a modern request say about its client, and
// the revision that it speaks; ok is false if they name none.
func ClientOf(params []byte) (c Client, version string, ok bool) {
	meta := metaOf(params)
	version, ok = jsonrpc.Text(jsonrpc.Get(meta, metaVersion))
	if !ok {
		return Client{}, "", false
	}
	return Client{
		Capabilities: jsonrpc.Get(meta, metaCapabilities),
		Info:         jsonrpc.Get(meta, metaClientInfo),
		LogLevel:     jsonrpc.Get(meta, metaLogLevel),
	}, version, true
}

// CheckMeta returns the error to answer a modern request with whose params lack
// what each must carry, or name a revision that is not spoken here; nil is none.
func CheckMeta(params []byte) *jsonrpc.Error {
	c, version, ok := ClientOf(params)
	switch {
	case !ok:
		return metaFault(metaVersion, "a string that names a revision")
	case version != Modern:
		return unsupported(version)
	case !isObject(c.Capabilities):
		return metaFault(metaCapabilities, "an object")
	case c.Info != nil && !isObject(c.Info):
		return metaFault(metaClientInfo, "an object")
	}
	return nil
}

func metaFault(key, want string) *jsonrpc.Error {
	return &jsonrpc.Error{
		Code:    jsonrpc.CodeInvalidParams,
		Message: fmt.Sprintf("params._meta needs the member %q, %s", key, want),
	}
}

// unsupported is the error for a revision that is not spoken here.
func unsupported(version string) *jsonrpc.Error {
	data := []byte(`{"supported":[`)
	for i, v := range AllVersions() {
		if i > 0 {
			data = append(data, ',')
		}
		data = append(data, jsonrpc.StringID(v)...)
	}
	data = append(data, `],"requested":`...)
	data = append(data, jsonrpc.StringID(version)...)
	return &jsonrpc.Error{
		Code:    jsonrpc.CodeUnsupportedProtocolVersion,
		Message: fmt.Sprintf("the protocol version %q is not supported: use one of those in data", version),
		Data:    append(data, '}'),
	}
}

// Harmless says whether a request may be carried out twice.
func Harmless(method string) bool {
	switch method {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list",
		"prompts/get", "resources/read", "completion/complete", "tasks/get", "tasks/list":
		return true
	}
	return false
}
