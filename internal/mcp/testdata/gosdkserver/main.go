// Command gosdkserver is an MCP server made with the Go SDK, for tests of the
// client. It is a module of its own, so that Berth does not depend on the SDK.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type message struct {
	Message string `json:"message"`
}

func main() {
	versions := flag.String("versions", "", "revisions to support, by commas; default all")
	delay := flag.Duration("delay", 0, "how long to start, reading nothing")
	flag.Parse()
	var opts mcp.ServerOptions
	if *versions != "" {
		opts.SupportedProtocolVersions = strings.Split(*versions, ",")
	}
	opts.Instructions = "Be kind."
	server := mcp.NewServer(&mcp.Implementation{Name: "gosdkserver", Version: "1.2.3"}, &opts)
	addTools(server)
	time.Sleep(*delay)
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		log.Fatal(err)
	}
}

func addTools(server *mcp.Server) {
	text := func(format string, args ...any) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
	}
	mcp.AddTool(server, &mcp.Tool{Name: "echo", Description: "Says it again."},
		func(_ context.Context, _ *mcp.CallToolRequest, in message) (*mcp.CallToolResult, any, error) {
			return text("Echo: %s", in.Message), nil, nil
		})
	var cancelled atomic.Int64
	mcp.AddTool(server, &mcp.Tool{Name: "wait", Description: "Waits until it is cancelled."},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			<-ctx.Done()
			cancelled.Add(1)
			return nil, nil, ctx.Err()
		})
	mcp.AddTool(server, &mcp.Tool{Name: "cancelled", Description: "Says how many were cancelled."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return text("cancelled: %d", cancelled.Load()), nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "ask", Description: "Asks the user."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"go": &mcp.ElicitParams{Message: "Go on?"}}}, nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "fail", Description: "Fails."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return nil, nil, fmt.Errorf("as it should")
		})
}
