// Package bridge translates MCP between its two eras, on raw JSON.
//
// Peers of the legacy era (revisions up to 2025-11-25) shake hands once and may
// ask each other; those of the modern era (from 2026-07-28) say who they are with
// each request, and a server asks by a result that the client answers in a retry.
//
//	           ToModern ─▶            ToLegacy ─▶
//	legacy client      modern server  modern client      legacy server
//	           ◀─ ResultToLegacy      ◀─ ResultToModern
//	              ErrorToLegacy          ErrorToModern
//	              ParseInputRequired     InputRequired
//
// The functions hold no state and do nothing but compute. What they are given is
// JSON, such as the members of a parsed message; what they need not change they
// return byte for byte: unknown members, the order of members, large integers.
// JSON that is not of the shape that MCP gives it passes as it is, so that the
// peer who can tell what is wrong with it gets to see it.
package bridge

import (
	"bytes"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Modern is the revision of the modern era that this package speaks.
const Modern = "2026-07-28"

// The legacy revisions.
const (
	v2024 = "2024-11-05"
	v2503 = "2025-03-26"
	v2506 = "2025-06-18"
	v2511 = "2025-11-25"
)

// The members of _meta that the modern era reserves.
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaClientInfo   = "io.modelcontextprotocol/clientInfo"
	metaLogLevel     = "io.modelcontextprotocol/logLevel"
	metaServerInfo   = "io.modelcontextprotocol/serverInfo"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// tasksExtension is what the modern era made of tasks; it shares only its name
// with those of 2025-11-25.
const tasksExtension = "io.modelcontextprotocol/tasks"

// Versions returns the legacy revisions, newest first.
func Versions() []string { return []string{v2511, v2506, v2503, v2024} }

// AllVersions returns all revisions, newest first: what a gateway supports.
func AllVersions() []string { return append([]string{Modern}, Versions()...) }

// Supported says whether a revision, of either era, is spoken here.
func Supported(version string) bool {
	switch version {
	case Modern, v2511, v2506, v2503, v2024:
		return true
	}
	return false
}

// IsModern says whether a revision, known or not, belongs to the modern era.
func IsModern(version string) bool { return version >= Modern }

// Negotiate returns the legacy revision to answer an initialize request with
// that asks for another: the same if it is one, else the newest.
func Negotiate(requested string) string {
	if Supported(requested) && !IsModern(requested) {
		return requested
	}
	return v2511
}

// Batches says whether a legacy revision knows arrays of messages.
func Batches(version string) bool { return version < v2506 }

// Crosses says whether a request or notification has a meaning in the other era,
// or is unknown to both. Those that do not cross are answered or dropped by
// whoever stands between; to a request that nothing here answers, that it does
// not exist.
func Crosses(method string) bool {
	switch method {
	case "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
		"notifications/initialized", "notifications/roots/list_changed",
		"notifications/elicitation/complete", "notifications/tasks/status",
		"tasks/list", "tasks/result":
		return false // only legacy
	case "server/discover", "subscriptions/listen", "notifications/subscriptions/acknowledged",
		"tasks/update", "notifications/tasks":
		return false // only modern
	case "tasks/get", "tasks/cancel":
		return false // in both, and not the same
	}
	return true
}

// Severity orders the levels of log messages, from 0 for debug to 7 for
// emergency; ok is false if level is none.
func Severity(level string) (severity int, ok bool) {
	for i, l := range [...]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"} {
		if l == level {
			return i, true
		}
	}
	return 0, false
}

// edit is jsonrpc.Edit, but for what is not an object: that stays as it is.
func edit(raw []byte, edits ...jsonrpc.Member) []byte {
	out, err := jsonrpc.Edit(raw, edits...)
	if err != nil {
		return raw
	}
	return out
}

// editMeta is what to make of the member _meta, which was that until now. It goes
// if the edits empty it.
func editMeta(was []byte, edits ...jsonrpc.Member) jsonrpc.Member {
	now := edit(was, edits...)
	if empty(now) && !empty(was) {
		now = nil
	}
	return jsonrpc.Member{Name: "_meta", Value: now}
}

func metaOf(raw []byte) []byte { return jsonrpc.Get(raw, "_meta") }

// empty says whether raw is an object without members.
func empty(raw []byte) bool {
	return isObject(raw) && bytes.HasPrefix(bytes.TrimLeft(raw[1:], " \t\r\n"), []byte{'}'})
}

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }

// given says whether a member is there and not null.
func given(raw []byte) bool { return raw != nil && string(raw) != "null" }

// text is a JSON string as text, or "" if raw is none.
func text(raw []byte) string {
	s, _ := jsonrpc.Text(raw)
	return s
}
