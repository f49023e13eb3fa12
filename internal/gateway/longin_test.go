//go:build linux

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// hearLong is a server until it has heard a line with a long text, of which it keeps
// the hash: nobody in the test holds it. It returns that line with the hash in the
// text's place, and the most memory that there was meanwhile.
func hearLong(conn net.Conn, modern bool) (line string, peak uint64, err error) {
	r := bufio.NewReaderSize(conn, 64<<10)
	var b bytes.Buffer
	const before = `"text":"`
	for !bytes.HasSuffix(b.Bytes(), []byte(before)) {
		c, err := r.ReadByte()
		if err != nil {
			return b.String(), peak, err
		}
		if b.WriteByte(c); c != '\n' {
			continue
		}
		m, err := jsonrpc.Parse(bytes.TrimSpace(b.Bytes()))
		if err != nil {
			return b.String(), peak, err
		}
		b.Reset()
		const said = `"capabilities":{"tools":{}},"serverInfo":{"name":"puppet","version":"1"}`
		switch {
		case m.Kind != jsonrpc.Request, m.Method == "subscriptions/listen":
			continue
		case m.Method == "server/discover" && modern:
			_, err = fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],%s,"ttlMs":0,"cacheScope":"private","resultType":"complete"}}`+"\n", m.ID, said)
		case m.Method == "server/discover":
			_, err = fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`+"\n", m.ID)
		case m.Method == "initialize":
			_, err = fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25",%s}}`+"\n", m.ID, said)
		case m.Method == "tools/list":
			_, err = fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[],"resultType":"complete"}}`+"\n", m.ID)
		default:
			err = fmt.Errorf("the server is asked %s", m.Method)
		}
		if err != nil {
			return "", peak, err
		}
	}
	sum := sha256.New()
	for seen := 1 << 20; ; {
		part, err := r.ReadSlice('"')
		if err != nil && err != bufio.ErrBufferFull {
			return b.String(), peak, err
		}
		if seen += len(part); seen > 1<<20 {
			seen = 0
			peak = max(peak, heapInUse())
		}
		if err == nil {
			sum.Write(part[:len(part)-1])
			break
		}
		sum.Write(part)
	}
	b.WriteString(hex.EncodeToString(sum.Sum(nil)) + `"`)
	tail, err := r.ReadString('\n')
	return b.String() + strings.TrimSuffix(tail, "\n"), peak, err
}

// said is the hash of a long text, and that of the arguments that it is one of.
type said struct{ sum, digest string }

// writeLongCall writes a call with a long text among its arguments.
func writeLongCall(w io.Writer, head, tail string) (said, error) {
	text, all := sha256.New(), sha256.New()
	_, err := io.WriteString(w, head+`"params":{"name":"much","arguments":`)
	put := func(b []byte) {
		all.Write(b)
		if err == nil {
			_, err = w.Write(b)
		}
	}
	put([]byte(`{"text":"`))
	longText(longSize, func(b []byte) {
		text.Write(b)
		put(b)
	})
	put([]byte(`","x":9007199254740993}`))
	if err == nil {
		_, err = io.WriteString(w, tail)
	}
	return said{hex.EncodeToString(text.Sum(nil)), hex.EncodeToString(all.Sum(nil))}, err
}

