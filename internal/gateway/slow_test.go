//go:build linux

package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// slowClient is a client that reads a stream of events only when the test does.
type slowClient struct {
	r *bufio.Reader // of the body
}

// openSlow sends a request on a connection of its own and returns what answers it.
func openSlow(t testing.TB, w *world, method, path, body string, headers ...string) *slowClient {
	t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	req, err := http.NewRequest(method, "http://berth"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	// The response's head comes with the first event.
	return &slowClient{r: bufio.NewReaderSize(&lateBody{conn: conn, req: req}, 64<<10)}
}

// lateBody reads the head of a response when the test first wants some of its body.
type lateBody struct {
	conn net.Conn
	req  *http.Request
	body io.Reader
}

func (l *lateBody) Read(b []byte) (int, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(2 * patience))
	if l.body == nil {
		resp, err := http.ReadResponse(bufio.NewReaderSize(l.conn, 4<<10), l.req)
		if err != nil {
			return 0, err
		}
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("the answer is %s", resp.Status)
		}
		l.body = resp.Body
	}
	return l.body.Read(b)
}

// next returns the data of the next event that is no comment.
func (c *slowClient) next() (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return strings.TrimSuffix(data, "\n"), nil
		}
	}
}

// slowModern is a modern client's call of a legacy server, slowOld one by the
// transport of 2024-11-05.
func slowModern(t testing.TB, w *world, puppets *puppets) (*slowClient, *puppet) {
	ready := make(chan *puppet, 1)
	go func() {
		p := puppets.next()
		p.legacy(`{"tools":{}}`)
		p.want(`{"jsonrpc":"2.0","id":"$tools","method":"tools/list","params":$_}`)
		p.say(`{"jsonrpc":"2.0","id":"$tools","result":{"tools":[]}}`)
		ready <- p
	}()
	meta := strings.Replace(modernMeta, `"_meta":{`, `"_meta":{"progressToken":"p",`, 1)
	c := openSlow(t, w, "POST", "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":7,`+longCall+`,`+meta+`}}`,
		headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "much")
	return c, <-ready
}

func slowOld(t testing.TB, w *world, puppets *puppets) (*slowClient, *puppet) {
	ready := make(chan *puppet, 1)
	go func() {
		p := puppets.next()
		p.legacy(`{"tools":{}}`)
		ready <- p
	}()
	c := openSlow(t, w, "GET", "/servers/dancer/sse", "")
	place, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	postOld(t, w, place, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"o","version":"1"}}}`)
	if answer, err := c.next(); err != nil || !strings.Contains(answer, `"result"`) {
		t.Fatalf("initialize: %q, %v", answer, err)
	}
	postOld(t, w, place, `{"jsonrpc":"2.0","id":7,`+longCall+`,"_meta":{"progressToken":"p"}}}`)
	return c, <-ready
}

// postOld has a client of the old transport say something, as the one whose stream
// it is: by the socket.
func postOld(t testing.TB, w *world, place, body string) {
	t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", w.socket) }}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Post("http://berth"+place, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("POST %s: %s", place, resp.Status)
	}
}

// slowSession is one of a session.
func slowSession(t testing.TB, w *world, puppets *puppets) (*slowClient, *puppet) {
	ready := make(chan *puppet, 1)
	go func() {
		p := puppets.next()
		p.legacy(`{"tools":{}}`)
		ready <- p
	}()
	session := w.visitBySocket("2025-06-18")
	c := openSlow(t, w, "POST", "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":7,`+longCall+`,"_meta":{"progressToken":"p"}}}`,
		headerSession, session, headerVersion, "2025-06-18")
	return c, <-ready
}

var slowClients = map[string]func(testing.TB, *world, *puppets) (*slowClient, *puppet){"modern": slowModern, "old": slowOld, "session": slowSession}

// slowKept is how much is kept in files for a client of this kind that may come back
// for what it has read.
func slowKept(name string) int64 {
	if name == "session" {
		return 3 * streamKept // files end with their last line
	}
	return 0
}

const (
	slowNote = 100_000 // bytes of one report of progress
	// slowGrowth is how much more memory the gateway, and the test with it, may have
	// while tens of megabytes wait.
	slowGrowth = 2 * longGrowth
)

// flood has the server report progress, and returns the most memory that there was
// meanwhile, beyond what there was before.
func flood(p *puppet, n int, each func()) (grown uint64) {
	token := p.names[`"$token"`]
	text := strings.Repeat("z", slowNote)
	runtime.GC()
	before, peak := heapInUse(), uint64(0)
	for i := range n {
		if _, err := fmt.Fprintf(p.conn, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":"%s"}}`+"\n", token, i, text); err != nil {
			p.t.Fatal(err)
		}
		if i%10 == 9 {
			each()
			runtime.GC() // what is held counts, not what the last lines left
			peak = max(peak, heapInUse())
		}
	}
	return max(peak, before) - before
}

