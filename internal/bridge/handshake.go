package bridge

import (
	"github.com/berth-run/berth/internal/jsonrpc"
)

// DiscoverResult is the answer to server/discover on behalf of a legacy server
// that answered initialize with result.
func DiscoverResult(result []byte) []byte {
	versions := []byte("[")
	for i, v := range AllVersions() {
		if i > 0 {
			versions = append(versions, ',')
		}
		versions = append(versions, jsonrpc.StringID(v)...)
	}
	out := edit(result,
		jsonrpc.Member{Name: "protocolVersion"},
		jsonrpc.Member{Name: "serverInfo"},
		jsonrpc.Member{Name: "supportedVersions", Value: append(versions, ']')},
		jsonrpc.Member{Name: "capabilities", Value: capabilities(result)})
	return ResultToModern("server/discover", out, Server{Info: ServerOf(result).Info})
}

// InitializeResult is the answer to initialize on behalf of a modern server that
// answered server/discover with result, for a session of a legacy revision.
func InitializeResult(result []byte, version string) []byte {
	info := ServerOf(result).Info
	if !given(info) {
		info = []byte(`{"name":"unknown","version":"unknown"}`)
	}
	out := edit(result,
		jsonrpc.Member{Name: "supportedVersions"},
		jsonrpc.Member{Name: "protocolVersion", Value: jsonrpc.StringID(version)},
		jsonrpc.Member{Name: "capabilities", Value: capabilities(result)},
		jsonrpc.Member{Name: "serverInfo", Value: info})
	return ResultToLegacy("server/discover", out)
}

// InitializeFor is the result of a legacy server's initialize for a session of
// another legacy revision.
func InitializeFor(result []byte, version string) []byte {
	return edit(result, jsonrpc.Member{Name: "protocolVersion", Value: jsonrpc.StringID(version)})
}

// ServerOf returns what a result says about its server: that of initialize, or
// any result of a modern server.
func ServerOf(result []byte) Server {
	if info := jsonrpc.Get(result, "_meta", metaServerInfo); given(info) {
		return Server{Info: info}
	}
	return Server{Info: jsonrpc.Get(result, "serverInfo")}
}

// capabilities are those of a server that have a meaning in the other era.
func capabilities(result []byte) []byte {
	if c := jsonrpc.Get(result, "capabilities"); given(c) {
		return withoutTasks(c)
	}
	return []byte("{}")
}
