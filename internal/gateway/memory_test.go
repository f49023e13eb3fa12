package gateway

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// memory is a connection to a server that is the test itself, in memory, so that
// what has to do with time can be tested in a bubble of testing/synctest.
type memory struct {
	t     testing.TB
	child *child

	out   chan []byte // from the server
	ended chan struct{}

	mu    sync.Mutex // guards the fields below
	in    []string   // to the server, not looked at yet
	note  []byte
	stuck chan struct{} // not nil: the server does not read
	// answers has it answer each request with an empty result.
	answers bool
}

func (m *memory) Read(ctx context.Context) ([]byte, error) {
	select {
	case line := <-m.out:
		return line, nil
	case <-m.ended:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (m *memory) Write(ctx context.Context, line, note []byte) error {
	m.mu.Lock()
	stuck := m.stuck
	m.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if req, err := jsonrpc.Parse(line); m.answers && err == nil && req.Kind == jsonrpc.Request {
		if answer, err := jsonrpc.NewResult(bytes.Clone(req.ID), []byte("{}")); err == nil {
			m.out <- answer
		}
	}
	m.in = append(m.in, string(line))
	if note != nil {
		m.note = note
	}
	return nil
}

func (m *memory) WriteLong(ctx context.Context, _ int64, write func(io.Writer) error) error {
	var line bytes.Buffer
	if err := write(&line); err != nil {
		return err
	}
	return m.Write(ctx, line.Bytes(), nil)
}

func (m *memory) SetNote(_ context.Context, note []byte, _ *berth.MCPInfo) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note = note
	return nil
}

func (m *memory) Note() []byte         { return m.note }
func (m *memory) Epoch() uint64        { return 1 }
func (m *memory) Generation() uint64   { return 1 }
func (m *memory) Status() berth.Status { return berth.Status{} }
func (m *memory) Close() error         { return nil }

// newMemory gives a server a legacy process in memory.
func newMemory(t testing.TB, s *server, capabilities string) *memory {
	t.Helper()
	m := &memory{t: t, out: make(chan []byte, 64), ended: make(chan struct{})}
	note := `{"v":1,"owner":"berth","era":"legacy","protocolVersion":"2025-11-25","serverInfo":{"name":"m","version":"1"},"capabilities":` + capabilities +
		`,"result":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"serverInfo":{"name":"m","version":"1"}}}`
	m.note = []byte(note)
	s.mu.Lock()
	sl := s.slotFor(nil)
	s.mu.Unlock()
	c, err := shake(t.Context(), s, s.name, sl, m)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	sl.child = c
	s.mu.Unlock()
	m.child = c
	return m
}

// say has the server say a line.
func (m *memory) say(line string) { m.out <- []byte(line) }

// heard returns what the server was sent since the last time.
func (m *memory) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := strings.Join(m.in, "\n")
	m.in = nil
	return text
}

// lastID is the id of the last request that the server was sent.
func lastID(t testing.TB, heard string) string {
	t.Helper()
	m, err := jsonrpc.Parse([]byte(heard[strings.LastIndexByte(heard, '\n')+1:]))
	if err != nil {
		t.Fatalf("%q: %v", heard, err)
	}
	return string(m.ID)
}

// asked is a modern client's request in progress.
type asked struct {
	cancel context.CancelCauseFunc
	answer chan string
	said   *collector
}

// collector is an outlet that keeps what it is sent.
type collector struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (c *collector) put(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(line)
	c.text.WriteByte('\n')
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// askAs makes a request of a modern client. The members of its params follow its
// _meta, which declares what a client may be asked.
func askAs(t testing.TB, s *server, principal, method, members string) *asked {
	t.Helper()
	m, err := jsonrpc.Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"` +
		bridge.Modern + `","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}` + members + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &asked{cancel: cancel, answer: make(chan string, 1), said: &collector{}}
	go func() { a.answer <- string(s.modernRequest(ctx, Caller{Principal: principal}, m, a.said)) }()
	return a
}
