// Command client is a client made with the Go SDK: it lists the tools of a
// server, calls one, and prints what it saw as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// visit is what a client saw.
type visit struct {
	Protocol string   `json:"protocol"`
	Tools    []string `json:"tools"`
	Text     string   `json:"text,omitempty"`
}

func run() error {
	version := flag.String("version", "", "the revision of the protocol to ask for")
	tool := flag.String("tool", "", "a tool to call")
	args := flag.String("args", "{}", "its arguments")
	limit := flag.Duration("limit", time.Minute, "how long all of it may take")
	flag.Parse()
	if flag.NArg() == 0 {
		return errors.New("usage: client [flags] URL, or client [flags] COMMAND ARG…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	v, err := call(ctx, transport(flag.Args()), *version, *tool, json.RawMessage(*args))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// transport is the one that a target needs: a URL, which ends in /sse where it
// is of 2024-11-05, or a command.
func transport(target []string) mcp.Transport {
	switch {
	case !strings.HasPrefix(target[0], "http://"):
		cmd := exec.Command(target[0], target[1:]...)
		cmd.Stderr = os.Stderr
		return &mcp.CommandTransport{Command: cmd}
	case strings.HasSuffix(target[0], "/sse"):
		return &mcp.SSEClientTransport{Endpoint: target[0]}
	}
	return &mcp.StreamableClientTransport{Endpoint: target[0]}
}

func call(ctx context.Context, t mcp.Transport, version, tool string, args json.RawMessage) (v visit, err error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "go-sdk-client", Version: "1"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "gopher", "username": "gopher", "email": "gopher@example.org"}}, nil
		},
	})
	session, err := client.Connect(ctx, t, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return v, fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	v.Protocol = session.InitializeResult().ProtocolVersion
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return v, fmt.Errorf("list the tools: %w", err)
		}
		v.Tools = append(v.Tools, tool.Name)
	}
	if tool == "" {
		return v, nil
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return v, fmt.Errorf("call %s: %w", tool, err)
	}
	for _, c := range result.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			v.Text += text.Text
		}
	}
	if result.IsError {
		return v, fmt.Errorf("%s failed: %s", tool, v.Text)
	}
	return v, nil
}
