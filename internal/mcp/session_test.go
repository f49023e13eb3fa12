package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

const legacyNote = `{"v":1,"owner":"berth","era":"legacy","protocolVersion":"2025-11-25"}`

func connected(t *testing.T, w *wire) *Session {
	t.Helper()
	w.note = []byte(legacyNote)
	s, err := Connect(t.Context(), w, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// shuffler answers calls with their arguments, in any order.
type shuffler struct {
	*wire
	asked chan jsonrpc.Message
}

func (s shuffler) Write(_ context.Context, line, _ []byte) error {
	m, err := jsonrpc.Parse(line)
	if err == nil && m.Kind == jsonrpc.Request {
		s.asked <- m
	}
	return err
}

func TestConcurrentCalls(t *testing.T) {
	const calls = 200
	w := newWire()
	w.note = []byte(legacyNote)
	peer := shuffler{w, make(chan jsonrpc.Message, calls)}
	s, err := Connect(t.Context(), peer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	var callers sync.WaitGroup
	for i := range calls {
		callers.Go(func() {
			args := fmt.Sprintf(`{"n":%d}`, i)
			got, err := s.Call(t.Context(), "echo", json.RawMessage(args))
			if err != nil || !strings.Contains(string(got), `"arguments":`+args+"}") {
				t.Errorf("call %d: %s, %v", i, got, err)
			}
		})
	}
	var waiting []jsonrpc.Message
	for range calls {
		waiting = append(waiting, <-peer.asked)
	}
	rand.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
	for _, m := range waiting {
		line, err := jsonrpc.NewResult(m.ID, m.Params)
		if err != nil {
			t.Fatal(err)
		}
		w.in <- said{line: line}
	}
	callers.Wait()
	if d := s.Dropped(); d != (Dropped{}) {
		t.Errorf("dropped %+v", d)
	}
}

// TestEndIsFinal: whatever is under way when the server goes ends with the
// error of reading, and so does what is asked afterwards.
func TestEndIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		s := connected(t, w)
		gone := errors.New("gone")
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				for {
					if _, err := s.Call(t.Context(), "a", nil); !errors.Is(err, gone) {
						t.Errorf("got %v", err)
					}
					if s.Err() != nil {
						return
					}
				}
			})
		}
		synctest.Wait()
		w.in <- said{err: gone}
		callers.Wait()
		<-s.Ended()
		if err := s.Err(); err != gone {
			t.Errorf("the session ended with %v", err)
		}
	})
}

func TestConnectLeavesNothingBehind(t *testing.T) {
	// The bubble ends only when every goroutine in it has.
	synctest.Test(t, func(t *testing.T) {
		for _, note := range []string{"", "nonsense", `{"v":1,"owner":"berth","asked":"initialize"}`} {
			w := newWire()
			w.note = []byte(note)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if s, err := Connect(ctx, w, nil); err == nil {
				t.Errorf("%s: connected: %+v", note, s.Info())
			}
		}
	})
}

func TestOtherOwner(t *testing.T) {
	w := newWire()
	w.note = []byte(strings.Replace(legacyNote, "berth", "gateway", 1))
	s, err := Connect(t.Context(), w, &Options{Owner: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestNote(t *testing.T) {
	info := Info{
		MCP: berth.MCPInfo{ProtocolVersion: "2025-11-25", ServerInfo: berth.ServerInfo{Name: "n", Version: "1"}}, Era: Legacy,
		Instructions: "Be kind.", Capabilities: json.RawMessage(`{"tools":{}}`), Result: json.RawMessage(`{"instructions":"Be kind.","big":9007199254740993}`),
	}
	data, err := noteOf(Owner, info).Encode()
	if err != nil {
		t.Fatal(err)
	}
	n, done, err := resume(data, Owner)
	if err != nil || !done {
		t.Fatal(done, err)
	}
	if got, want := fmt.Sprintf("%+v", n.info()), fmt.Sprintf("%+v", info); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNoteIsBounded(t *testing.T) {
	big := json.RawMessage(`"` + strings.Repeat("x", maxNote) + `"`)
	for name, info := range map[string]Info{
		"result":       {Era: Modern, MCP: berth.MCPInfo{ProtocolVersion: modernVersion}, Result: big},
		"capabilities": {Era: Modern, MCP: berth.MCPInfo{ProtocolVersion: modernVersion}, Capabilities: big},
	} {
		data, err := noteOf(Owner, info).Encode()
		if err != nil || len(data) > maxNote {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
			continue
		}
		n, done, err := resume(data, Owner)
		if err != nil || !done || n.ProtocolVersion != modernVersion {
			t.Errorf("%s: %+v, %v, %v", name, n, done, err)
		}
	}
	info := Info{Era: Modern, MCP: berth.MCPInfo{ServerInfo: berth.ServerInfo{Name: string(big)}}}
	if data, err := noteOf(Owner, info).Encode(); err == nil {
		t.Errorf("a name of %d bytes makes a note of %d", len(big), len(data))
	}
}

func TestFailed(t *testing.T) {
	for result, want := range map[string]bool{`{"isError":true}`: true, `{"isError":false}`: false, `{}`: false, `[]`: false, `{"isError":"yes"}`: false} {
		if Failed(json.RawMessage(result)) != want {
			t.Errorf("%s: %v", result, !want)
		}
	}
}

// FuzzReceive sends a server's lines to a session in the middle of its
// handshake: whatever they are, the session must survive and be closed.
func FuzzReceive(f *testing.F) {
	for _, line := range []string{
		"", "null", "[]", "[[]]", "[null,{}]", `{"jsonrpc":"2.0","id":"b1-1","result":{}}`, `{"jsonrpc":"2.0","id":"b1-1","method":"server/discover"}`,
		`{"jsonrpc":"2.0","id":"b1-1","result":{"supportedVersions":["2026-07-28"],"_meta":{"io.modelcontextprotocol/serverInfo":3}}}`,
		`{"jsonrpc":"2.0","id":"b1-1","error":{"code":-32022,"data":{"supported":3}}}`, `{"jsonrpc":"2.0","error":{"code":"x"},"id":"b1-1"}`,
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "\xff",
		"{\"jsonrpc\":\"2.0\",\"id\":\"b1-1\",\"error\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":\"b1-2\",\"result\":{\"protocolVersion\":\"x\",\"serverInfo\":{\"name\":\"n\"}}}",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := newWire()
		w.in = make(chan said, strings.Count(text, "\n")+2)
		for line := range strings.SplitSeq(text, "\n") {
			w.in <- said{line: []byte(line)}
		}
		end := errors.New("end")
		w.in <- said{err: end}
		s, err := Connect(t.Context(), w, nil)
		switch {
		case err != nil && s != nil:
			t.Fatal("an error and a session")
		case err != nil:
			if !errors.Is(err, end) && !errors.Is(err, ErrNotMCP) && !errors.As(err, new(*jsonrpc.Error)) {
				t.Fatal(err)
			}
		default:
			defer s.Close()
			if info := s.Info(); info.Era == "" || info.MCP.ProtocolVersion == "" {
				t.Fatalf("connected to %+v", info)
			}
			if _, done, err := resume(w.Note(), Owner); !done || err != nil {
				t.Fatalf("the note %s: %v", w.Note(), err)
			}
		}
	})
}
