package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/metrics"
)

// topOfTest is a view of two servers, a gateway and ten calls.
func topOfTest(t *testing.T) topView {
	t.Helper()
	now := time.Unix(1_000_000, 0)
	var calls []berth.Record
	for i := range 10 {
		calls = append(calls, berth.Record{
			Server: "b", Action: berth.ActionToolCall, Time: now.Add(time.Duration(i-10) * time.Second),
			Call: &berth.Call{Tool: fmt.Sprint("tool", i), Caller: "ide", Outcome: berth.CallDone, QueueMicros: 500, RunMicros: int64(i) * 1000},
		})
	}
	calls[9].Call.Outcome = berth.CallTimeout
	calls = append(calls, berth.Record{Server: "b", Action: berth.ActionToolCallDenied, Time: now,
		Call: &berth.Call{Tool: "rm\x1b[2J", Client: "evil 1", Outcome: berth.CallRefused}})
	figures, err := metrics.Parse("berth_connections 3\nberth_sessions 1\nberth_streams{kind=\"sse\"} 1\nberth_streams{kind=\"listen\"} 1\n" +
		"berth_requests_in_flight{server=\"b\"} 2\nberth_requests_waiting{server=\"b\"} 7\n")
	if err != nil {
		t.Fatal(err)
	}
	return topOf(now, []berth.Status{{Name: "a", Phase: berth.PhaseStopped}, {Name: "b", Phase: berth.PhaseReady}}, figures, calls)
}

func TestTopView(t *testing.T) {
	v := topOfTest(t)
	b := v.Servers[0] // the busiest first
	if b.Name != "b" || b.Calls != 10 || b.Failed != 1 || b.Denied != 1 || b.P50Micros != 4500 || b.P95Micros != 9500 || *b.InFlight != 2 || *b.Waiting != 7 {
		t.Errorf("the server is %+v", b)
	}
	if a := v.Servers[1]; a.Calls != 0 || a.InFlight != nil {
		t.Errorf("the other is %+v", a)
	}
	if len(v.Clients) != 2 || v.Clients[0].Client != "ide" || v.Clients[0].LastTool != "tool9" || v.Clients[1].Client != "evil" || v.Clients[1].Denied != 1 {
		t.Errorf("clients are %+v", v.Clients)
	}
	if g := v.Gateway; g.Connections != 3 || g.Sessions != 1 || g.Streams != 2 {
		t.Errorf("the gateway is %+v", g)
	}
	if len(v.Calls) != 11 || !v.Calls[0].Denied || v.Calls[1].Tool != "tool9" {
		t.Errorf("calls are %+v", v.Calls)
	}
}

// Whatever the size of the terminal, no line is longer and there are no more; what
// matters most is the last to go; and nothing that a client says reaches the terminal.
func TestTopFits(t *testing.T) {
	v := topOfTest(t)
	u := &ui{}
	for width := 1; width <= 130; width++ {
		for height := 1; height <= 40; height++ {
			lines := v.lines(u, width, height)
			if len(lines) > height {
				t.Fatalf("%d lines for %d", len(lines), height)
			}
			for _, line := range lines {
				if utf8.RuneCountInString(line) > width || strings.ContainsAny(line, "\x1b\n") {
					t.Fatalf("%d wide: %q", width, line)
				}
			}
		}
	}
	text := strings.Join(v.lines(u, 30, 40), "\n")
	for _, want := range []string{"SERVER", "PHASE", "CALLS", "TOOL", "ready"} {
		if !strings.Contains(text, want) {
			t.Errorf("30 wide there is no %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "WAIT") {
		t.Errorf("30 wide:\n%s", text)
	}
	if text := strings.Join(v.lines(u, 200, 14), "\n"); !strings.Contains(text, "… ") {
		t.Errorf("what is left out is not said:\n%s", text)
	}
}

// Who leaves finds the terminal as it was, and keys that are none are no reason to.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.leave() // it was not entered
	s.enter()
	s.draw([]string{"a", "b"})
	s.leave()
	s.leave()
	if want := "\x1b[?1049h\x1b[?25l\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J\x1b[?25h\x1b[?1049l"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
	for keys, left := range map[string]int{"xq-": 0, "x\x03": 0, "Q": 0, "": 0} {
		quit := 0
		r := strings.NewReader(keys)
		awaitQuit(r, func() { quit++ })
		if quit != 1 || r.Len() != left {
			t.Errorf("%q: %d, %d left", keys, quit, r.Len())
		}
	}
}
