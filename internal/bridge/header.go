package bridge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// The headers by which a modern client repeats what its message says.
const (
	HeaderVersion = "MCP-Protocol-Version"
	HeaderMethod  = "Mcp-Method"
	HeaderName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
)

// CheckHeaders returns the error to answer a modern client's message with if the
// headers that it came with do not say what it says itself, or if its _meta is not
// as CheckMeta wants it; nil if all is well. Those who only read headers, and
// those who only read messages, must not come to differ. Schema returns the
// inputSchema of a tool, nil if it is not known.
func CheckHeaders(h http.Header, m jsonrpc.Message, schema func(tool string) []byte) *jsonrpc.Error {
	version, e := header(h, HeaderVersion)
	if e != nil {
		return e
	}
	stated, isText := jsonrpc.Text(jsonrpc.Get(m.Params, "_meta", metaVersion))
	switch {
	case m.Kind != jsonrpc.Request:
		if isText && version != "" && stated != version {
			return differ(HeaderVersion, version, stated)
		}
	case version == "":
		return missing(HeaderVersion)
	case !isText:
		return CheckMeta(m.Params)
	case stated != version:
		return differ(HeaderVersion, version, stated)
	default:
		if e := CheckMeta(m.Params); e != nil {
			return e
		}
	}
	if e := checkMethod(h, m); e != nil {
		return e
	}
	if m.Kind != jsonrpc.Request {
		return nil
	}
	if e := checkName(h, m); e != nil || m.Method != "tools/call" {
		return e
	}
	tool, isText := jsonrpc.Text(jsonrpc.Get(m.Params, "name"))
	if !isText {
		return nil
	}
	return checkParams(h, jsonrpc.Get(m.Params, "arguments"), schema(tool))
}

// header returns the one value of a header, "" if there is none.
func header(h http.Header, name string) (string, *jsonrpc.Error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.Trim(values[0], " \t"), nil
	}
	return "", mismatch("the header %s is there more than once", name)
}

func checkMethod(h http.Header, m jsonrpc.Message) *jsonrpc.Error {
	method, e := header(h, HeaderMethod)
	switch {
	case e != nil:
		return e
	case method == m.Method:
		return nil
	case method == "" && m.Kind != jsonrpc.Request:
		return nil
	case method == "":
		return missing(HeaderMethod)
	}
	return differ(HeaderMethod, method, m.Method)
}

// named is the member of the params that the header Mcp-Name repeats, "" if there
// is none.
func named(method string) string {
	switch method {
	case "tools/call", "prompts/get":
		return "name"
	case "resources/read":
		return "uri"
	case "tasks/get", "tasks/update", "tasks/cancel":
		return "taskId"
	}
	return ""
}

func checkName(h http.Header, m jsonrpc.Message) *jsonrpc.Error {
	member := named(m.Method)
	if member == "" {
		return nil
	}
	stated, isText := jsonrpc.Text(jsonrpc.Get(m.Params, member))
	value, e := header(h, HeaderName)
	switch {
	case e != nil:
		return e
	case value == "" && stated == "":
		return nil // the server will say what it misses
	case value == "":
		return missing(HeaderName)
	}
	name, ok := decodeHeader(value)
	switch {
	case !ok:
		return malformed(HeaderName)
	case !isText || name != stated:
		return differ(HeaderName, name, stated)
	}
	return nil
}

// SetHeaders sets the headers that a modern message is to be sent with: those that
// CheckHeaders wants. Params are the headers that the tool which is called wants
// its arguments repeated in. A value that no header can say is left out.
func SetHeaders(h http.Header, m jsonrpc.Message, params []ParamHeader) {
	if version := text(jsonrpc.Get(m.Params, "_meta", metaVersion)); isToken(version) {
		h.Set(HeaderVersion, version)
	}
	h.Set(HeaderMethod, encodeHeader(m.Method))
	if member := named(m.Method); member != "" {
		if name, isText := jsonrpc.Text(jsonrpc.Get(m.Params, member)); isText && name != "" {
			h.Set(HeaderName, encodeHeader(name))
		}
	}
	if m.Method != "tools/call" {
		return
	}
	arguments := jsonrpc.Get(m.Params, "arguments")
	for _, p := range params {
		raw := jsonrpc.Get(arguments, p.Path...)
		if !given(raw) || !repeatable(raw) {
			continue
		}
		value := string(raw)
		if raw[0] == '"' {
			value = text(raw)
		}
		h.Set(headerParam+p.Header, encodeHeader(value))
	}
}

