//go:build linux

package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// heirOfWorld opens a second gateway of the world's home, which is to go on in the
// place of the first.
func (w *world) heirOfWorld() (g *Gateway, to Heir, end func()) {
	w.t.Helper()
	var err error
	g, err = New(w.options(Options{Heir: true}))
	if err != nil {
		w.t.Fatal(err)
	}
	socket := filepath.Join(w.dir, "heir")
	l, err := net.Listen("unix", socket)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- g.ServePassed(ctx, l, doorOf("me")) }()
	end = sync.OnceFunc(func() {
		cancel()
		g.Close()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(end)
	return g, Heir{
		Socket:  socket,
		Adopt:   func(_ context.Context, name string) error { return g.Adopt(name) },
		Inherit: func(context.Context) error { return g.Inherit() },
	}, end
}

// closes waits until what is new waits at a server.
func (w *world) closes(name string) {
	w.t.Helper()
	s, err := w.g.server(name)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		s.tenure.mu.Lock()
		state := s.tenure.state
		s.tenure.mu.Unlock()
		if state == closing {
			return
		}
		runtime.Gosched()
	}
}

// A call that runs is answered by the gateway that it came to, one that comes then
// by the next, both at the old address and in the same session; the process is the
// same.
func TestHandOver(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	var v *visitor
	server := meet(p, toolsCaps, func() { v = w.visit("2025-11-25") })
	call := func(tool string) <-chan *http.Response {
		answered := make(chan *http.Response, 1)
		go func() {
			answered <- w.must(200, http.MethodPost, "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"}}`, headerSession, v.session)
		}()
		return answered
	}
	first := call("first")
	server.want(`{"jsonrpc":"2.0","id":"$first","method":"tools/call","params":{"name":"first"}}`)

	heir, to, _ := w.heirOfWorld()
	var answered atomic.Bool
	adopt := to.Adopt
	to.Adopt = func(ctx context.Context, name string) error {
		if name != "dancer" || !answered.Load() {
			t.Errorf("%q is handed over, the call answered: %v", name, answered.Load())
		}
		return adopt(ctx, name)
	}
	handed := make(chan error, 1)
	go func() { handed <- w.g.HandOver(t.Context(), to) }()
	w.closes("dancer")
	second := call("second")
	answered.Store(true)
	server.say(`{"jsonrpc":"2.0","id":"$first","result":{"n":1}}`)
	if body := w.read(<-first); !strings.Contains(body, `"n":1`) {
		t.Errorf("the first call is answered %s", body)
	}
	server.want(`{"jsonrpc":"2.0","id":"$second","method":"tools/call","params":{"name":"second"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$second","result":{"n":2}}`)
	if body := w.read(<-second); !strings.Contains(body, `"n":2`) {
		t.Errorf("the second call is answered %s", body)
	}
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
	third := call("third")
	server.want(`{"jsonrpc":"2.0","id":"$third","method":"tools/call","params":{"name":"third"}}`)
	server.say(`{"jsonrpc":"2.0","id":"$third","result":{"n":3}}`)
	r := <-third
	if body := w.read(r); !strings.Contains(body, `"n":3`) || !r.Close {
		t.Errorf("the third call is answered %s, and the connection goes on: %v", body, !r.Close)
	}
	heir.mu.Lock()
	there := heir.servers["dancer"]
	heir.mu.Unlock()
	if there == nil || there.childOf(nil) == nil {
		t.Error("the other gateway does not have the process")
	}
	if p.came != 1 {
		t.Errorf("%d processes came", p.came)
	}
}

// Once all is handed over for good, nobody waits for the other gateway to come back.
func TestHeirThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{log: slog.New(slog.DiscardHandler)}
		h := &heir{over: make(chan struct{}), given: make(chan struct{})}
		close(h.given)
		begun, w := time.Now(), httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/servers/x/mcp", http.NoBody)
		g.proxyTo(h).ErrorHandler(w, r, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
		if took := time.Since(begun); took != 0 || w.Code != http.StatusBadGateway {
			t.Errorf("answered %d after %v", w.Code, took)
		}
	})
}

// Where the other gateway cannot take a server, or ends, this one goes on with it.
func TestHandOverFails(t *testing.T) {
	for _, at := range []string{"adopt", "inherit"} {
		t.Run(at, func(t *testing.T) {
			w, p := newPuppetWorld(t, Settings{})
			var v *visitor
			server := meet(p, toolsCaps, func() { v = w.visit("2025-11-25") })
			_, to, end := w.heirOfWorld()
			no := errors.New("no")
			switch at {
			case "adopt":
				to.Adopt = func(context.Context, string) error { return no }
			case "inherit":
				to.Inherit = func(context.Context) error {
					end()
					return no
				}
			}
			if err := w.g.HandOver(t.Context(), to); !errors.Is(err, no) {
				t.Fatalf("error %v", err)
			}
			answered := make(chan string, 1)
			go func() {
				answered <- w.read(w.must(200, http.MethodPost, "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`, headerSession, v.session))
			}()
			server.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"t"}}`)
			server.say(`{"jsonrpc":"2.0","id":"$call","result":{"n":1}}`)
			if body := <-answered; !strings.Contains(body, `"n":1`) {
				t.Errorf("the call is answered %s", body)
			}
			if p.came != 1 {
				t.Errorf("%d processes came", p.came)
			}
		})
	}
}

// A modern client that listens is told by the end of its stream to do so again, and
// hears from the other gateway then.
func TestListenerMoves(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	listen := func() (*http.Response, *events) {
		r, err := w.send(http.MethodPost, "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},`+modernMeta+`}}`,
			headerVersion, "2026-07-28", "Mcp-Method", "subscriptions/listen")
		if err != nil {
			t.Fatal(err)
		}
		return r, w.events(r)
	}
	var (
		r *http.Response
		e *events
	)
	server := meet(p, toolsCaps, func() { r, e = listen() })
	defer r.Body.Close()
	if ev, err := e.next(); err != nil || !strings.Contains(ev.data, "acknowledged") {
		t.Fatalf("%v, %v", ev, err)
	}
	_, to, _ := w.heirOfWorld()
	if err := w.g.HandOver(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if ev, err := e.next(); !errors.Is(err, io.EOF) {
		t.Fatalf("the stream goes on: %v, %v", ev, err)
	}
	again, e := listen()
	defer again.Body.Close()
	if ev, err := e.next(); err != nil || !strings.Contains(ev.data, "acknowledged") {
		t.Fatalf("%v, %v", ev, err)
	}
	server.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	if ev, err := e.next(); err != nil || !strings.Contains(ev.data, "tools/list_changed") {
		t.Errorf("%v, %v", ev, err)
	}
}

// For whom something is asked is believed of the gateway before this one only.
func TestWhomIsBelieved(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	var r *http.Response
	meet(p, toolsCaps, func() {
		r = w.must(200, http.MethodPost, "/servers/dancer/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1), headerPrincipal, "me")
		_ = w.read(r)
	})
	s, err := w.g.server("dancer")
	if err != nil {
		t.Fatal(err)
	}
	id := r.Header.Get(headerSession)
	if s.session(id, Caller{Principal: "anyone"}) == nil || s.session(id, Caller{Principal: "me"}) != nil {
		t.Error("a client says who it is, and is believed")
	}
}

// A call that takes too long is cut off, and nobody is told that it was not begun.
func TestHandOverIsNotHeldForEver(t *testing.T) {
	w, p := newPuppetWorld(t, Settings{})
	var v *visitor
	server := meet(p, toolsCaps, func() { v = w.visit("2025-11-25") })
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"proxy",` + modernMeta + `}}`
	if _, err := io.WriteString(conn, "GET /servers/dancer/lines HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: "+LinesProtocol+"\r\n\r\n"+call+"\n"); err != nil {
		t.Fatal(err)
	}
	server.want(`{"jsonrpc":"2.0","id":"$proxy","method":"tools/call","params":$_}`)
	answered := make(chan string, 1)
	go func() {
		answered <- w.read(w.must(200, http.MethodPost, "/servers/dancer/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"http"}}`, headerSession, v.session))
	}()
	server.want(`{"jsonrpc":"2.0","id":"$http","method":"tools/call","params":{"name":"http"}}`)
	_, to, _ := w.heirOfWorld()
	to.Within = 20 * time.Millisecond
	if err := w.g.HandOver(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	// Its response had become a stream, which ends; its client comes for the rest.
	id, ok := strings.CutPrefix(strings.TrimSpace(<-answered), "id: ")
	if id, _, _ = strings.Cut(id, "\n"); !ok {
		t.Fatal("the call by HTTP is no stream")
	}
	if rest := w.read(w.must(200, http.MethodGet, "/servers/dancer/mcp", "", headerSession, v.session, headerLast, id)); !strings.Contains(rest, "is not known") {
		t.Errorf("the client of the call by HTTP is told %s", rest)
	}
	said, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if strings.Contains(string(said), LinesMoved) {
		t.Errorf("the proxy, whose call runs, is told %s", said)
	}
}
