//go:build linux

package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// actions are those of the audit trail about a server, with their details.
func (w *world) actions(server string) (all []string) {
	w.t.Helper()
	for rec, err := range w.home.Audit(home.AuditFilter{Server: server}) {
		if err != nil {
			w.t.Fatal(err)
		}
		text := rec.Action
		if rec.Call != nil {
			text += " " + string(rec.Call.Outcome)
		}
		all = append(all, text)
	}
	return all
}

// A call without an answer fails, its server is told, and an answer that comes
// all the same reaches nobody. One that reports progress goes on.
func TestCallThatIsLate(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{CallTimeout: 2 * time.Second})
	a := w.dial("a", "dancer")
	a.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`)
	server := p.next()
	server.legacy(`{"tools":{}}`)
	a.want(`{"jsonrpc":"2.0","id":"init","result":$_}`)
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","_meta":{"progressToken":7}}}`)
	a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"late"}}`)
	server.wantAll(`{"jsonrpc":"2.0","id":"$one","method":"tools/call","params":{"name":"slow","_meta":{"progressToken":"$token"}}}`,
		`{"jsonrpc":"2.0","id":"$two","method":"tools/call","params":{"name":"late"}}`)
	stop := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			server.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":1}}`)
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	next := func() string { // that is no progress
		for {
			line, _ := a.hear()
			if !strings.Contains(line, "notifications/progress") {
				return line
			}
		}
	}
	const late = `{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"server \"dancer\" did not answer, or report progress, for 2s; whether the request was carried out is not known"}}`
	if got := next(); got != late {
		t.Fatalf("got %s", got)
	}
	server.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"$two","reason":"the client gave up"}}`)
	time.Sleep(2 * time.Second) // longer than a call without progress has
	close(stop)
	telling.Wait()
	server.say(`{"jsonrpc":"2.0","id":"$two","result":{"n":2}}`)
	server.say(`{"jsonrpc":"2.0","id":"$one","result":{"n":1}}`)
	if got := next(); got != `{"jsonrpc":"2.0","id":1,"result":{"n":1}}` {
		t.Fatalf("got %s", got)
	}
	if got := strings.Join(w.actions("dancer"), ", "); got != "start, tool-call timeout, tool-call done" {
		t.Errorf("the trail says %s", got)
	}
}

// A server that does not read what it is sent is hung: its calls fail, it gets
// another process, and that is on record.
func TestServerThatDoesNotRead(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{CallTimeout: time.Second})
	a := w.dial("a", "dancer")
	a.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`)
	server := p.next()
	server.legacy(`{"tools":{}}`)
	a.want(`{"jsonrpc":"2.0","id":"init","result":$_}`)
	st, err := w.m.Status(t.Context(), "dancer")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"x":"` + strings.Repeat("x", 4<<20) + `"}}}`)
	a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"y"}}`)
	for range 2 {
		if line, _ := a.hear(); !strings.Contains(line, `"error"`) || strings.Contains(line, `"id":"init"`) {
			t.Fatalf("got %.200s", line)
		}
	}
	// On a busy machine the first calls may have been on their way to the process until
	// now, and a call may be late though the next process is well: calls are made until
	// one has its answer.
	came := make(chan *puppet, 1)
	go func() { came <- p.next() }()
	n := 2
	ask := func() {
		n++
		a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"z"}}`, n))
	}
	ask()
	var said <-chan string // of the next process
	for answered := false; !answered; {
		select {
		case server = <-came:
			server.legacy(`{"tools":{}}`)
			said = server.lines
		case line, ok := <-said:
			m, err := jsonrpc.Parse([]byte(line))
			if !ok || err != nil {
				t.Fatalf("the next process hears %.200q: %v", line, err)
			}
			if m.Method == "tools/call" {
				server.say(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{}}`)
			}
		case line, ok := <-a.lines:
			m, err := jsonrpc.Parse([]byte(line))
			switch {
			case !ok || err != nil || t.Failed():
				t.Fatalf("got %.200q: %v", line, err)
			case m.Kind == jsonrpc.Response:
				answered = true
			default:
				ask()
			}
		case <-time.After(patience):
			t.Fatal("the call has no answer")
		}
	}
	trail := strings.Join(w.actions("dancer"), ", ")
	for _, part := range []string{"hung", "stop, renew", "tool-call timeout"} {
		if !strings.Contains(trail, part) {
			t.Errorf("the trail does not say %q: %s", part, trail)
		}
	}
	if now, err := w.m.Status(t.Context(), "dancer"); err != nil || now.PID == st.PID || now.Restarts != 0 {
		t.Errorf("the server is now %+v, %v", now, err)
	}
}

// One server that is slow, one that is hung and one that is dead delay nobody
// who uses another.
func TestServersThatDelayNobody(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	w.servers["good"] = installed{spec: specOf(roleDemo, nil)}
	w.servers["dead"] = installed{spec: berth.ProcessSpec{Command: "/bin/sh", Args: []string{"-c", "sleep 3600 & exec 0<&-; wait"}, Grace: berth.Duration(100 * time.Millisecond)}}
	slow := w.dial("slow", "dancer")
	slow.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`)
	server := p.next()
	server.legacy(`{"tools":{}}`)
	slow.want(`{"jsonrpc":"2.0","id":"init","result":$_}`)
	slow.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	server.want(`{"jsonrpc":"2.0","id":"$one","method":"tools/call","params":{"name":"x"}}`)
	st, err := w.m.Status(t.Context(), "dancer")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var stuck []*script
	for range 20 { // more than the socket and the pipe hold
		c := w.dial("stuck", "dancer")
		c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"x":"` + strings.Repeat("x", 1<<20) + `"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
		stuck = append(stuck, c)
	}
	for range 3 {
		c := w.dial("dead", "dead")
		c.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
		stuck = append(stuck, c)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for range 50 {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/servers/good/mcp", strings.NewReader(
					`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
					"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"echo"}}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Error(resp.Status)
				}
			}
		})
	}
	all.Wait()
	for _, c := range append(stuck, slow) {
		select {
		case line := <-c.lines:
			t.Errorf("%s is no longer waiting: %s", c.who, line)
		default:
		}
	}
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
