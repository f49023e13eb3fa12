//go:build linux

package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// longText is what a server sends that has much to say, piece by piece: nobody in
// the test holds it.
func longText(size int, piece func([]byte)) {
	r := rand.New(rand.NewPCG(7, 7))
	buf := make([]byte, 32<<10)
	for i := range buf {
		buf[i] = "abcdefghijklmnopqrstuvwxyz 0123456789-_"[r.IntN(39)]
	}
	for n := 0; size > 0; n++ {
		copy(buf, fmt.Sprintf("%08d", n)) // no two pieces are the same
		piece(buf[:min(size, len(buf))])
		size -= min(size, len(buf))
	}
}

// sayLong has the server answer with a text of that size, its id last, and returns
// the hash of the text.
func (p *puppet) sayLong(id string, size int, more string) string {
	p.t.Helper()
	w := bufio.NewWriterSize(p.conn, 64<<10)
	sum := sha256.New()
	io.WriteString(w, `{"result":{"content":[{"type":"text","text":"`)
	longText(size, func(b []byte) {
		sum.Write(b)
		_, _ = w.Write(b)
	})
	io.WriteString(w, `"}],"isError":false`+more+`},"jsonrpc":"2.0","id":`+p.names[id]+"}\n")
	if err := w.Flush(); err != nil {
		p.t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// longReader reads an answer and keeps what is before the text and after it; of
// the text it keeps the hash.
type longReader struct {
	head, tail []byte
	sum        hash.Hash
	size       int
	peak       uint64 // of the heap meanwhile
	seen       int
}

func readLong(t *testing.T, r io.Reader, size int) *longReader {
	t.Helper()
	l := &longReader{sum: sha256.New()}
	b := bufio.NewReaderSize(r, 64<<10)
	const before = `"text":"`
	for !bytes.HasSuffix(l.head, []byte(before)) {
		c, err := b.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q", err, l.head)
		}
		l.head = append(l.head, c)
	}
	buf := make([]byte, 64<<10)
	for l.size < size {
		n, err := b.Read(buf[:min(len(buf), size-l.size)])
		if err != nil {
			t.Fatalf("%v after %d bytes of the text", err, l.size)
		}
		l.sum.Write(buf[:n])
		l.size += n
		if l.seen += n; l.seen > 1<<20 {
			l.seen = 0
			l.peak = max(l.peak, heapInUse())
		}
	}
	for !bytes.HasSuffix(l.tail, []byte("\n")) {
		c, err := b.ReadByte()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		l.tail = append(l.tail, c)
	}
	return l
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// meanwhile runs f in a goroutine. A failure in there ends only that: the channel is
// closed then, with nothing in it.
func meanwhile[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() {
		defer close(c)
		c <- f()
	}()
	return c
}

// returned is what meanwhile's function returned; if it failed, the test ends here.
func returned[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	v, ok := <-c
	if !ok {
		t.FailNow()
	}
	return v
}

const longSize = 64 << 20

// longGrowth is how much more memory the gateway, and the test with it, may have
// while a long answer passes.
const longGrowth = 8 << 20

// A result of 64 MB passes byte for byte, for every kind of client, with little in
// memory at any time.
func TestLongResultPassesInLittleMemory(t *testing.T) {
	type result struct{ head, tail string }
	for name, c := range map[string]struct {
		modern bool // the server
		open   func(t *testing.T, w *world) (call func() io.Reader)
		want   result
	}{
		"json, legacy": {false, longLegacy("application/json"), result{
			`{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}`}},
		"events, legacy": {false, longLegacy("text/event-stream"), result{
			"event: message\ndata: " + `{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}`}},
		"json, modern": {true, longModern("application/json"), result{
			`{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}`}},
		"events, modern": {true, longModern("text/event-stream"), result{
			"event: message\ndata: " + `{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}`}},
		"modern client, legacy server": {false, longModern("application/json"), result{
			`{"result":{"content":[{"type":"text","text":"`,
			`"}],"isError":false,"x":{"y":1},"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"puppet","version":"1"}}},"jsonrpc":"2.0","id":7}`}},
		"legacy client, modern server": {true, longLegacy("application/json"), result{
			`{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}`}},
		"lines": {false, longLines, result{
			`{"result":{"content":[{"type":"text","text":"`, `"}],"isError":false,"x":{"y":1}},"jsonrpc":"2.0","id":7}` + "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, puppets := newPuppetWorld(t, Settings{})
			ready := meanwhile(func() *puppet {
				p := puppets.next()
				if c.modern {
					p.modern(`{"tools":{}}`)
				} else {
					p.legacy(`{"tools":{}}`)
				}
				return p
			})
			answered := meanwhile(c.open(t, w))
			p := returned(t, ready) // a modern client's request is what starts the server
			if strings.HasSuffix(name, "modern") || strings.HasPrefix(name, "modern") {
				// The headers of a modern request are checked by the tool's schema.
				p.want(`{"jsonrpc":"2.0","id":"$tools","method":"tools/list","params":$_}`)
				p.say(`{"jsonrpc":"2.0","id":"$tools","result":{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}}`)
			}
			wants := []string{`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":$_}`}
			if c.modern && strings.HasPrefix(name, "legacy") {
				wants = append(wants, `{"jsonrpc":"2.0","id":"$listen","method":"subscriptions/listen","params":$_}`)
			}
			p.wantAll(wants...)
			runtime.GC()
			before := heapInUse()
			sums := meanwhile(func() string { return p.sayLong(`"$call"`, longSize, `,"x":{"y":1}`) })
			got := readLong(t, returned(t, answered), longSize)
			if sum := returned(t, sums); hex.EncodeToString(got.sum.Sum(nil)) != sum {
				t.Error("the text is not what the server sent")
			}
			if head := string(got.head); !strings.HasSuffix(head, c.want.head) || !strings.HasPrefix(head, "id: ") && head != c.want.head {
				t.Errorf("the head is\n%q, not\n%q", head, c.want.head)
			}
			if tail := strings.TrimSuffix(string(got.tail), "\n"); tail != strings.TrimSuffix(c.want.tail, "\n") {
				t.Errorf("the tail is\n%q, not\n%q", got.tail, c.want.tail)
			}
			if got.peak > before+longGrowth {
				t.Errorf("%d MiB of memory, %d before", got.peak>>20, before>>20)
			}
			t.Logf("%d KiB of memory at most, %d before", got.peak>>10, before>>10)
			// What was written is let go of, a moment after its client has it.
			for deadline := time.Now().Add(10 * time.Second); w.g.spool.Used() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes are kept", w.g.spool.Used())
				}
			}
		})
	}
}