// A client of events that does not read holds up nobody, costs little memory, and
// has all in order when it reads at last.
func TestSlowReaderOfEventsLosesNothing(t *testing.T) {
	for name, open := range slowClients {
		t.Run(name, func(t *testing.T) {
			w, puppets := newPuppetWorld(t, Settings{})
			c, p := open(t, w, puppets)
			p.want(`{"jsonrpc":"2.0","id":"$slow","method":"tools/call","params":{"name":"much","arguments":{},"_meta":{"progressToken":"$token"}}}`)
			other := w.legacyClient("other", "2025-11-25", "{}")
			const notes = 300 // 30 MB
			turn := 0
			grown := flood(p, notes, func() {
				turn++
				id := fmt.Sprintf(`"$other%d"`, turn)
				other.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"little"}}`)
				p.want(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"little"}}`)
				p.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[]}}`)
				other.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
			})
			t.Logf("%d KiB more memory, %d KiB in files", grown>>10, w.g.spool.Used()>>10)
			if grown > slowGrowth {
				t.Errorf("%d MiB more memory", grown>>20)
			}
			if used := w.g.spool.Used(); used < notes*slowNote/2 {
				t.Errorf("%d bytes wait in files", used)
			}
			p.say(`{"jsonrpc":"2.0","id":"$slow","result":{"content":[]}}`)
			for i := range notes {
				data, err := c.next()
				if err != nil || !strings.Contains(data, fmt.Sprintf(`"progressToken":"p","progress":%d,`, i)) {
					t.Fatalf("%d: %.200s %v", i, data, err)
				}
			}
			if data, err := c.next(); err != nil || !strings.Contains(data, `"id":7`) || !strings.Contains(data, `"content":[]`) {
				t.Errorf("%.200s %v", data, err)
			}
			if used := w.g.spool.Used(); used > slowKept(name) {
				t.Errorf("%d bytes are kept", used)
			}
			w.close()
			if used := w.g.spool.Used(); used != 0 {
				t.Errorf("%d bytes are kept after the end", used)
			}
		})
	}
}

// One that reads nothing is given up at the cap, in little memory: a modern client's
// request fails, the stream of an old one ends in the middle. What they read has no
// gap.
func TestSlowReaderOfEventsIsGivenUp(t *testing.T) {
	for name, open := range slowClients {
		t.Run(name, func(t *testing.T) {
			w, puppets := newPuppetWorld(t, Settings{})
			c, p := open(t, w, puppets)
			p.want(`{"jsonrpc":"2.0","id":"$slow","method":"tools/call","params":{"name":"much","arguments":{},"_meta":{"progressToken":"$token"}}}`)
			const notes = slowMost/slowNote + 80
			most := int64(0)
			grown := flood(p, notes, func() { most = max(most, w.g.spool.Used()) })
			// The gateway reads all of it. What nobody will read it lets go of at once.
			for deadline := time.Now().Add(4 * patience); ; time.Sleep(time.Millisecond) {
				used := w.g.spool.Used()
				most = max(most, used)
				if most > slowMost/2 && used <= slowKept(name) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes are kept, of %d", used, most)
				}
			}
			t.Logf("%d KiB more memory, %d KiB in files at most", grown>>10, most>>10)
			if grown > slowGrowth {
				t.Errorf("%d MiB more memory", grown>>20)
			}
			if most > slowMost+slowMost/8 { // what the client has read is let go of by and by
				t.Errorf("%d bytes were in files", most)
			}
			got := 0
			for ; ; got++ {
				data, err := c.next()
				if name != "modern" && err != nil {
					if err == io.EOF {
						t.Error("the stream looks whole")
					}
					break
				}
				if err != nil {
					t.Fatal(got, err)
				}
				if name == "modern" && strings.Contains(data, `"id":7`) {
					if !strings.Contains(data, errSlowClient.Error()) {
						t.Errorf("the call is answered %s", data)
					}
					break
				}
				if !strings.Contains(data, fmt.Sprintf(`"progressToken":"p","progress":%d,`, got)) {
					t.Fatalf("%d: %.200s", got, data)
				}
			}
			if got == 0 || got == notes {
				t.Errorf("it had %d of %d reports of progress", got, notes)
			}
			if name == "session" {
				return // its call goes on: the client may come back for the answer
			}
			p.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"$slow","reason":$_}}`)
		})
	}
}
