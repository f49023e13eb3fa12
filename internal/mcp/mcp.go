// Package mcp is what Berth says to one server: which era of the protocol it
// speaks, the handshake, its tools and calls of them.
//
//	Connect ──▶ Session ──▶ Tools, Call
//	   │           │
//	   └── Conn ───┘   lines to and from the server, and its note
//
// A server has one era for life, found out once and kept in the note of its
// generation, so that whoever attaches next goes on with it:
//
//	legacy   up to 2025-11-25: initialize, then notifications/initialized
//	modern   from 2026-07-28: no handshake, each request carries its _meta
//
// A Session reads the members of messages that it needs and leaves the bytes
// of tools, arguments and results as they are.
package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// Conn is an attachment to one server. Write and SetNote may be called while a
// Read waits. One Session is made of it for each generation, that is each
// process, of the server: when that ends or is replaced, Read says so by an
// error, which ends the Session and can be found in the errors of its methods.
type Conn interface {
	// Read returns the next line of the server's stdout, without its end. The
	// bytes are the caller's to keep.
	Read(ctx context.Context) ([]byte, error)
	// Write sends one line to the server's stdin. A note that is not nil
	// replaces the one of this generation, before the line reaches the server.
	Write(ctx context.Context, line, note []byte) error
	// SetNote replaces the note of this generation. If ready is not nil, the
	// server's status shows it: a handshake is complete.
	SetNote(ctx context.Context, note []byte, ready *berth.MCPInfo) error
	// Note returns the note of this generation, empty if it has none.
	Note() []byte
	// Epoch is of this attachment alone.
	Epoch() uint64
}

// The errors that a caller may branch on, by errors.Is.
var (
	// ErrNeedsFresh: the process is in the middle of a handshake, or had one
	// with another client. Only a fresh incarnation can be spoken to.
	ErrNeedsFresh = errors.New("the server needs a fresh start")
	// ErrNotMCP: the program is no MCP server.
	ErrNotMCP = errors.New("not an MCP server")
	// ErrDiedOnProbe: the server ended before it had sent anything, having been
	// asked server/discover. Some servers end when the first message is not
	// initialize; Options.SkipProbe is for them.
	ErrDiedOnProbe = errors.New("the server ended when it was asked for its era")
	// ErrInputRequired: the tool wants to ask the user something.
	ErrInputRequired = errors.New("the tool asks for input")
	// ErrWrongEra: the server does not speak the era of Options.Era.
	ErrWrongEra = errors.New("the server does not speak that era of MCP")
	// ErrClosed: the session was closed.
	ErrClosed = errors.New("session closed")
)

// Era is one of the two ways to speak MCP.
type Era string

// The eras.
const (
	Legacy Era = "legacy"
	Modern Era = "modern"
)

// The revisions that a Session asks for.
const (
	legacyVersion = "2025-11-25"
	modernVersion = "2026-07-28"
)

// Info is what a server said of itself.
type Info struct {
	MCP          berth.MCPInfo
	Era          Era
	Instructions string
	Capabilities json.RawMessage
	// Result is the whole InitializeResult or DiscoverResult; nil if it was too
	// large to be kept for a successor.
	Result json.RawMessage
}

// Owner is the default of Options.Owner.
const Owner = "berth"

// Options are the settings of Connect; nil means all defaults.
type Options struct {
	// Owner says who makes the handshake; one that another owner made is not
	// used. Default Owner.
	Owner string
	// ProbeTimeout is how long server/discover may take before initialize is
	// sent as well; default 2 s.
	ProbeTimeout time.Duration
	// SkipProbe sends initialize at once, for a server that cannot bear
	// server/discover. See ErrDiedOnProbe.
	SkipProbe bool
	// Era, if it is set, is the one that the server must speak. Legacy implies
	// SkipProbe; with Modern, initialize is never sent.
	Era Era
	// Capabilities and Client are what a legacy server is told of its client, if
	// it has one only; default what is true of all of Berth's, and Berth itself.
	Capabilities, Client json.RawMessage
	// Roots are directories of which a legacy server is told; the Session answers
	// it. Without them roots are declared only where Capabilities do.
	Roots []string
	// Other, if it is set, receives what the Session did not ask for: requests
	// and notifications of the server's, and answers to requests that were
	// written to the Conn beside it. It is called in the order of the lines, by
	// the goroutine that reads, and must not wait. Without it such requests are
	// refused and the rest is dropped and counted.
	Other func(m jsonrpc.Message, line []byte)
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Owner == "" {
		opts.Owner = Owner
	}
	if opts.ProbeTimeout == 0 {
		opts.ProbeTimeout = 2 * time.Second
	}
	opts.SkipProbe = opts.SkipProbe || opts.Era == Legacy
	if opts.Capabilities == nil {
		opts.Capabilities = json.RawMessage(sharedCapabilities)
	}
	if len(opts.Roots) > 0 {
		opts.Capabilities = declareRoots(opts.Capabilities)
	}
	if opts.Client == nil {
		opts.Client = ClientInfo()
	}
	return opts
}
