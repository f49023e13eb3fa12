package mcp

import (
	"encoding/json"
	"fmt"

	"github.com/berth-run/berth"
)

const (
	noteVersion = 1
	// maxNote is well below what the shim keeps.
	maxNote = 256 << 10
)

// Note is what the next attacher must know of a generation's handshake. Asked
// is set before a request reaches the server, Era when its answer was
// understood; so a note without an Era stands for a handshake that nobody can
// know the end of.
type Note struct {
	Version int    `json:"v"`
	Owner   string `json:"owner"`
	// Asked is the last request of an unfinished handshake.
	Asked           string           `json:"asked,omitempty"`
	Era             Era              `json:"era,omitempty"`
	ProtocolVersion string           `json:"protocolVersion,omitempty"`
	ServerInfo      berth.ServerInfo `json:"serverInfo,omitzero"`
	Capabilities    json.RawMessage  `json:"capabilities,omitempty"`
	// Result is the InitializeResult or DiscoverResult, unless it is too large.
	Result json.RawMessage `json:"result,omitempty"`
}

// ParseNote reads what Encode made.
func ParseNote(data []byte) (Note, error) {
	var n Note
	if err := json.Unmarshal(data, &n); err != nil {
		return Note{}, fmt.Errorf("read the note: %v", err)
	}
	if n.Version != noteVersion {
		return Note{}, fmt.Errorf("read the note: it is of version %d, this Berth knows %d", n.Version, noteVersion)
	}
	return n, nil
}

// Encode returns the note as the bytes that a Conn keeps. What the server said
// is left out if it is too much.
func (n Note) Encode() ([]byte, error) {
	n.Version = noteVersion
	data, err := json.Marshal(n)
	if err == nil && len(data) > maxNote {
		n.Capabilities, n.Result = nil, nil
		data, err = json.Marshal(n)
	}
	if err != nil {
		return nil, fmt.Errorf("write the note: %v", err)
	}
	if len(data) > maxNote {
		return nil, fmt.Errorf("write the note: the server's name and version have more than %d bytes", maxNote)
	}
	return data, nil
}

// info is what a complete note says of the server.
func (n Note) info() Info {
	info := Info{
		MCP:          berth.MCPInfo{ProtocolVersion: n.ProtocolVersion, ServerInfo: n.ServerInfo},
		Era:          n.Era,
		Capabilities: n.Capabilities,
		Result:       n.Result,
	}
	var said struct {
		Instructions string `json:"instructions"`
	}
	if json.Unmarshal(n.Result, &said) == nil {
		info.Instructions = said.Instructions
	}
	return info
}

// noteOf is the complete note for info.
func noteOf(owner string, info Info) Note {
	return Note{
		Owner: owner, Era: info.Era, ProtocolVersion: info.MCP.ProtocolVersion, ServerInfo: info.MCP.ServerInfo,
		Capabilities: info.Capabilities, Result: info.Result,
	}
}

// resume decides what to do with the note that is found. done says that its
// handshake can be gone on with; an error wraps ErrNeedsFresh; otherwise the
// handshake is to be made.
func resume(data []byte, owner string) (n Note, done bool, err error) {
	if len(data) == 0 {
		return Note{}, false, nil
	}
	n, err = ParseNote(data)
	switch {
	case err != nil:
		return Note{}, false, fmt.Errorf("%w: %v", ErrNeedsFresh, err)
	case n.Owner != owner:
		return Note{}, false, fmt.Errorf("%w: its handshake is that of another client (%.40q)", ErrNeedsFresh, n.Owner)
	case n.Era == Legacy || n.Era == Modern:
		return n, true, nil
	case n.Asked == methodDiscover:
		// Asking this again does no harm, whatever became of the first time: it
		// is the only request that every server answers the same way twice.
		return Note{}, false, nil
	}
	return Note{}, false, fmt.Errorf("%w: a handshake was begun and not finished", ErrNeedsFresh)
}
