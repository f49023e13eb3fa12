package supervisor_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// dial connects to the shim of a server.
func (w *world) dial(name string) net.Conn {
	w.Helper()
	conn, err := net.Dial("unix", w.path("run", w.key(name)))
	if err != nil {
		w.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.Fatal(err)
	}
	return conn
}

// wireFrame is a frame of the shim's protocol, written without the library.
func wireFrame(kind byte, payload string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))) + payload
}

// wireLine is a line, or a piece of one, for a generation.
func wireLine(generation uint64, flags byte, text string) string {
	return wireFrame('L', string(append(binary.BigEndian.AppendUint64(nil, generation), flags))+text)
}

// readWire returns the next frame.
func readWire(r io.Reader) (kind byte, payload string, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(r, body)
	return head[0], string(body), err
}

// wireField is a field of a message, which has the form of a frame.
func wireField(tag byte, value string) string { return wireFrame(tag, value) }

// wireNumber is a field with a number.
func wireNumber(tag byte, n uint64) string {
	return wireField(tag, string(binary.BigEndian.AppendUint64(nil, n)))
}

// wireRequest is a request for an operation, and more fields of it.
func wireRequest(version uint64, op string, more ...string) string {
	return wireFrame('C', wireNumber(1, version)+wireField(2, op)+strings.Join(more, ""))
}

// wireRefused says what kind of error a reply is, "" if it is none: its second
// field, after the version.
func wireRefused(reply string) string {
	const version, head = 5 + 8, 5
	if len(reply) < version+head || reply[version] != 2 {
		return ""
	}
	if strings.HasPrefix(reply[version+head:], wireField(1, "held")) {
		return "held"
	}
	return "another error"
}

// badWire is what no client says. No piece of it is a request that would change
// anything, nor a line that the server would be sent.
func badWire() map[string]string {
	attach := wireRequest(2, "attach")
	return map[string]string{
		"nothing":              "",
		"a newline":            "\n",
		"half a head":          "C\x00",
		"half a frame":         wireRequest(2, "status")[:15],
		"an endless frame":     "C\xff\xff\xff\xff{}",
		"a frame too long":     "C\x00\x10\x00\x01" + strings.Repeat("x", 1<<20+1),
		"HTTP":                 "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"MCP":                  `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n",
		"a frame of no kind":   wireFrame(0, "x"),
		"an answer":            wireFrame('R', wireNumber(1, 2)),
		"a line first":         wireLine(0, 1, `{"a":1}`),
		"no field":             wireFrame('C', "\xff\x00"),
		"JSON":                 wireFrame('C', `{"v":1,"op":"stop"}`),
		"an endless field":     wireFrame('C', "\x02\xff\xff\xff\xffstop"),
		"an empty request":     wireFrame('C', ""),
		"no operation":         wireRequest(2, "explode"),
		"a version to come":    wireRequest(99, "stop"),
		"a bad renewal":        wireRequest(2, "renew", wireNumber(6, 77)),
		"a bad upgrade":        wireRequest(2, "upgrade", wireField(7, "/no/such/berth")),
		"a number too big":     wireRequest(2, "renew", wireField(6, "123456789")),
		"a hundred thousand":   wireFrame('C', strings.Repeat(wireField(4, ""), 100000)),
		"a request, and more":  wireRequest(2, "status") + "garbage",
		"a watch, and more":    wireRequest(2, "watch") + strings.Repeat("garbage", 1000),
		"attached: garbage":    attach + strings.Repeat("\xfe", 100),
		"attached: a request":  attach + wireRequest(2, "status"),
		"attached: a short":    attach + wireFrame('L', "short"),
		"attached: no note":    attach + wireLine(1, 1|2, "\xff\xff\xff\xffx"),
		"attached: a bad note": attach + wireFrame('N', "{"),
		"attached: stale":      attach + wireLine(0, 1, `{"stale":1}`) + wireLine(1<<63, 1, `{"stale":2}`),
		"attached: unfinished": attach + wireLine(1, 0, `{"unfinished":`),
		"attached: no end":     attach + wireLine(1, 0, strings.Repeat("x", 32<<10)) + wireFrame('H', "") + wireFrame('H', "x"),
	}
}

