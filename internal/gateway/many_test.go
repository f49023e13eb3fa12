//go:build linux

package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is a client with as many connections as it likes.
func crowd(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

// ask posts one message with these headers and returns the answer.
func (w *world) ask(c *http.Client, body string, headers ...string) (http.Header, string, error) {
	r, err := http.NewRequest(http.MethodPost, w.url+"/servers/demo/mcp", strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", bothKinds)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return resp.Header, string(text), err
}

// Eight hundred calls at once, half of them of modern clients and half in legacy
// sessions, are each answered, with their own answer, by one process.
func TestEightHundredCallsAtOnce(t *testing.T) {
	const n = 800
	w := newWorld(t, map[string]installed{"demo": {Settings{}, specOf(roleDemo, nil)}})
	c := crowd(t)
	sessions := make([]string, 8)
	for i := range sessions {
		h, _, err := w.ask(c, strings.Replace(initialize, "%s", "2025-11-25", 1))
		if err != nil {
			t.Fatal(err)
		}
		sessions[i] = h.Get(headerSession)
	}
	before, err := w.m.Status(context.Background(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			word := fmt.Sprintf("word-%d-", i)
			args := fmt.Sprintf(`"name":"echo","arguments":{"message":"%s"}`, word)
			var answer string
			var err error
			if i%2 == 0 {
				_, answer, err = w.ask(c, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s,%s}}`, i, args, modernMeta),
					headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "echo")
			} else {
				_, answer, err = w.ask(c, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s}}`, i, args),
					headerVersion, "2025-11-25", headerSession, sessions[i%len(sessions)])
			}
			if err != nil || !strings.Contains(answer, word) || !strings.Contains(answer, fmt.Sprintf(`"id":%d,`, i)) || strings.Contains(answer, `"isError":true`) {
				t.Errorf("call %d: %v: %s", i, err, answer)
			}
		})
	}
	close(begin)
	all.Wait()
	after, err := w.m.Status(context.Background(), "demo")
	if err != nil || after.PID != before.PID || after.Restarts != 0 || after.Generation != before.Generation {
		t.Errorf("the server was %+v and is %+v, %v", before, after, err)
	}
}

// footprint is what this process holds.
type footprint struct{ goroutines, descriptors, heap int }

func measure(t *testing.T) footprint {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), len(fds), int(m.HeapAlloc)}
}

// A thousand sessions that were opened, used and abandoned, some with a stream
// open whose client just went, leave nothing once they have expired.
func TestAbandonedSessions(t *testing.T) {
	const n = 1000
	w := newWorld(t, map[string]installed{"demo": {Settings{}, specOf(roleDemo, nil)}})
	open := func(n int) {
		c := crowd(t)
		defer c.CloseIdleConnections()
		var all sync.WaitGroup
		turn := make(chan struct{}, 32)
		for i := range n {
			all.Go(func() {
				turn <- struct{}{}
				defer func() { <-turn }()
				h, _, err := w.ask(c, strings.Replace(initialize, "%s", "2025-11-25", 1))
				if err != nil {
					t.Error(err)
					return
				}
				id := h.Get(headerSession)
				if _, _, err := w.ask(c, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"m"}}}`, headerSession, id); err != nil {
					t.Error(err)
				}
				if i%10 != 0 {
					return
				}
				ctx, gone := context.WithCancel(context.Background())
				defer gone()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/servers/demo/mcp", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Accept", streamOfThat)
				r.Header.Set(headerSession, id)
				resp, err := c.Do(r)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("a stream: %v, %v", resp, err)
				}
			})
		}
		all.Wait()
	}
	expire := func() {
		// A stream keeps its session while its client is there: it is not, but the
		// gateway may not have heard of it yet.
		for deadline := time.Now().Add(patience); w.g.sessions.Load() > 0 && time.Now().Before(deadline); runtime.Gosched() {
			w.g.sweep(time.Now().Add(2 * sessionIdle))
		}
		if left := w.g.sessions.Load(); left != 0 {
			t.Fatalf("%d sessions are left", left)
		}
	}
	open(50) // what a first session costs once
	expire()
	before := w.calm(t, footprint{})
	open(n)
	if got := w.g.sessions.Load(); got != n {
		t.Fatalf("%d sessions are open", got)
	}
	expire()
	after := w.calm(t, before)
	if after.goroutines > before.goroutines || after.descriptors > before.descriptors || after.heap > before.heap+1<<20 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// calm measures until nothing is above the goal, or nothing has changed for a
// while: connections end when their goroutines run.
func (w *world) calm(t *testing.T, goal footprint) footprint {
	t.Helper()
	least, same := measure(t), 0
	for same < 20 {
		time.Sleep(10 * time.Millisecond) // between two looks, not for something
		now := measure(t)
		if goal != (footprint{}) && now.goroutines <= goal.goroutines && now.descriptors <= goal.descriptors && now.heap <= goal.heap+1<<20 {
			return now
		}
		if same++; now.goroutines < least.goroutines || now.descriptors < least.descriptors || now.heap < least.heap-64<<10 {
			least, same = now, 0
		}
	}
	return least
}
