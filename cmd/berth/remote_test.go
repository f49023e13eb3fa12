package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// farServer is an MCP server of 2025-11-25 that is reached by HTTP, with sessions.
type farServer struct {
	t    *testing.T
	url  string
	open bool // whoever asks is let in

	mu       sync.Mutex // guards the fields below
	sessions int
	session  string
	calls    map[string]int // by the message of an echo
	held     chan struct{}  // closed when an echo of "hold" is there
}

// sesame is what it wants to hear from who asks.
const sesame = "Bearer open-sesame-4711"

func newFarServer(t *testing.T) *farServer {
	f := &farServer{t: t, calls: map[string]int{}, held: make(chan struct{})}
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	f.url = s.URL + "/mcp"
	return f
}

func (f *farServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Arguments struct{ Message string }
		}
	}
	_ = json.Unmarshal(body, &m)
	f.mu.Lock()
	session := f.session
	switch {
	case !f.open && r.Header.Get("Authorization") != sesame:
		f.mu.Unlock()
		http.Error(w, "say the words, not "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	case m.Method == "initialize":
		f.sessions++
		f.session = fmt.Sprintf("session-%d", f.sessions)
		w.Header().Set("Mcp-Session-Id", f.session)
	case session == forgotten && m.Method != "tools/call":
		// What the gateway asks by itself is not to notice it before a call does.
	case r.Method == http.MethodPost && m.Method != "server/discover" && r.Header.Get("Mcp-Session-Id") != session:
		f.mu.Unlock()
		w.WriteHeader(http.StatusNotFound)
		return
	}
	hold := false
	if m.Method == "tools/call" {
		f.calls[m.Params.Arguments.Message]++
		hold = m.Params.Arguments.Message == "hold"
	}
	f.mu.Unlock()
	if hold {
		close(f.held)
		<-r.Context().Done()
		return
	}
	result := ""
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case m.Method == "server/discover":
		w.WriteHeader(http.StatusBadRequest)
		return
	case len(m.ID) == 0:
		w.WriteHeader(http.StatusAccepted)
		return
	case m.Method == "initialize":
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"far","version":"2"}}`
	case m.Method == "tools/list":
		result = `{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`
	default:
		result = fmt.Sprintf(`{"content":[{"type":"text","text":%q}]}`, m.Params.Arguments.Message)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// forgotten is no session's name.
const forgotten = "none"

// forget ends the session without a word.
func (f *farServer) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session = forgotten
}

func (f *farServer) called(message string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[message]
}

// TestRemote: a server at a URL is like any other, and the token that it wants is
// nowhere but in the secret store and in the environment of its process.
func TestRemote(t *testing.T) {
	f := newFarServer(t)
	b := newBench(t)
	if got := b.berth("add", "far", "--url", f.url+"?key=not-for-all-9", "--header", "Authorization="+sesame); !strings.Contains(got, "far: added: "+f.url+"\n") ||
		!strings.Contains(got, "far: far 2, protocol 2025-11-25, 1 tool") {
		t.Errorf("add printed %q", got)
	}
	if got := b.berth("tools", "far"); !strings.Contains(got, "\necho") {
		t.Errorf("tools printed %q", got)
	}
	if got := b.berth("call", "far", "echo", `{"message":"over there"}`); got != "over there\n" {
		t.Errorf("call printed %q", got)
	}
	st := b.status("far")
	if st.Phase != berth.PhaseReady || st.MCP == nil || st.MCP.ServerInfo.Name != "far" {
		t.Errorf("status %+v", st)
	}
	if got := b.berth("status", "--json"); !strings.Contains(got, `"url": "`+f.url+`"`) {
		t.Errorf("status printed %q", got)
	}
	if got := b.berth("status"); !strings.Contains(got, "\nfar: at "+f.url+"\n") {
		t.Errorf("status printed %q", got)
	}
	file, err := os.ReadFile(filepath.Join(b.dir, "servers", "far.toml"))
	if err != nil || strings.Contains(string(file), "4711") {
		t.Errorf("%s: %v", file, err)
	}
	if got := b.berth("config", "far"); !strings.Contains(got, f.url) || !strings.Contains(got, "secret://far/header-authorization") || strings.Contains(got, "command") {
		t.Errorf("config printed %q", got)
	}
	if runtime.GOOS == "linux" {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.PID))
		if err != nil || !strings.Contains(string(line), f.url) || strings.Contains(string(line), "4711") || strings.Contains(string(line), "not-for-all") {
			t.Errorf("%q, %v", line, err)
		}
	}
	b.berth("stop", "far")
	b.berth("audit", "verify")

	// A token that is refused, which the server repeats: no log has it.
	code, out := b.try("add", "wrong", "--max-restarts", "1", "--url", f.url, "--header", "Authorization=Bearer wrong-words-0815")
	if code != exitFailed || !strings.Contains(out, "HTTP 401 Unauthorized: say the words, not ***") || strings.Contains(out, "0815") {
		t.Errorf("%d: %s", code, out)
	}
	err = filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == filepath.Join(b.dir, "servers", "far.toml") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range []string{"sesame-4711", "words-0815", "not-for-all"} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s has %s", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if log := b.berth("logs", "wrong"); !strings.Contains(log, "berth remote: it wants to know who asks") {
		t.Errorf("logs printed %q", log)
	}
}

// TestRemoteSessionLost: a server that forgets its session is spoken to anew, by
// another process. What was in flight is not asked a second time; who asked is told
// that nobody knows.
func TestRemoteSessionLost(t *testing.T) {
	f := newFarServer(t)
	b := newBench(t)
	b.berth("add", "far", "--no-run", "--url", f.url, "--header", "Authorization="+sesame)
	c := b.proxy("far")
	c.shakeHands()
	c.echo(1, "first")
	c.send(`{"jsonrpc":"2.0","id":"held","method":"tools/call","params":{"name":"echo","arguments":{"message":"hold"}}}`)
	select {
	case <-f.held:
	case <-time.After(time.Minute):
		t.Fatal("the call does not arrive")
	}
	f.forget()
	other := b.proxy("far")
	other.shakeHands()
	other.send(`{"jsonrpc":"2.0","id":"late","method":"tools/call","params":{"name":"echo","arguments":{"message":"late"}}}`)
	other.want(`"late"`, "the server has ended the session; the request was not carried out")
	c.want(`"held"`, "whether the request was carried out is not known")
	other.echoAgain(1, "again")
	for message, n := range map[string]int{"hold": 1, "late": 0} {
		if got := f.called(message); got != n {
			t.Errorf("%q was called %d times", message, got)
		}
	}
	st := b.status("far")
	if st.Restarts != 1 {
		t.Errorf("status %+v", st)
	}
	if log := b.berth("logs", "far"); !strings.Contains(log, "/mcp: it has ended the session\n") {
		t.Errorf("logs printed %q", log)
	}
}