const longCall = `"method":"tools/call","params":{"name":"much","arguments":{}`

func longLegacy(accept string) func(*testing.T, *world) func() io.Reader {
	return func(t *testing.T, w *world) func() io.Reader {
		v := w.visit("2025-06-18")
		return func() io.Reader {
			return v.post(http.StatusOK, `{"jsonrpc":"2.0","id":7,`+longCall+`}}`, "Accept", accept).Body
		}
	}
}

func longModern(accept string) func(*testing.T, *world) func() io.Reader {
	return func(t *testing.T, w *world) func() io.Reader {
		return func() io.Reader {
			return w.must(http.StatusOK, http.MethodPost, "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":7,`+longCall+`,`+modernMeta+`}}`,
				headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "much", "Accept", accept).Body
		}
	}
}

func longLines(t *testing.T, w *world) func() io.Reader {
	conn, r := longConn(t, w)
	return func() io.Reader {
		fmt.Fprintln(conn, `{"jsonrpc":"2.0","id":7,`+longCall+`}}`)
		return r
	}
}

// longConn is a client of lines that reads only when the test does.
func longConn(t *testing.T, w *world) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /servers/dancer/lines HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", LinesProtocol)
	r := bufio.NewReader(conn)
	if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(answer, err)
	}
	fmt.Fprintln(conn, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"l","version":"1"}}}`)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"result"`) {
			break
		}
	}
	return conn, r
}

// One client that does not read holds up nobody, costs little memory, and has all
// in order when it reads at last.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	w, puppets := newPuppetWorld(t, Settings{})
	ready := meanwhile(func() *puppet {
		p := puppets.next()
		p.legacy(`{"tools":{}}`)
		return p
	})
	slow, r := longConn(t, w)
	p := returned(t, ready)
	other := w.legacyClient("other", "2025-11-25", "{}")
	fmt.Fprintln(slow, `{"jsonrpc":"2.0","id":7,`+longCall+`,"_meta":{"progressToken":"p"}}}`)
	p.want(`{"jsonrpc":"2.0","id":"$slow","method":"tools/call","params":{"name":"much","arguments":{},"_meta":{"progressToken":"$token"}}}`)
	const notes, rounds = 20, 50 // of 20 kB: 20 MB
	text := strings.Repeat("z", 20_000)
	runtime.GC()
	before, peak := heapInUse(), uint64(0)
	for i := range rounds {
		for j := range notes {
			p.say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"$token","progress":%d,"message":"%s"}}`, i*notes+j, text))
		}
		other.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"little"}}`)
		p.want(`{"jsonrpc":"2.0","id":"$other` + fmt.Sprint(i) + `","method":"tools/call","params":{"name":"little"}}`)
		p.say(`{"jsonrpc":"2.0","id":"$other` + fmt.Sprint(i) + `","result":{"content":[]}}`)
		other.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
		runtime.GC() // what is held counts, not what the last lines left
		peak = max(peak, heapInUse())
	}
	if peak > before+longGrowth {
		t.Errorf("%d MiB of memory, %d before", peak>>20, before>>20)
	}
	if w.g.spool.Used() < notes*rounds*int64(len(text))/2 {
		t.Errorf("%d bytes wait in files", w.g.spool.Used())
	}
	p.say(`{"jsonrpc":"2.0","id":"$slow","result":{"content":[]}}`)
	for i := range notes * rounds {
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprintf(`"progressToken":"p","progress":%d,`, i)) {
			t.Fatalf("%d: %.200s %v", i, line, err)
		}
	}
	if line, err := r.ReadString('\n'); err != nil || line != `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`+"\n" {
		t.Errorf("%.200s %v", line, err)
	}
	w.close()
	if used := w.g.spool.Used(); used != 0 {
		t.Errorf("%d bytes are kept", used)
	}
}
