package gateway

import (
	"context"
	"fmt"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/pin"
	"github.com/berth-run/berth/internal/policy"
)

// toolFacts is what the gateway has to know of a tool.
type toolFacts struct {
	// schema is its input schema, nil if there is none: some of its properties may
	// have to be in the headers of a call, too.
	schema []byte
	// taskOnly: a call has to become a task.
	taskOnly    bool
	annotations policy.Annotations
	pin         pin.Tool // as it is approved
}

// schema returns the input schema of a tool.
func (s *server) schema(ctx context.Context, tool string) []byte {
	if s.joint != nil {
		return s.joint.schema(ctx, tool)
	}
	c, err := s.up(ctx, &caller{modern: true})
	if err != nil {
		return nil // the call itself says why
	}
	return c.facts(ctx, tool).schema
}

// checkTool refuses a call, by a client of the other era, of a tool that was
// hidden from it because it only runs as a task.
func (s *server) checkTool(ctx context.Context, c *child, m jsonrpc.Message) error {
	if m.Method != "tools/call" || !c.declares("tasks", "requests", "tools", "call") {
		return nil
	}
	tool := stringOf(jsonrpc.Get(m.Params, "name"))
	if !c.facts(ctx, tool).taskOnly {
		return nil
	}
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf(
		"the tool %.64q is not listed, and cannot be called, for clients of %s: it only runs as a task of the server's own, older revision of MCP", tool, bridge.Modern)}
}

// facts returns what is known of a tool; nothing if it is not listed.
func (c *child) facts(ctx context.Context, tool string) toolFacts {
	c.mu.Lock()
	all, changes := c.tools, c.toolChanges
	c.mu.Unlock()
	if all == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, c.clock.timeout, errTimeout)
		tools, err := c.session.Tools(ctx)
		cancel()
		if err != nil {
			return toolFacts{}
		}
		all = map[string]toolFacts{}
		var pins []pin.Tool
		for _, t := range tools {
			p, err := pin.Of(t.Raw)
			if err != nil {
				p = pin.Tool{Name: t.Name} // which nobody has approved
			}
			pins = append(pins, p)
			all[t.Name] = toolFacts{
				pin:         p,
				schema:      jsonrpc.Get(t.Raw, "inputSchema"),
				annotations: policy.ParseAnnotations(jsonrpc.Get(t.Raw, "annotations")),
				taskOnly:    stringOf(jsonrpc.Get(t.Raw, "execution", "taskSupport")) == "required",
			}
		}
		if c.srv.pinsTools() {
			_, _ = c.srv.see(pins, true) // it has been said
		}
		c.mu.Lock()
		c.settled = true
		if c.toolChanges == changes {
			c.tools = all
		}
		c.mu.Unlock()
	}
	return all[tool]
}

// forgetTools: the child's tools may have changed.
func (c *child) forgetTools() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tools = nil
	c.toolChanges++
}
