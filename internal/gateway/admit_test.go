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
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// tokenDoor has the world listen on another port, whose callers need tokens, and
// returns its URL.
func (w *world) tokenDoor() string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	g, served := w.g, make(chan error, 1)
	go func() {
		served <- g.Serve(w.t.Context(), l, Door{Who: func(net.Conn) (Caller, error) { return Caller{}, nil }, Tokens: w.home.TokenBook()})
	}()
	w.t.Cleanup(func() {
		l.Close()
		<-served // the world has closed the gateway
	})
	return "http://" + l.Addr().String()
}

func (w *world) token(t berth.Token) string {
	w.t.Helper()
	text, err := w.home.CreateToken(t)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// The gateway that goes on in the place of another is told who asks, not by what that
// was known; whoever else says who asks is not believed.
func TestCallerIsPassedOn(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	url := w.tokenDoor()
	token := w.token(berth.Token{Name: "ide", Profile: "work"})
	// What the heir is asked comes by this.
	_, to, _ := w.heirOfWorld()
	heir := to.Socket
	to.Socket = filepath.Join(w.dir, "tap")
	tap, err := net.Listen("unix", to.Socket)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		conn, err := tap.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		on, err := net.Dial("unix", heir)
		if err != nil {
			return
		}
		defer on.Close()
		go io.Copy(conn, on)
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		var all strings.Builder
		_ = req.Header.Write(&all)
		heard <- all.String()
		_ = req.Write(on)
		_, _ = io.Copy(io.Discard, conn)
	}()
	defer tap.Close()
	if err := w.g.HandOver(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	answered := make(chan *http.Response, 1)
	meet(p, toolsCaps, func() {
		req, err := http.NewRequest(http.MethodPost, url+"/servers/dancer/mcp", strings.NewReader(strings.Replace(initialize, "%s", "2025-11-25", 1)))
		if err != nil {
			t.Error(err)
			return
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer " + token,
			headerPrincipal: "uid:0", headerClient: "root", headerProfile: "all",
		} {
			req.Header.Set(name, value)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		r.Body.Close()
		answered <- r
	})
	r := <-answered
	if r.StatusCode != http.StatusOK || r.Header.Get(headerSession) == "" {
		t.Fatalf("the heir answers %s", r.Status)
	}
	said := <-heard
	for _, part := range []string{headerPrincipal + ": token:ide\r\n", headerClient + ": ide\r\n", headerProfile + ": work\r\n"} {
		if !strings.Contains(said, part) {
			t.Errorf("the heir is not told %q:\n%s", part, said)
		}
	}
	if strings.Contains(said, "Authorization") || strings.Contains(said, token) || strings.Contains(said, "root") {
		t.Errorf("the heir is told:\n%s", said)
	}
}

// What a request takes too long for ends it; what takes long and comes is waited for.
func TestSlowRequests(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	w.close()
	const wait = 300 * time.Millisecond
	w.open(Options{HeaderWait: wait, BodyWait: wait})
	url := strings.TrimPrefix(w.tokenDoor(), "http://")
	auth := "Authorization: Bearer " + w.token(berth.Token{Name: "ide"}) + "\r\n"
	const post = "POST /servers/dancer/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	var all sync.WaitGroup
	for _, c := range []struct{ name, text, answer string }{
		{"a header without an end", "GET /servers/dancer/mcp HTTP/1.1\r\nHost: localhost\r\nX: ", ""},
		{"nothing", "", ""},
		{"a body that does not come", post + auth + "Content-Length: 100\r\n\r\n{", "HTTP/1.1 408 "},
		{"pieces that do not come", post + auth + "Transfer-Encoding: chunked\r\n\r\n5\r\n{", "HTTP/1.1 408 "},
		{"a body that is not awaited", post + auth[:len(auth)-3] + "\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 401 "},
	} {
		all.Go(func() {
			conn, err := net.Dial("tcp", url)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.text); err != nil {
				t.Error(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			answer, err := io.ReadAll(conn) // until the gateway has had enough
			if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(answer), c.answer) || strings.Contains(string(answer), " 200 ") {
				t.Errorf("%s: %.200q, %v", c.name, answer, err)
			}
		})
	}
	all.Wait()
	// An answer may take as long as it likes.
	conn, err := net.Dial("tcp", url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := `{"jsonrpc":"2.0","id":1,"method":"x/y","params":{` + modernMeta + `}}`
	text := post + auth + headerVersion + ": 2026-07-28\r\nMcp-Method: x/y\r\nAccept: application/json\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(call), call)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	server := meet(p, toolsCaps, func() {})
	server.want(`{"jsonrpc":"2.0","id":"$id","method":"x/y","params":$_}`)
	<-time.After(2 * wait)
	server.say(`{"jsonrpc":"2.0","id":"$id","result":{}}`)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("a call that takes long: %v, %v", answer, err)
	}
}
