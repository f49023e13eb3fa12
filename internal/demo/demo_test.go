package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/toolserver"
)

// pipes is an attachment to a demo server in this process.
type pipes struct {
	stdin io.WriteCloser
	lines chan []byte
	ended chan struct{} // closed when err is set
	err   error         // what Serve returned
	note  []byte
}

func start(t *testing.T) *pipes {
	t.Helper()
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	p := &pipes{stdin: stdin, lines: make(chan []byte), ended: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		p.err = Serve(t.Context(), in, out, io.Discard)
		out.Close()
		in.CloseWithError(io.EOF)
		close(p.ended)
	})
	stop := make(chan struct{})
	running.Go(func() {
		r := jsonrpc.NewReader(stdout, 0)
		for {
			line, err := r.Next()
			if err != nil {
				return
			}
			select {
			case p.lines <- bytes.Clone(line):
			case <-stop:
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		stdin.Close()
		running.Wait()
	})
	return p
}

func (p *pipes) Read(ctx context.Context) ([]byte, error) {
	select {
	case line := <-p.lines:
		return line, nil
	case <-p.ended:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *pipes) Write(_ context.Context, line, note []byte) error {
	if note != nil {
		p.note = note
	}
	_, err := p.stdin.Write(append(bytes.Clone(line), '\n'))
	return err
}

func (p *pipes) SetNote(_ context.Context, note []byte, _ *berth.MCPInfo) error {
	p.note = note
	return nil
}

func (p *pipes) Note() []byte  { return p.note }
func (p *pipes) Epoch() uint64 { return 1 }

func TestBothEras(t *testing.T) {
	for _, tt := range []struct {
		era      mcp.Era
		options  *mcp.Options
		protocol string
	}{
		{mcp.Modern, nil, "2026-07-28"},
		{mcp.Legacy, &mcp.Options{SkipProbe: true}, "2025-11-25"},
	} {
		t.Run(string(tt.era), func(t *testing.T) {
			p := start(t)
			s, err := mcp.Connect(t.Context(), p, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want := berth.MCPInfo{ProtocolVersion: tt.protocol, ServerInfo: berth.ServerInfo{Name: "berth-demo", Version: berth.Version}}
			if info := s.Info(); info.MCP != want || info.Era != tt.era || info.Instructions == "" {
				t.Errorf("connected to %+v", info)
			}
			checkTools(t, s)

			if result, err := s.Call(t.Context(), "crash", nil); !errors.Is(err, io.EOF) {
				t.Errorf("crash: %s, %v", result, err)
			}
			if <-p.ended; !errors.Is(p.err, ErrCrash) {
				t.Errorf("the server ended with %v", p.err)
			}
		})
	}
}

func checkTools(t *testing.T, s *mcp.Session) {
	t.Helper()
	tools, err := s.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range tools {
		names = append(names, tool.Name)
	}
	if got := strings.Join(names, " "); got != "echo add crash" {
		t.Errorf("tools: %s", got)
	}
	for _, tt := range []struct {
		tool, args, want string
		failed           bool
	}{
		{"echo", `{"message":"hi \"é\"\n"}`, `"text":"hi \"é\"\n"`, false},
		{"echo", `{"message":""}`, `"text":""`, false},
		{"echo", `{"message":1}`, "needs a message", true},
		{"echo", ``, "needs a message", true},
		{"add", `{"a":1.5,"b":2}`, `"text":"3.5"`, false},
		{"add", `{"a":-1,"b":1}`, `"text":"0"`, false},
		{"add", `{"a":1e400,"b":1}`, "needs two numbers", true},
		{"add", `{"a":1}`, "needs two numbers", true},
		{"add", `{"a":"x","b":1}`, "needs two numbers", true},
	} {
		result, err := s.Call(t.Context(), tt.tool, json.RawMessage(tt.args))
		if err != nil || mcp.Failed(result) != tt.failed || !strings.Contains(string(result), tt.want) {
			t.Errorf("%s %s: %s, %v", tt.tool, tt.args, result, err)
		}
	}
	var refused *jsonrpc.Error
	if result, err := s.Call(t.Context(), "nope", nil); !errors.As(err, &refused) || refused.Code != jsonrpc.CodeInvalidParams {
		t.Errorf("a tool that is not there: %s, %v", result, err)
	}
}

// TestConversation holds what no session of ours says.
func TestConversation(t *testing.T) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
	for _, tt := range []struct{ in, want string }{
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":{` + meta + `}}`, `"code":-32601`},
		{`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{` + meta + `}}`, `"code":-32601`},
		{`{"jsonrpc":"2.0","id":1,"method":"server/discover"}`, `"code":-32601`},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`, `"code":-32601`},
		{`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}`, `"protocolVersion":"2025-03-26"`},
		{`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}`, `"protocolVersion":"2025-11-25"`},
		{`{"jsonrpc":"2.0","id":"x","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01"}}}`,
			`{"jsonrpc":"2.0","id":"x","error":{"code":-32022,"message":"unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"2027-01-01"}}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`, `"code":-32602`},
		{`{"jsonrpc":"2.0","id":9007199254740993,"method":"nope"}`, `"id":9007199254740993`},
		{`hello`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700`},
		{`[]`, `"code":-32600`},
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		{`{"jsonrpc":"2.0","id":1,"result":{}}`, ""},
		{strings.Repeat("x", toolserver.MaxLine+1), ""},
	} {
		var out, talk strings.Builder
		if err := Serve(t.Context(), strings.NewReader(tt.in+"\n"), &out, &talk); err != nil {
			t.Fatalf("%.80s: %v", tt.in, err)
		}
		got := out.String()
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" || strings.Count(got, "\n") > 1 {
			t.Errorf("%.80s\n got %s\nwant %s", tt.in, got, tt.want)
		}
		if !strings.HasPrefix(talk.String(), "demo: serving") {
			t.Errorf("stderr: %q", talk.String())
		}
	}
}

func TestContextEndsIt(t *testing.T) {
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := Serve(ctx, in, io.Discard, io.Discard); err != why {
		t.Errorf("got %v", err)
	}
}

func TestBrokenPipes(t *testing.T) {
	in, stdin := io.Pipe()
	stdin.CloseWithError(io.ErrNoProgress)
	if err := Serve(t.Context(), in, io.Discard, io.Discard); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("stdin: %v", err)
	}
	out, stdout := io.Pipe()
	out.Close()
	err := Serve(t.Context(), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), stdout, io.Discard)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("stdout: %v", err)
	}
}
