package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// maxPages bounds how often a list is asked for its next page.
const maxPages = 1000

// Tool is a tool of the server's. Raw is what the server said, every member of
// it.
type Tool struct {
	Name        string
	Title       string
	Description string
	Raw         json.RawMessage
}

// Tools returns the server's tools, all pages of them, in its order.
func (s *Session) Tools(ctx context.Context) ([]Tool, error) {
	var (
		tools  []Tool
		cursor string
	)
	seen := make(map[string]bool)
	for range maxPages {
		raw, err := s.request(ctx, methodToolsList, s.params(listParams(cursor)))
		if err != nil {
			var refused *jsonrpc.Error
			if errors.As(err, &refused) && refused.Code == jsonrpc.CodeMethodNotFound && !s.declares("tools") {
				return nil, nil // it never said that it has tools
			}
			return nil, fmt.Errorf("list tools: %w", err)
		}
		var page struct {
			ResultType string            `json:"resultType"`
			Tools      []json.RawMessage `json:"tools"`
			NextCursor string            `json:"nextCursor"`
		}
		if err := decode(raw, &page); err != nil {
			return nil, fmt.Errorf("list tools: the server's answer is %w", err)
		}
		if !complete(page.ResultType) {
			return nil, fmt.Errorf("list tools: the server's answer is %.40q instead of complete", page.ResultType)
		}
		for _, raw := range page.Tools {
			tool, err := parseTool(raw)
			if err != nil {
				return nil, fmt.Errorf("list tools: tool %d of the server's answer %w", len(tools)+1, err)
			}
			tools = append(tools, tool)
		}
		if page.NextCursor == "" {
			return tools, nil
		}
		if cursor = page.NextCursor; seen[cursor] {
			return nil, fmt.Errorf("list tools: the server gave the same page twice, after %d tools", len(tools))
		}
		seen[cursor] = true
	}
	return nil, fmt.Errorf("list tools: no end after %d pages", maxPages)
}

func parseTool(raw json.RawMessage) (Tool, error) {
	var t struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	if err := decode(raw, &t); err != nil {
		return Tool{}, fmt.Errorf("is %w", err)
	}
	if t.Name == "" {
		return Tool{}, errors.New("has no name")
	}
	return Tool{Name: t.Name, Title: t.Title, Description: t.Description, Raw: raw}, nil
}

// Call calls a tool and returns its result as the server sent it. Args is a
// JSON object, or nil for none; its bytes reach the server as they are. An
// error of the protocol is a *jsonrpc.Error; one of the tool is a result, see
// Failed. A tool that wants input returns ErrInputRequired.
func (s *Session) Call(ctx context.Context, tool string, args json.RawMessage) (json.RawMessage, error) {
	args = bytes.TrimSpace(args)
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	if args[0] != '{' || !json.Valid(args) {
		return nil, fmt.Errorf("call %q: the arguments must be a JSON object", tool)
	}
	members := fmt.Sprintf(`"name":%s,"arguments":%s`, jsonrpc.StringID(tool), args)
	raw, err := s.request(ctx, methodToolsCall, s.params(members))
	if err != nil {
		return nil, fmt.Errorf("call %q: %w", tool, err)
	}
	if s.Info().Era == Modern {
		if err := checkComplete(raw); err != nil {
			return nil, fmt.Errorf("call %q: %w", tool, err)
		}
	}
	return raw, nil
}

// checkComplete returns an error for a result that is none yet.
func checkComplete(raw json.RawMessage) error {
	var r struct {
		ResultType    string `json:"resultType"`
		InputRequests map[string]struct {
			Method string `json:"method"`
		} `json:"inputRequests"`
	}
	if err := decode(raw, &r); err != nil {
		return fmt.Errorf("the server's answer is %w", err)
	}
	if complete(r.ResultType) {
		return nil
	}
	if r.ResultType != "input_required" {
		return fmt.Errorf("the server's answer is of the unknown type %.40q", r.ResultType)
	}
	if len(r.InputRequests) == 0 {
		// A server may ask for a retry alone, to shed load.
		return fmt.Errorf("%w: it is busy, try again", ErrInputRequired)
	}
	methods := make(map[string]bool)
	for _, in := range r.InputRequests {
		methods[in.Method] = true
	}
	return fmt.Errorf("%w (%s); call it from a client that a person uses", ErrInputRequired, strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
}

// Failed says whether the result of a call is the tool's own failure.
func Failed(result json.RawMessage) bool {
	var r struct {
		IsError bool `json:"isError"`
	}
	return json.Unmarshal(result, &r) == nil && r.IsError
}

func listParams(cursor string) string {
	if cursor == "" {
		return ""
	}
	return `"cursor":` + string(jsonrpc.StringID(cursor))
}

// params makes the params of a request from their members, and adds what the
// era demands.
func (s *Session) params(members string) []byte {
	if s.Info().Era == Modern {
		if members != "" {
			members += ","
		}
		members += `"_meta":` + requestMeta()
	}
	return []byte("{" + members + "}")
}

// declares says whether the server declared a capability.
func (s *Session) declares(capability string) bool {
	var caps map[string]json.RawMessage
	return json.Unmarshal(s.Info().Capabilities, &caps) == nil && caps[capability] != nil
}
