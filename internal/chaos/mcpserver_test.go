//go:build linux

package chaos

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// dirVar names the directory in which an mcpServer finds out what it is and says
// what it did.
const dirVar = "BERTH_CHAOS_DIR"

// mcpServer is a server that tells on itself. In its directory it reads, when it
// starts, "instructions" and "eras", and writes into "heard" each line that it
// was sent, and into "ran" the runs of its tool run.
type mcpServer struct {
	dir, instructions string
	modern, legacy    bool
	self              string // of this process alone

	mu      sync.Mutex // guards the fields below and writes to out
	out     *bufio.Writer
	follows map[string]bool
	listens map[string]bool // ids of subscriptions/listen, raw
	level   string
	asks    map[string]chan jsonrpc.Message
	running map[string]chan struct{} // closed when the call is cancelled
}

func serveMCP(dir string) int {
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return string(text)
	}
	eras := read("eras")
	s := &mcpServer{
		self: rand.Text(), dir: dir, instructions: read("instructions"), modern: strings.Contains(eras, "modern"), legacy: !strings.Contains(eras, "modern") || strings.Contains(eras, "legacy"),
		out: bufio.NewWriter(os.Stdout), follows: map[string]bool{}, listens: map[string]bool{},
		asks: map[string]chan jsonrpc.Message{}, running: map[string]chan struct{}{},
	}
	in := jsonrpc.NewReader(os.Stdin, 0)
	for {
		line, err := in.Next()
		if err == io.EOF {
			return 0
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		s.appendTo("heard", string(line))
		m, err := jsonrpc.Parse(append([]byte(nil), line...))
		if err == nil {
			s.take(m)
		}
	}
}

// appendTo adds a line to a file, which whoever waits for it can see.
func (s *mcpServer) appendTo(name, line string) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

func (s *mcpServer) say(line []byte, err error) {
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Write(append(line, '\n'))
	s.out.Flush()
}

func (s *mcpServer) take(m jsonrpc.Message) {
	switch m.Kind {
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		s.mu.Lock()
		answer := s.asks[string(m.ID)]
		delete(s.asks, string(m.ID))
		s.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	case jsonrpc.Notification:
		if m.Method == "notifications/cancelled" {
			id := string(jsonrpc.Get(m.Params, "requestId"))
			s.mu.Lock()
			if c := s.running[id]; c != nil {
				close(c)
				delete(s.running, id)
			}
			delete(s.listens, id)
			s.mu.Unlock()
		}
	case jsonrpc.Request:
		s.request(m)
	}
}

func (s *mcpServer) request(m jsonrpc.Message) {
	isModern := jsonrpc.Get(m.Params, "_meta", "io.modelcontextprotocol/protocolVersion") != nil
	if isModern && !s.modern || m.Method == "initialize" && !s.legacy {
		s.say(jsonrpc.NewError(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "not in this era"}))
		return
	}
	result := map[string]any{}
	capabilities := map[string]any{
		"tools": map[string]any{"listChanged": true}, "logging": map[string]any{}, "resources": map[string]any{"subscribe": true},
	}
	uri, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "uri"))
	switch m.Method {
	case "initialize":
		result = map[string]any{
			"protocolVersion": "2025-11-25", "capabilities": capabilities, "instructions": s.instructions,
			"serverInfo": map[string]any{"name": "chaos", "version": "1"},
		}
	case "server/discover":
		result = map[string]any{
			"supportedVersions": []string{"2026-07-28"}, "capabilities": capabilities, "instructions": s.instructions,
			"_meta": map[string]any{"io.modelcontextprotocol/serverInfo": map[string]any{"name": "chaos", "version": "1"}},
		}
	case "tools/list":
		var tools []any
		for _, name := range []string{"echo", "pid", "run", "ask", "touch", "log", "level", "sleep"} {
			tools = append(tools, map[string]any{"name": name, "inputSchema": map[string]any{"type": "object"}})
		}
		result["tools"] = tools
	case "resources/read":
		// It does not answer while there is a file that tells it so.
		if !s.mayRun("read") {
			return
		}
		result["contents"] = []any{map[string]any{"uri": uri, "text": strconv.Itoa(os.Getpid())}}
	case "resources/subscribe", "resources/unsubscribe":
		s.mu.Lock()
		s.follows[uri] = m.Method == "resources/subscribe"
		s.mu.Unlock()
	case "logging/setLevel":
		level, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "level"))
		s.mu.Lock()
		s.level = level
		s.mu.Unlock()
	case "subscriptions/listen":
		s.mu.Lock()
		s.listens[string(m.ID)] = true
		s.mu.Unlock()
		s.say(jsonrpc.NewNotification("notifications/subscriptions/acknowledged", s.tagged(m.ID, `"notifications":`+string(jsonrpc.Get(m.Params, "notifications")))))
		return
	case "tools/call":
		cancelled := make(chan struct{})
		s.mu.Lock()
		s.running[string(m.ID)] = cancelled
		s.mu.Unlock()
		go s.call(m, isModern, cancelled)
		return
	case "ping":
	default:
		s.say(jsonrpc.NewError(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "no such method"}))
		return
	}
	s.answer(m, isModern, result)
}