// encodeHeader is a value as a header can carry it: as it is, or wrapped as
// decodeHeader reads it where it would be changed on its way or taken for such.
func encodeHeader(value string) string {
	plain := value != "" && !strings.HasPrefix(value, base64Before) && strings.Trim(value, " \t") == value
	for _, c := range []byte(value) {
		plain = plain && (' ' <= c && c <= '~' || c == '\t')
	}
	if plain {
		return value
	}
	return base64Before + base64.StdEncoding.EncodeToString([]byte(value)) + base64After
}

const base64Before, base64After = "=?base64?", "?="

// decodeHeader decodes a value that is wrapped as =?base64?…?=; ok is false if
// what is wrapped is not Base64 of text.
func decodeHeader(value string) (text string, ok bool) {
	const before, after = base64Before, base64After
	if len(value) < len(before)+len(after) || !strings.HasPrefix(value, before) || !strings.HasSuffix(value, after) {
		return value, true
	}
	encoded := value[len(before) : len(value)-len(after)]
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || !utf8.Valid(decoded) {
		return "", false
	}
	return string(decoded), true
}

// ParamHeader is an argument of a tool that a header repeats.
type ParamHeader struct {
	Path   []string // below arguments
	Header string   // without its prefix
}

// maxSchemaDepth is how deep in a schema headers are looked for.
const maxSchemaDepth = 32

// ParamHeaders returns the arguments that the inputSchema of a tool wants repeated
// in headers. Annotations that are not valid are no annotations: a client was
// to refuse such a tool.
func ParamHeaders(schema []byte) []ParamHeader {
	if !mentions(schema, "x-mcp-header") {
		return nil
	}
	return paramHeaders(nil, schema, nil)
}

func paramHeaders(found []ParamHeader, schema []byte, path []string) []ParamHeader {
	if len(path) >= maxSchemaDepth {
		return found
	}
	for name, property := range jsonrpc.Members(jsonrpc.Get(schema, "properties")) {
		at := append(path[:len(path):len(path)], name)
		if h := text(jsonrpc.Get(property, "x-mcp-header")); isToken(h) && isPrimitive(text(jsonrpc.Get(property, "type"))) {
			found = append(found, ParamHeader{Path: at, Header: h})
		}
		found = paramHeaders(found, property, at)
	}
	return found
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isPrimitive says whether headers may repeat arguments of that type. The
// revision leaves out number, and clients send it.
func isPrimitive(kind string) bool {
	return kind == "string" || kind == "integer" || kind == "boolean" || kind == "number"
}

func checkParams(h http.Header, arguments, schema []byte) *jsonrpc.Error {
	for _, p := range ParamHeaders(schema) {
		name := headerParam + p.Header
		raw := jsonrpc.Get(arguments, p.Path...)
		values := h.Values(name)
		switch {
		case len(values) > 1:
			return mismatch("the header %s is there more than once", name)
		case !given(raw) && len(values) == 0:
			continue
		case !given(raw):
			return mismatch("the header %s is there, but not the argument %s", name, strings.Join(p.Path, "."))
		case len(values) == 0 && repeatable(raw):
			return missing(name)
		case len(values) == 0:
			continue // no header can say that, and the server will refuse it
		}
		value, ok := decodeHeader(strings.Trim(values[0], " \t"))
		if !ok {
			return malformed(name)
		}
		if !says(value, raw) {
			return differ(name, value, string(raw))
		}
	}
	return nil
}

// maxSafe is the largest integer that every client can tell from its neighbours.
const maxSafe = 1<<53 - 1

// repeatable says whether a client is able to put an argument in a header.
func repeatable(raw []byte) bool {
	switch c := raw[0]; {
	case c == '"', c == 't', c == 'f':
		return true
	case c == '{', c == '[', c == 'n':
		return false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && -maxSafe <= f && f <= maxSafe
}

// says says whether a header's value is that of an argument.
func says(value string, raw []byte) bool {
	switch c := raw[0]; {
	case c == '"':
		return value == text(raw)
	case c == '{', c == '[':
		return false
	case value == string(raw):
		return true
	case c == '-', '0' <= c && c <= '9':
		if !repeatable(raw) || !json.Valid([]byte(value)) || strings.Trim(value, "-0123456789.eE+") != "" {
			return false
		}
		a, errA := strconv.ParseFloat(value, 64)
		b, errB := strconv.ParseFloat(string(raw), 64)
		return errA == nil && errB == nil && a == b
	}
	return false
}

func mismatch(format string, args ...any) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeHeaderMismatch, Message: fmt.Sprintf(format, args...)}
}

func missing(name string) *jsonrpc.Error { return mismatch("the header %s is missing", name) }

func malformed(name string) *jsonrpc.Error {
	return mismatch("the header %s is not valid Base64 between =?base64? and ?=", name)
}

func differ(name, value, stated string) *jsonrpc.Error {
	const most = 200
	return mismatch("the header %s says %.*q, and the message %.*q", name, most, value, most, stated)
}
