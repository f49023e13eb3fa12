package remote_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/remote"
)

// line is a Run, seen by who writes lines to it and reads them.
type lines struct {
	t     *testing.T
	in    *io.PipeWriter
	out   *bufio.Reader
	ended chan error

	mu  sync.Mutex
	log []string // guarded by mu
}

// patience bounds what a test waits for.
const patience = 20 * time.Second

// run begins a Run at a server's URL.
func run(t *testing.T, url string, o remote.Options) *lines {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	l := &lines{t: t, in: inW, out: bufio.NewReader(outR), ended: make(chan error, 1)}
	o.URL = url
	o.Log = func(line string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.log = append(l.log, line)
	}
	dir := t.TempDir()
	o.Scratch = func() (*os.File, error) {
		f, err := os.CreateTemp(dir, "")
		if err == nil {
			os.Remove(f.Name())
		}
		return f, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		err := remote.Run(ctx, inR, outW, o)
		l.ended <- err
		outW.CloseWithError(io.EOF)
	}()
	t.Cleanup(func() {
		inW.Close()
		cancel()
		go io.Copy(io.Discard, outR)
	})
	return l
}

func (l *lines) send(line string) {
	l.t.Helper()
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// next returns the next line.
func (l *lines) next() string {
	l.t.Helper()
	type got struct {
		line string
		err  error
	}
	c := make(chan got, 1)
	go func() {
		line, err := l.out.ReadString('\n')
		c <- got{line, err}
	}()
	select {
	case g := <-c:
		if g.err != nil {
			l.t.Fatalf("no line: %v; the end: %v", g.err, <-l.ended)
		}
		return strings.TrimSuffix(g.line, "\n")
	case <-time.After(patience):
		l.t.Fatal("no line")
		return ""
	}
}

func (l *lines) want(line string) {
	l.t.Helper()
	if got := l.next(); got != line {
		l.t.Fatalf("got  %.500s\nwant %.500s", got, line)
	}
}

// wantPart wants a line that has some text.
func (l *lines) wantPart(parts ...string) string {
	l.t.Helper()
	got := l.next()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			l.t.Fatalf("got  %.500s\nwithout %s", got, p)
		}
	}
	return got
}

// end returns how the Run ended, whatever it still said.
func (l *lines) end() error {
	l.t.Helper()
	go io.Copy(io.Discard, l.out)
	select {
	case err := <-l.ended:
		return err
	case <-time.After(patience):
		l.t.Fatal("it does not end")
		return nil
	}
}

func (l *lines) logged() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.log, "\n")
}

const (
	initialize  = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	shaken      = `{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`
)

// call is a request of the legacy era.
func call(id, name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":%q}}`, id, name)
}

// result is the answer to it.
func result(id, text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":%q}`, id, text)
}

// asked is a request that came to a server.
type asked struct {
	*http.Request
	body   string
	id     string // as it stands
	method string
}

// serve is a server whose every request f answers. Each is also in the list that
// it returns, as "METHOD mcp-method".
func serve(t *testing.T, f func(w http.ResponseWriter, a asked)) (url string, seen func() []string) {
	t.Helper()
	var (
		mu   sync.Mutex
		list []string
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
		}
		_ = json.Unmarshal(body, &m)
		mu.Lock()
		list = append(list, strings.TrimSpace(r.Method+" "+m.Method))
		mu.Unlock()
		f(w, asked{Request: r, body: string(body), id: strings.Trim(string(m.ID), `"`), method: m.Method})
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/mcp", func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

// legacy answers the handshake of a server with sessions; the rest is rest's.
func legacy(rest func(w http.ResponseWriter, a asked)) func(w http.ResponseWriter, a asked) {
	return func(w http.ResponseWriter, a asked) {
		switch {
		case a.method == "initialize":
			w.Header().Set("Mcp-Session-Id", "session-1")
			answerJSON(w, shaken)
		case a.method == "notifications/initialized":
			w.WriteHeader(http.StatusAccepted)
		default:
			rest(w, a)
		}
	}
}

func answerJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	io.WriteString(w, body)
}

// events begins a stream and writes some of it.
func events(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, text)
	w.(http.Flusher).Flush()
}

// shake makes the handshake of the legacy era.
func (l *lines) shake() {
	l.t.Helper()
	l.send(initialize)
	l.want(shaken)
	l.send(initialized)
}
