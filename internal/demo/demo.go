// Package demo is a small MCP server on stdio, for a first look at Berth where
// no server is installed. It speaks both eras of the protocol and has three
// tools: echo, add, and crash, which ends it.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/berth-run/berth/internal/toolserver"
)

// ErrCrash is returned by Serve when the tool crash was called.
var ErrCrash = errors.New("crashed, as it was asked to")

// Serve answers the messages of in, one after the other, until it ends; that is
// no error. If ctx ends, in is closed if it can be.
func Serve(ctx context.Context, in io.Reader, out io.Writer, errw io.Writer) error {
	s := toolserver.Server{Name: "berth-demo", Log: "demo", Instructions: "This server is a demonstration; echo is a good first call.", Tools: tools()}
	return s.Serve(ctx, in, out, errw)
}

// tools are in the order in which they are shown.
func tools() []toolserver.Tool {
	return []toolserver.Tool{
		{
			Definition: json.RawMessage(`{"name":"echo","description":"Says the message again.","inputSchema":{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}}`),
			Run: func(_ context.Context, arguments json.RawMessage) (toolserver.Result, error) {
				var in struct {
					Message *string `json:"message"`
				}
				if json.Unmarshal(arguments, &in) != nil || in.Message == nil {
					return toolserver.Failed("echo needs a message, a string"), nil
				}
				return toolserver.Text("%s", *in.Message), nil
			},
		},
		{
			Definition: json.RawMessage(`{"name":"add","description":"Adds two numbers.","inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}`),
			Run: func(_ context.Context, arguments json.RawMessage) (toolserver.Result, error) {
				var in struct {
					A *float64 `json:"a"`
					B *float64 `json:"b"`
				}
				if json.Unmarshal(arguments, &in) != nil || in.A == nil || in.B == nil {
					return toolserver.Failed("add needs two numbers, a and b"), nil
				}
				return toolserver.Text("%v", *in.A+*in.B), nil
			},
		},
		{
			Definition: json.RawMessage(`{"name":"crash","description":"Ends the server without an answer.","inputSchema":{"type":"object"}}`),
			Run:        func(context.Context, json.RawMessage) (toolserver.Result, error) { return nil, ErrCrash },
		},
	}
}