func (s *mcpServer) tagged(id []byte, members string) []byte {
	return fmt.Appendf(nil, `{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},%s}`, id, members)
}

func (s *mcpServer) answer(m jsonrpc.Message, isModern bool, result map[string]any) {
	if isModern {
		result["resultType"] = "complete"
		if strings.HasSuffix(m.Method, "/list") || m.Method == "server/discover" || m.Method == "resources/read" {
			result["ttlMs"], result["cacheScope"] = 0, "private"
		}
	}
	raw, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	s.say(jsonrpc.NewResult(m.ID, raw))
}

// mayRun notes a run and says whether there is no file hang-NAME.
func (s *mcpServer) mayRun(name string) bool {
	s.appendTo("ran", name)
	_, err := os.Stat(filepath.Join(s.dir, "hang-"+name))
	return err != nil
}

func (s *mcpServer) call(m jsonrpc.Message, isModern bool, cancelled chan struct{}) {
	text := func(path ...string) string {
		v, _ := jsonrpc.Text(jsonrpc.Get(m.Params, path...))
		return v
	}
	said := ""
	switch text("name") {
	case "echo":
		said = text("arguments", "message")
	case "much":
		said = strings.Repeat("much ", muchSize/5)
	case "mark": // a call that leaves a trace
		said = text("arguments", "message")
		s.appendTo("marks", said)
		select { // long enough to be killed before the answer
		case <-time.After(time.Millisecond):
		case <-cancelled:
			return
		}
	case "pid":
		// By more than a number, which two processes may have in their namespaces.
		said = fmt.Sprintf("%d.%s", os.Getpid(), s.self)
	case "level":
		s.mu.Lock()
		said = s.level
		s.mu.Unlock()
	case "run":
		if token := jsonrpc.Get(m.Params, "_meta", "progressToken"); token != nil {
			s.say(jsonrpc.NewNotification("notifications/progress", fmt.Appendf(nil, `{"progressToken":%s,"progress":1}`, token)))
		}
		if !s.mayRun("run") {
			return
		}
		said = "ran"
	case "sleep":
		d, _ := time.ParseDuration(text("arguments", "for"))
		select {
		case <-time.After(d):
		case <-cancelled:
			return
		}
		said = "slept"
	case "touch":
		s.touch(text("arguments", "uri"))
	case "log":
		s.say(jsonrpc.NewNotification("notifications/message", fmt.Appendf(nil, `{"level":%q,"data":"logged"}`, text("arguments", "level"))))
	case "ask":
		id := fmt.Sprintf(`"ask-%s"`, strings.Trim(string(m.ID), `"`))
		answer := make(chan jsonrpc.Message, 1)
		s.mu.Lock()
		s.asks[id] = answer
		s.mu.Unlock()
		s.say(jsonrpc.NewRequest([]byte(id), "elicitation/create", []byte(`{"message":"well?","requestedSchema":{"type":"object","properties":{}}}`)))
		select {
		case a := <-answer:
			said = string(a.Result) + string(a.Error)
		case <-cancelled:
			s.appendTo("ran", "ask cancelled")
			return
		}
	}
	s.mu.Lock()
	delete(s.running, string(m.ID))
	s.mu.Unlock()
	s.answer(m, isModern, map[string]any{"content": []any{map[string]any{"type": "text", "text": said}}})
}

// touch tells whoever follows a resource that it has changed.
func (s *mcpServer) touch(uri string) {
	s.mu.Lock()
	follows := s.follows[uri]
	var listens []string
	for id := range s.listens {
		listens = append(listens, id)
	}
	s.mu.Unlock()
	if follows {
		s.say(jsonrpc.NewNotification("notifications/resources/updated", fmt.Appendf(nil, `{"uri":%q}`, uri)))
	}
	for _, id := range listens {
		s.say(jsonrpc.NewNotification("notifications/resources/updated", s.tagged([]byte(id), fmt.Sprintf(`"uri":%q`, uri))))
	}
}