// Whatever is said at a shim's socket, the server goes on, its shim answers
// others meanwhile, and nothing of it is left: neither a descriptor, nor the
// attachment, nor half a line on the server's stdin.
func TestAnyBytesAtTheSocket(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", berth.ProcessSpec{Command: "cat"}) // which says what it hears
	w.kindClient(st.Generation, 0)
	before := w.settledDescriptors(st.ShimPID)
	var words []string
	for what, text := range badWire() {
		words = append(words, text)
		for _, rude := range []bool{false, true} {
			conn := w.dial("a")
			if _, err := io.WriteString(conn, text); err != nil && !isHangUp(err) {
				t.Fatalf("%s: %v", what, err)
			}
			if !rude { // hear what it has to say, until it has nothing more
				if c, ok := conn.(*net.UnixConn); ok {
					_ = c.CloseWrite()
				}
				if _, err := io.Copy(io.Discard, conn); err != nil && !isHangUp(err) {
					t.Errorf("%s: the shim does not end the conversation: %v", what, err)
				}
			}
			conn.Close()
			if got := w.status("a"); got.PID != st.PID || got.ShimPID != st.ShimPID || got.Status != berth.Running {
				t.Fatalf("%s: the status is %+v", what, got)
			}
		}
	}
	// Any of them, cut anywhere and joined to any other.
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range rounds(300, 50) {
		var all bytes.Buffer
		for range 1 + r.IntN(4) {
			word := words[r.IntN(len(words))]
			from := 0
			if r.IntN(3) == 0 {
				from = r.IntN(len(word) + 1)
			}
			all.WriteString(word[from : from+r.IntN(len(word)-from+1)])
		}
		conn := w.dial("a")
		if _, err := conn.Write(all.Bytes()); err != nil && !isHangUp(err) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		conn.Close()
	}
	w.kindClient(st.Generation, 1)
	if got := w.status("a"); got.PID != st.PID || got.ShimPID != st.ShimPID || got.Generation != st.Generation || got.Restarts != 0 {
		t.Errorf("seed %d: the status is %+v, was %+v", seed, got, st)
	}
	if after := w.settledDescriptors(st.ShimPID); after > before {
		t.Errorf("seed %d: the shim has %d descriptors open, had %d: %v", seed, after, before, descriptorsOf(t, st.ShimPID))
	}
	w.hasActions("a", "start")
}

func isHangUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// kindClient attaches, as soon as it may, and has a line sent back by the
// server, which heard nothing else.
func (w *world) kindClient(generation uint64, number int) {
	w.Helper()
	line := fmt.Sprintf(`{"number":%d}`, number)
	for deadline := time.Now().Add(patience); ; {
		conn := w.dial("a")
		if _, err := io.WriteString(conn, wireRequest(2, "attach")); err != nil {
			w.Fatal(err)
		}
		_, reply, err := readWire(conn)
		if err != nil {
			w.Fatal(err)
		}
		if wireRefused(reply) == "held" && time.Now().Before(deadline) {
			conn.Close() // the shim has not read yet that the last one left
			continue
		}
		if wireRefused(reply) != "" {
			w.Fatalf("attach: %q", reply)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, wireLine(generation, 1, line)); err != nil {
			w.Fatal(err)
		}
		for {
			kind, payload, err := readWire(conn)
			if err != nil {
				w.Fatal(err)
			}
			if kind != 'L' {
				continue
			}
			if payload[9:] != line {
				w.Fatalf("the server was sent %q", payload[9:])
			}
			return
		}
	}
}

// settledDescriptors counts what a shim has open once it has closed what it is
// closing: that is no event.
func (w *world) settledDescriptors(pid int) int {
	w.Helper()
	least, same := len(descriptorsOf(w.T, pid)), 0
	for same < 20 {
		time.Sleep(5 * time.Millisecond)
		n := len(descriptorsOf(w.T, pid))
		if same++; n < least {
			least, same = n, 0
		}
	}
	return least
}

// A client that says nothing is not waited for, and keeps nobody from anything.
func TestSilentClientsAtTheSocket(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	for range 50 {
		defer w.dial("a").Close()
	}
	equal(t, "pid", w.status("a").PID, st.PID)
	w.stop("a")
	w.awaitShimEnd("a")
	if _, err := os.Stat(w.path("run", w.key("a"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
