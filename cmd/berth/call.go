package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
	"github.com/spf13/cobra"
)

func newCall(a *app) *cobra.Command {
	var (
		o      useOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "call NAME TOOL [JSON] [--json] [--no-start] [--steal] [--timeout 90s]",
		Short: "Call a tool of a server",
		Long: `Call a tool and print what it answers: text as it is, for anything else a line
in brackets that says what it is. JSON is the arguments, an object; - reads it
from standard input; none is {}. Numbers and unknown members reach the server as
they are written.

` + useHelp + `
--json prints the whole result as the server sent it, byte for byte.

Exit codes: 0 answered, 1 failed, also if the tool says that it failed,
` + useCodes,
		Example: `  berth call everything echo '{"message":"hi"}'
  berth call everything get-sum '{"a":1,"b":2}' --json
  echo '{"message":"hi"}' | berth call everything echo -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := berth.CheckName(args[0]); err != nil {
					return err
				}
			}
			if len(args) < 2 || len(args) > 3 || args[1] == "" {
				return usagef("a server, a tool and at most one argument in JSON are needed").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := "{}"
			if len(args) == 3 {
				text = args[2]
			}
			input, err := a.callInput(text)
			if err != nil {
				return err
			}
			return a.call(cmd.Context(), args[0], args[1], input, o, asJSON)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as the server sent it")
	return cmd
}

// callInput is the arguments of a call: one JSON object.
func (a *app) callInput(text string) (json.RawMessage, error) {
	input := []byte(text)
	if text == "-" {
		var err error
		if input, err = io.ReadAll(a.stdin); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
	}
	input = bytes.TrimSpace(input)
	if !json.Valid(input) {
		var v any
		return nil, usagef("the arguments are not JSON: %v", json.Unmarshal(input, &v)).
			hint(`quote them for the shell, as in '{"message":"hi"}'`)
	}
	if input[0] != '{' {
		return nil, usagef("the arguments must be a JSON object").hint(`such as '{"message":"hi"}'`)
	}
	return input, nil
}

func (a *app) call(ctx context.Context, name, tool string, input json.RawMessage, o useOptions, asJSON bool) error {
	return a.use(ctx, name, o, func(ctx context.Context, s *site, c *client) error {
		begun := time.Now()
		result, recordErr, err := s.callTool(ctx, name, tool, input, c)
		defer s.tellDenied(context.WithoutCancel(ctx), name, begun)
		if err != nil {
			return errors.Join(err, recordErr)
		}
		if asJSON {
			err = a.ui.writeRaw(result)
		} else {
			err = printContent(a.ui, result)
		}
		if err = errors.Join(err, recordErr); err != nil {
			return err
		}
		if mcp.Failed(result) {
			return fmt.Errorf("the tool %q failed", tool)
		}
		return nil
	})
}

// callTool calls a tool, if it may be called, and puts that on record.
func (s *site) callTool(ctx context.Context, name, tool string, input json.RawMessage, c *client) (result json.RawMessage, recordErr, err error) {
	if err := s.mayCall(ctx, name, tool, c); err != nil {
		return nil, nil, err
	}
	if err := s.isApproved(ctx, name, tool, c, input); err != nil {
		return nil, nil, err
	}
	begun := time.Now()
	result, err = c.Call(ctx, tool, input)
	recordErr = s.recordCall(context.WithoutCancel(ctx), name, c, callOf(tool, input, result, err, time.Since(begun)))
	return result, recordErr, err
}

// recordCall writes down a call that this command made. One that went through
// the gateway is on its record.
func (s *site) recordCall(ctx context.Context, name string, c *client, call *berth.Call) error {
	a, direct := c.carrier.(*shim.Attachment)
	if !direct {
		return nil
	}
	st := a.Status()
	call.Restarts = st.Restarts
	return s.record(ctx, berth.Record{Server: name, Action: berth.ActionToolCall, PID: st.PID, Call: call})
}

// callOf is what the audit trail says of a call.
func callOf(tool string, input, result json.RawMessage, err error, took time.Duration) *berth.Call {
	sum := sha256.Sum256(input)
	c := &berth.Call{
		Tool: tool, Principal: ownPrincipal(), Client: "berth " + berth.Version, Outcome: berth.CallDone,
		BytesIn: len(input), BytesOut: len(result), RunMicros: took.Microseconds(), ArgumentsSHA256: hex.EncodeToString(sum[:]),
	}
	var refused *jsonrpc.Error
	switch {
	case err == nil && mcp.Failed(result):
		c.Outcome = berth.CallFailed
	case err == nil:
	case errors.As(err, &refused):
		c.Outcome, c.Code = berth.CallError, refused.Code
	case errors.Is(err, context.DeadlineExceeded):
		c.Outcome = berth.CallTimeout
	case errors.Is(err, context.Canceled):
		c.Outcome = berth.CallCancelled
	case errors.Is(err, mcp.ErrInputRequired):
		c.Outcome = berth.CallAsks
	default:
		c.Outcome = berth.CallLost
	}
	return c
}

// printContent prints what a tool answered, for a person.
func printContent(u *ui, result json.RawMessage) error {
	var r struct {
		Content []struct {
			Type     string `json:"type"`
			Text     string `json:"text"`
			Data     string `json:"data"`
			MimeType string `json:"mimeType"`
			URI      string `json:"uri"`
			Resource struct {
				URI      string  `json:"uri"`
				MimeType string  `json:"mimeType"`
				Text     *string `json:"text"`
			} `json:"resource"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("the server's result is not what a tool answers: %w", err)
	}
	for _, c := range r.Content {
		var text string
		switch {
		case c.Type == "text":
			text = c.Text
		case c.Type == "resource" && c.Resource.Text != nil:
			text = *c.Resource.Text
		case c.Type == "resource":
			text = fmt.Sprintf("[resource %s %s]", c.Resource.URI, c.Resource.MimeType)
		case c.Type == "resource_link":
			text = fmt.Sprintf("[link %s]", c.URI)
		default:
			text = fmt.Sprintf("[%s %s, %d bytes in base64; --json shows them]", c.Type, c.MimeType, len(c.Data))
		}
		for line := range strings.Lines(strings.TrimSuffix(text, "\n") + "\n") {
			if err := u.write([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
				return err
			}
		}
	}
	if len(r.Content) == 0 && len(r.Structured) > 0 {
		return u.writeRaw(r.Structured)
	}
	return nil
}
