//go:build linux

package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// comer is a connection from an address.
type comer struct {
	net.Conn
	from   net.Addr
	closed atomic.Bool
}

func (c *comer) RemoteAddr() net.Addr { return c.from }
func (c *comer) Close() error         { c.closed.Store(true); return nil }

// Strangers of one machine make room for each other, and for who comes where all is
// full; nobody makes room who has shown who they are.
func TestStrangersMakeRoom(t *testing.T) {
	var why [noRooms]atomic.Uint64
	h := newHall(strangersMost+4, &why)
	come := func(ip string) (*comer, *guest) {
		c := &comer{from: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
		return c, h.enter(c, true)
	}
	known, g := come("198.51.100.7")
	if err := g.is("token:ide"); err != nil {
		t.Fatal(err)
	}
	first, _ := come("2001:db8:1:2::1")
	other, _ := come("2001:db8:1:3::1")
	for n := range strangersMost {
		if _, g := come(fmt.Sprintf("2001:db8:1:2::%x", n+2)); g == nil || g.full {
			t.Fatalf("stranger %d is refused", n)
		}
	}
	if !first.closed.Load() || other.closed.Load() || known.closed.Load() {
		t.Errorf("too many of one network: %v %v %v", first.closed.Load(), other.closed.Load(), known.closed.Load())
	}
	for range strangersMost + 3 { // all there is room for, one of whom is known
		come("127.0.0.1")
	}
	if !other.closed.Load() || known.closed.Load() {
		t.Errorf("too many in all: %v %v", other.closed.Load(), known.closed.Load())
	}
	if n := why[noRoomStranger].Load(); n != 1+uint64(strangersMost+1) || why[noRoomAtAll].Load() != 0 {
		t.Errorf("%d made room", n)
	}
	all := len(h.guests)
	for c := range h.guests {
		h.leave(c)
		h.leave(c)
	}
	if all != h.most || len(h.guests)+len(h.strangers)+len(h.from)+len(h.principals)+h.full != 0 {
		t.Errorf("of %d connections are left %+v", all, h)
	}
}

// A principal has half of what there is, and who cannot come in is told.
func TestHallIsFull(t *testing.T) {
	var why [noRooms]atomic.Uint64
	h := newHall(4, &why)
	come := func() (*comer, *guest) {
		c := &comer{from: &net.UnixAddr{}}
		return c, h.enter(c, false)
	}
	_, a := come()
	_, b := come()
	_, c := come()
	_, d := come()
	for _, g := range []*guest{a, b, a} {
		if err := g.is("uid:1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.is("uid:1"); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), "2 connections") {
		t.Errorf("the third of one principal: %v", err)
	}
	if err := errors.Join(a.is("uid:2"), c.is("uid:1"), d.room()); err != nil {
		t.Errorf("a connection counts for the last who used it: %v", err)
	}
	for range turnedMost {
		if _, g := come(); g == nil || !errors.Is(g.room(), errBusy) {
			t.Fatal("who comes while it is full is not told")
		}
	}
	if _, g := come(); g != nil {
		t.Error("more wait to be told than are to")
	}
	b.leave()
	if _, g := come(); g == nil || g.room() != nil {
		t.Error("there is no room where one has left")
	}
	if why[noRoomForOne].Load() != 1 || why[noRoomAtAll].Load() != turnedMost+1 {
		t.Errorf("counted: %v %v", why[noRoomForOne].Load(), why[noRoomAtAll].Load())
	}
}

func TestConnsFor(t *testing.T) {
	for files, want := range map[uint64]int{0: connsMost, 1 << 30: connsMost, 1024: 256, 10: 16} {
		if got := connsFor(files); got != want {
			t.Errorf("of %d files: %d, not %d", files, got, want)
		}
	}
}

// Who connects and says nothing, or begins and does not go on, holds no place: whoever
// has a token comes in. One token has half of the places.
func TestDoorIsNotHeld(t *testing.T) {
	w, _ := newPuppetWorld(t, Settings{})
	w.close()
	w.open(Options{Conns: 8, HeaderWait: 20 * patience})
	url := strings.TrimPrefix(w.tokenDoor(), "http://")
	dial := func(text string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ask := func(token string) (*http.Response, string) {
		t.Helper()
		conn := dial("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(body)
	}
	one, two, three := w.token(berth.Token{Name: "one"}), w.token(berth.Token{Name: "two"}), w.token(berth.Token{Name: "three"})
	var slow []net.Conn
	for range 3 {
		for _, begin := range []string{"", "GET /mcp HTTP/1.1\r\nHost: localhost\r\nX: ", "POST /mcp HTTP/1.1\r\nHost: loc"} {
			slow = append(slow, dial(begin))
		}
	}
	for n := range 4 {
		if r, body := ask(one); r.StatusCode != http.StatusOK {
			t.Fatalf("connection %d of a client: %s %s", n+1, r.Status, body)
		}
	}
	r, body := ask(one)
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" || !r.Close || !strings.Contains(body, "this client has 4 connections open") {
		t.Errorf("a fifth: %s, closed %v: %s", r.Status, r.Close, body)
	}
	for n := range 4 {
		if r, body := ask(two); r.StatusCode != http.StatusOK {
			t.Fatalf("connection %d of another: %s %s", n+1, r.Status, body)
		}
	}
	r, body = ask(three)
	if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !r.Close || !strings.Contains(body, "8 connections are open") {
		t.Errorf("one too many in all: %s, closed %v: %s", r.Status, r.Close, body)
	}
	for n, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("slow connection %d still holds a place: %v", n, err)
		}
	}
}
