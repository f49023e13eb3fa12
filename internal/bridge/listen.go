package bridge

import (
	"fmt"
	"strings"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Filter is what a modern client wants to be told by subscriptions/listen.
type Filter struct {
	Tools, Prompts, Resources bool     // that the list has changed
	URIs                      []string // of resources, that they were updated
}

// Empty says whether a filter lets nothing through.
func (f Filter) Empty() bool {
	return !f.Tools && !f.Prompts && !f.Resources && len(f.URIs) == 0
}

// ParseListen returns what the params of subscriptions/listen ask for.
func ParseListen(params []byte) (Filter, error) {
	raw := jsonrpc.Get(params, "notifications")
	if !isObject(raw) {
		return Filter{}, fmt.Errorf("params need the member \"notifications\", an object")
	}
	var f Filter
	for name, to := range map[string]*bool{
		"toolsListChanged": &f.Tools, "promptsListChanged": &f.Prompts, "resourcesListChanged": &f.Resources,
	} {
		switch value := jsonrpc.Get(raw, name); {
		case !given(value), string(value) == "false":
		case string(value) == "true":
			*to = true
		default:
			return Filter{}, fmt.Errorf("notifications.%s is neither true nor false", name)
		}
	}
	uris := jsonrpc.Get(raw, "resourceSubscriptions")
	if !given(uris) {
		return f, nil
	}
	if uris[0] != '[' {
		return Filter{}, fmt.Errorf("notifications.resourceSubscriptions is no array")
	}
	for value := range jsonrpc.Elements(uris) {
		uri, ok := jsonrpc.Text(value)
		if !ok {
			return Filter{}, fmt.Errorf("notifications.resourceSubscriptions holds what is no string")
		}
		f.URIs = append(f.URIs, uri)
	}
	return f, nil
}

// Within returns the part of a filter that a server with these capabilities, of
// either era, can serve.
func (f Filter) Within(capabilities []byte) Filter {
	can := func(path ...string) bool { return string(jsonrpc.Get(capabilities, path...)) == "true" }
	f.Tools = f.Tools && can("tools", "listChanged")
	f.Prompts = f.Prompts && can("prompts", "listChanged")
	f.Resources = f.Resources && can("resources", "listChanged")
	if !can("resources", "subscribe") {
		f.URIs = nil
	}
	return f
}

// Passes says whether a notification is one that the filter asks for.
func (f Filter) Passes(method string, params []byte) bool {
	switch method {
	case "notifications/tools/list_changed":
		return f.Tools
	case "notifications/prompts/list_changed":
		return f.Prompts
	case "notifications/resources/list_changed":
		return f.Resources
	case "notifications/resources/updated":
		uri, ok := jsonrpc.Text(jsonrpc.Get(params, "uri"))
		if !ok {
			return false
		}
		for _, want := range f.URIs {
			if Concerns(uri, want) {
				return true
			}
		}
	}
	return false
}

// Concerns says whether a notification about the resource uri is for those who
// subscribed to want: it may be about a part of it.
func Concerns(uri, want string) bool {
	rest, ok := strings.CutPrefix(uri, want)
	return ok && (rest == "" || strings.HasSuffix(want, "/") || rest[0] == '/')
}

// appendFilter appends a filter as JSON.
func appendFilter(out []byte, f Filter) []byte {
	out = append(out, '{')
	for _, flag := range []struct {
		on   bool
		name string
	}{{f.Tools, "toolsListChanged"}, {f.Prompts, "promptsListChanged"}, {f.Resources, "resourcesListChanged"}} {
		if flag.on {
			out = append(out, `"`+flag.name+`":true,`...)
		}
	}
	if len(f.URIs) > 0 {
		out = append(out, `"resourceSubscriptions":[`...)
		for _, uri := range f.URIs {
			out = append(out, jsonrpc.StringID(uri)...)
			out = append(out, ',')
		}
		out[len(out)-1] = ']'
		out = append(out, ',')
	}
	if out[len(out)-1] == ',' {
		out = out[:len(out)-1]
	}
	return append(out, '}')
}

// ListenParams are the params of subscriptions/listen on behalf of a client.
func ListenParams(f Filter, c Client) []byte {
	return ToModern(append(appendFilter([]byte(`{"notifications":`), f), '}'), c)
}

// Acknowledged is the notification, a line, that begins a subscription: what of
// the filter is served. The subscription is named by the id of the request.
func Acknowledged(subscription []byte, f Filter) []byte {
	params := Tag(append(appendFilter([]byte(`{"notifications":`), f), '}'), subscription)
	return join(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":`, params, "}")
}

// ListenResult is the result that ends a subscription.
func ListenResult(subscription []byte, s Server) []byte {
	return Identify(Tag([]byte(`{"resultType":"complete"}`), subscription), s)
}

// Tag names the subscription that a notification with these params, nil if it has
// none, belongs to.
func Tag(params, subscription []byte) []byte {
	return edit(params, editMeta(metaOf(params), jsonrpc.Member{Name: metaSubscription, Value: subscription}))
}

// Untag removes the name of the subscription, which only modern clients know.
func Untag(params []byte) []byte {
	return edit(params, editMeta(metaOf(params), jsonrpc.Member{Name: metaSubscription}))
}

// Subscription returns the id of the request that opened the subscription to which
// a notification with these params, or a result, belongs; nil if it is none.
func Subscription(params []byte) []byte {
	return jsonrpc.Get(params, "_meta", metaSubscription)
}
