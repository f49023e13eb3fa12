// Package toolserver is a small MCP server on stdio for tools of Berth's own. It
// speaks both eras of the protocol, and answers one message after the other.
package toolserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// Server is what is served.
type Server struct {
	Name         string
	Log          string // begins the lines that it logs
	Instructions string
	Tools        []Tool
}

// Tool is a tool of it.
type Tool struct {
	// Definition is the tool as it is listed, a JSON object.
	Definition json.RawMessage
	// Run carries out a call; arguments is nil if there were none. A *jsonrpc.Error is
	// the answer to the call, any other error ends the server. What went wrong
	// otherwise is a result; see Failed.
	Run func(ctx context.Context, arguments json.RawMessage) (Result, error)
}

// Result is the result of a call.
type Result map[string]any

// Text is a result of one text.
func Text(format string, args ...any) Result {
	return Result{"content": []members{{"type": "text", "text": fmt.Sprintf(format, args...)}}}
}

// Failed is the result of a tool that failed: bad arguments are the tool's matter,
// not the protocol's.
func Failed(format string, args ...any) Result {
	result := Text(format, args...)
	result["isError"] = true
	return result
}

// Structured is a result that is a value, as text as well.
func Structured(v any) (Result, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	result := Text("%s", raw)
	result["structuredContent"] = json.RawMessage(raw)
	return result, nil
}

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"

	// MaxLine bounds what a client makes the server buffer.
	MaxLine = 4 << 20

	metaVersion    = "io.modelcontextprotocol/protocolVersion"
	metaServerInfo = "io.modelcontextprotocol/serverInfo"
)

// Serve answers the messages of in, one after the other, until it ends; that is
// no error. If ctx ends, in is closed if it can be.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer, errw io.Writer) error {
	if c, ok := in.(io.Closer); ok {
		defer context.AfterFunc(ctx, func() { c.Close() })()
	}
	fmt.Fprintln(errw, s.Log+": serving on stdio")
	r := jsonrpc.NewReader(in, MaxLine)
	for {
		line, err := r.Next()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == io.EOF:
			return nil
		case errors.Is(err, jsonrpc.ErrTooLong):
			fmt.Fprintf(errw, "%s: %v\n", s.Log, err)
			continue
		case err != nil:
			return fmt.Errorf("read stdin: %w", err)
		}
		reply, err := s.handle(ctx, line)
		if err != nil {
			fmt.Fprintf(errw, "%s: %v\n", s.Log, err)
			return err
		}
		if reply == nil {
			continue
		}
		if _, err := out.Write(append(reply, '\n')); err != nil {
			return fmt.Errorf("write stdout: %w", err)
		}
	}
}

// handle returns the reply to a line, nil if it wants none. The error is one
// that ends the server.
func (s *Server) handle(ctx context.Context, line []byte) ([]byte, error) {
	m, err := jsonrpc.Parse(line)
	switch {
	case err != nil:
		return jsonrpc.NewError([]byte("null"), &jsonrpc.Error{Code: jsonrpc.CodeParseError, Message: err.Error()})
	case m.Kind == jsonrpc.Batch:
		return jsonrpc.NewError([]byte("null"), &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "batches are not supported"})
	case m.Kind != jsonrpc.Request:
		return nil, nil
	}
	result, err := s.answer(ctx, m)
	var refusal *jsonrpc.Error
	switch {
	case errors.As(err, &refusal):
		return jsonrpc.NewError(m.ID, refusal)
	case err != nil:
		return nil, err
	}
	return jsonrpc.NewResult(m.ID, result)
}

// members is a JSON object that is about to be written.
type members map[string]any

// answer returns the result of a request. An error that is a *jsonrpc.Error is
// the client's, any other ends the server.
func (s *Server) answer(ctx context.Context, m jsonrpc.Message) (json.RawMessage, error) {
	var params struct {
		Meta            map[string]json.RawMessage `json:"_meta"`
		ProtocolVersion string                     `json:"protocolVersion"`
		Name            string                     `json:"name"`
		Arguments       json.RawMessage            `json:"arguments"`
	}
	if m.Params != nil {
		if err := json.Unmarshal(m.Params, &params); err != nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "malformed params"}
		}
	}
	// A modern request says so itself, each time.
	version, isModern := params.Meta[metaVersion]
	if isModern && string(version) != `"`+modern+`"` {
		return nil, &jsonrpc.Error{
			Code: jsonrpc.CodeUnsupportedProtocolVersion, Message: "unsupported protocol version",
			Data: fmt.Appendf(nil, `{"supported":["%s"],"requested":%s}`, modern, version),
		}
	}
	result, err := s.respond(ctx, m.Method, isModern, params.ProtocolVersion, params.Name, params.Arguments)
	if err != nil {
		return nil, err
	}
	if isModern {
		result["resultType"] = "complete"
		result["_meta"] = members{metaServerInfo: s.info()}
	}
	return json.Marshal(result)
}

// respond returns the result of a method, without what the era adds to each.
func (s *Server) respond(ctx context.Context, method string, isModern bool, wanted, tool string, arguments json.RawMessage) (members, error) {
	capabilities := members{"tools": members{}}
	switch {
	case method == "tools/call":
		return s.call(ctx, tool, arguments)
	case method == "tools/list" && isModern:
		return members{"tools": s.list(), "ttlMs": 3600_000, "cacheScope": "public"}, nil
	case method == "tools/list":
		return members{"tools": s.list()}, nil
	case method == "server/discover" && isModern:
		return members{
			"supportedVersions": []string{modern}, "capabilities": capabilities, "instructions": s.Instructions,
			"ttlMs": 3600_000, "cacheScope": "public",
		}, nil
	case method == "initialize" && !isModern:
		if !slices.Contains([]string{"2024-11-05", "2025-03-26", "2025-06-18"}, wanted) {
			wanted = legacy
		}
		return members{"protocolVersion": wanted, "capabilities": capabilities, "serverInfo": s.info(), "instructions": s.Instructions}, nil
	case method == "ping" && !isModern:
		return members{}, nil
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found"}
}

func (s *Server) call(ctx context.Context, name string, arguments json.RawMessage) (members, error) {
	for _, t := range s.Tools {
		if known, _ := jsonrpc.Text(jsonrpc.Get(t.Definition, "name")); known == name {
			result, err := t.Run(ctx, arguments)
			return members(result), err
		}
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("unknown tool %.40q", name)}
}

func (s *Server) list() []json.RawMessage {
	list := make([]json.RawMessage, len(s.Tools))
	for i, t := range s.Tools {
		list[i] = t.Definition
	}
	return list
}

func (s *Server) info() berth.ServerInfo {
	return berth.ServerInfo{Name: s.Name, Version: berth.Version}
}