// postLong posts a call with a long text; the answer is discarded but for its status.
func postLong(w *world, path, head, tail string, headers ...string) (sum said, status int, err error) {
	r, says := io.Pipe()
	sums := make(chan said, 1)
	go func() {
		sum, err := writeLongCall(says, head, tail)
		says.CloseWithError(err)
		sums <- sum
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://berth"+path, r)
	if err != nil {
		return said{}, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", w.socket) }}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		r.CloseWithError(err)
		return <-sums, 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return <-sums, answer.StatusCode, err
}

// An argument of 64 MB passes byte for byte, from every kind of client to servers of
// both eras, with little in memory at any time.
func TestLongArgumentPassesInLittleMemory(t *testing.T) {
	const head = `{"jsonrpc":"2.0","id":7,"method":"tools/call",`
	posted := func(w *world, want int, path, tail string, headers ...string) (said, error) {
		sum, status, err := postLong(w, path, head, tail, headers...)
		if err == nil && status != want {
			err = fmt.Errorf("the status is %d", status)
		}
		return sum, err
	}
	modernTail := `,` + modernMeta + `}}`
	for name, c := range map[string]struct {
		modern bool // the server
		open   func(t *testing.T, w *world) func(w *world) (said, error)
		tail   string // of what the server hears, after the arguments
	}{
		"legacy, legacy": {false, longPoster(posted, "}}"), `}}`},
		"legacy, modern": {true, longPoster(posted, "}}"),
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`},
		"modern, modern": {true, func(*testing.T, *world) func(*world) (said, error) {
			return func(w *world) (said, error) {
				return posted(w, 200, "/servers/dancer/mcp", modernTail, headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "much")
			}
		}, modernTail},
		"modern, legacy": {false, func(*testing.T, *world) func(*world) (said, error) {
			return func(w *world) (said, error) {
				return posted(w, 200, "/servers/dancer/mcp", modernTail, headerVersion, "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "much")
			}
		}, `}}`},
		"lines, legacy": {false, func(t *testing.T, w *world) func(*world) (said, error) {
			conn, r := longConn(t, w)
			return func(*world) (said, error) {
				b := bufio.NewWriter(conn)
				sum, err := writeLongCall(b, head, "}}\n")
				if err == nil {
					err = b.Flush()
				}
				if err == nil {
					_, err = r.ReadString('\n')
				}
				return sum, err
			}
		}, `}}`},
		"old transport, legacy": {false, func(t *testing.T, w *world) func(*world) (said, error) {
			c := openSlow(t, w, "GET", "/servers/dancer/sse", "")
			place, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			postOld(t, w, place, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"o","version":"1"}}}`)
			if _, err := c.next(); err != nil {
				t.Fatal(err)
			}
			return func(w *world) (said, error) {
				sum, err := posted(w, 202, place, "}}")
				if err == nil {
					_, err = c.next()
				}
				return sum, err
			}
		}, `}}`},
	} {
		t.Run(name, func(t *testing.T) {
			w, puppets := newPuppetWorld(t, Settings{})
			type heard struct {
				conn net.Conn
				line string
				peak uint64
				err  error
			}
			hears := make(chan heard, 1)
			runtime.GC()
			before := heapInUse()
			go func() {
				_ = puppets.l.SetDeadline(time.Now().Add(patience))
				conn, err := puppets.l.Accept()
				if err != nil {
					hears <- heard{err: err}
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(4 * patience))
				line, peak, err := hearLong(conn, c.modern)
				hears <- heard{conn, line, peak, err}
			}()
			ask := c.open(t, w)
			type asked struct {
				said
				err error
			}
			done := make(chan asked, 1)
			go func() {
				s, err := ask(w)
				done <- asked{s, err}
			}()
			h := <-hears
			if h.err != nil {
				t.Fatalf("%q: %v", h.line, h.err)
			}
			defer h.conn.Close()
			m, err := jsonrpc.Parse([]byte(h.line))
			if err != nil {
				t.Fatal(err)
			}
			id := string(m.ID)
			if _, err := fmt.Fprintf(h.conn, `{"jsonrpc":"2.0","id":%s,"result":{"content":[],"resultType":"complete"}}`+"\n", id); err != nil {
				t.Fatal(err)
			}
			a := <-done
			if a.err != nil {
				t.Fatal(a.err)
			}
			if want := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"much","arguments":{"text":"` + a.sum + `","x":9007199254740993}` + c.tail; h.line != want {
				t.Errorf("the server hears\n%s, not\n%s", h.line, want)
			}
			t.Logf("%d KiB of memory at most, %d before", h.peak>>10, before>>10)
			if h.peak > before+longGrowth {
				t.Errorf("%d MiB of memory, %d before", h.peak>>20, before>>20)
			}
			for deadline := time.Now().Add(patience); w.g.spool.Used() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes are kept", w.g.spool.Used())
				}
			}
			// The call's record is about what was said.
			want := `"argumentsSha256":"` + a.digest
			for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				trail, _ := os.ReadFile(filepath.Join(w.home.Dir(), "audit", "audit.jsonl"))
				if strings.Contains(string(trail), want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("there is no %s in %s", want, trail)
				}
			}
		})
	}
}

func longPoster(post func(w *world, want int, path, tail string, headers ...string) (said, error), tail string) func(*testing.T, *world) func(*world) (said, error) {
	return func(_ *testing.T, w *world) func(*world) (said, error) {
		v := w.visitBySocket("2025-11-25")
		return func(w *world) (said, error) {
			return post(w, 200, "/servers/dancer/mcp", tail, headerSession, v, headerVersion, "2025-11-25")
		}
	}
}

// visitBySocket opens a session as the client of a socket, and returns its id.
func (w *world) visitBySocket(version string) string {
	w.t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", w.socket) }}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr, Timeout: patience}).Post("http://berth/servers/dancer/mcp", "application/json", strings.NewReader(strings.Replace(initialize, "%s", version, 1)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.Header.Get(headerSession)
}
