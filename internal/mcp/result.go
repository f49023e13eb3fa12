package mcp

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

const (
	methodDiscover    = "server/discover"
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	methodCancelled   = "notifications/cancelled"
	methodToolsList   = "tools/list"
	methodToolsCall   = "tools/call"
)

// decode is json.Unmarshal with an error in words of the protocol and not of
// Go's types.
func decode(raw json.RawMessage, v any) error {
	if json.Unmarshal(raw, v) != nil {
		return fmt.Errorf("malformed: %.80q", raw)
	}
	return nil
}

// legacyInfo reads an InitializeResult.
func legacyInfo(raw json.RawMessage) (Info, error) {
	var r struct {
		ProtocolVersion string           `json:"protocolVersion"`
		ServerInfo      berth.ServerInfo `json:"serverInfo"`
		Capabilities    json.RawMessage  `json:"capabilities"`
		Instructions    string           `json:"instructions"`
	}
	if err := decode(raw, &r); err != nil {
		return Info{}, fmt.Errorf("%w: the result of initialize is %w", ErrNotMCP, err)
	}
	if r.ProtocolVersion == "" {
		return Info{}, fmt.Errorf("%w: the result of initialize names no protocolVersion", ErrNotMCP)
	}
	// A revision that we did not ask for is the server's answer to ours; tools
	// have been listed and called in the same way since the first.
	return Info{
		MCP: berth.MCPInfo{ProtocolVersion: r.ProtocolVersion, ServerInfo: r.ServerInfo}, Era: Legacy,
		Instructions: r.Instructions, Capabilities: r.Capabilities, Result: raw,
	}, nil
}

// modernInfo reads a DiscoverResult; ok is false unless the server offers the
// modern revision that we speak. "supportedVersions does not prove absence of
// legacy", but it does prove presence of modern.
func modernInfo(raw json.RawMessage) (info Info, ok bool) {
	var r struct {
		ResultType        string                     `json:"resultType"`
		SupportedVersions []string                   `json:"supportedVersions"`
		Capabilities      json.RawMessage            `json:"capabilities"`
		Instructions      string                     `json:"instructions"`
		Meta              map[string]json.RawMessage `json:"_meta"`
	}
	if json.Unmarshal(raw, &r) != nil || !slices.Contains(r.SupportedVersions, modernVersion) || !complete(r.ResultType) {
		return Info{}, false
	}
	info = Info{
		MCP: berth.MCPInfo{ProtocolVersion: modernVersion}, Era: Modern,
		Instructions: r.Instructions, Capabilities: r.Capabilities, Result: raw,
	}
	// "Results SHOULD carry _meta serverInfo": one without it has no name.
	if raw := r.Meta[metaServerInfo]; raw != nil {
		if err := json.Unmarshal(raw, &info.MCP.ServerInfo); err != nil {
			info.MCP.ServerInfo = berth.ServerInfo{}
		}
	}
	return info, true
}

// offersModern says whether the data of an error of an unsupported version offers
// the modern revision that we speak.
func offersModern(data json.RawMessage) bool {
	var d struct {
		Supported []string `json:"supported"`
	}
	return json.Unmarshal(data, &d) == nil && slices.Contains(d.Supported, modernVersion)
}

// complete says whether a result is one: "absent from a legacy server =
// complete; an unrecognised value is invalid".
func complete(resultType string) bool { return resultType == "" || resultType == "complete" }

const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaClientInfo   = "io.modelcontextprotocol/clientInfo"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaServerInfo   = "io.modelcontextprotocol/serverInfo"
)

// Synopsis is the InitializeResult or DiscoverResult, or what of it was kept if
// it was too large for a note.
func (i Info) Synopsis() json.RawMessage {
	if i.Result != nil {
		return i.Result
	}
	said := struct {
		ProtocolVersion   string                      `json:"protocolVersion,omitempty"`
		SupportedVersions []string                    `json:"supportedVersions,omitempty"`
		Capabilities      json.RawMessage             `json:"capabilities"`
		ServerInfo        *berth.ServerInfo           `json:"serverInfo,omitempty"`
		ResultType        string                      `json:"resultType,omitempty"`
		Meta              map[string]berth.ServerInfo `json:"_meta,omitempty"`
	}{Capabilities: i.Capabilities}
	if said.Capabilities == nil {
		said.Capabilities = json.RawMessage("{}")
	}
	if i.Era == Modern {
		said.SupportedVersions, said.ResultType = []string{modernVersion}, "complete"
		said.Meta = map[string]berth.ServerInfo{metaServerInfo: i.MCP.ServerInfo}
	} else {
		said.ProtocolVersion, said.ServerInfo = i.MCP.ProtocolVersion, &i.MCP.ServerInfo
	}
	raw, err := json.Marshal(said)
	if err != nil {
		panic("mcp: capabilities that were parsed are no JSON") // cannot happen
	}
	return raw
}

// ServerInfo is the server's name and version, as it wrote them where that is
// known.
func (i Info) ServerInfo() json.RawMessage {
	raw := jsonrpc.Get(i.Result, "serverInfo")
	if i.Era == Modern {
		raw = jsonrpc.Get(i.Result, "_meta", metaServerInfo)
	}
	if raw == nil {
		raw = jsonrpc.Get(i.Synopsis(), "serverInfo")
	}
	return raw
}

// ClientInfo is what Berth says of itself to servers.
func ClientInfo() json.RawMessage { return json.RawMessage(clientInfo()) }

// clientInfo names us to servers.
func clientInfo() string {
	return fmt.Sprintf(`{"name":"berth","version":"%s"}`, berth.Version)
}

// requestMeta is the _meta that "every request's params MUST carry". A request of
// a Session's own declares no capability: nobody could answer what is asked.
func requestMeta() string {
	return fmt.Sprintf(`{"%s":"%s","%s":%s,"%s":{}}`, metaVersion, modernVersion, metaClientInfo, clientInfo(), metaCapabilities)
}

func discoverParams() []byte {
	return []byte(`{"_meta":` + requestMeta() + `}`)
}

// sharedCapabilities are what Berth's clients may be able to do: a server is told
// once, for all of them. What the one that a request belongs to cannot do is
// refused then. Roots are never declared: some servers replace what they were
// configured with by a client's roots, and one client's would become everyone's.
const sharedCapabilities = `{"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}`

func initializeParams(o Options) []byte {
	return fmt.Appendf(nil, `{"protocolVersion":"%s","capabilities":%s,"clientInfo":%s}`, legacyVersion, o.Capabilities, o.Client)
}
