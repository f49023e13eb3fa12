package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// askLegacy makes a request of a legacy session.
func askLegacy(t testing.TB, s *session, id int, method, params string) *asked {
	t.Helper()
	m, err := jsonrpc.Parse(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &asked{cancel: cancel, answer: make(chan string, 1), said: &collector{}}
	go func() { a.answer <- string(s.request(ctx, m, a.said)) }()
	return a
}

// legacySession is an initialized session of a server.
func legacySession(t testing.TB, s *server, capabilities string) *session {
	t.Helper()
	session := newSession(s, Caller{Principal: "p"}, "2025-11-25", bridge.Client{Capabilities: []byte(capabilities)})
	if err := s.admit(session); err != nil {
		t.Fatal(err)
	}
	return session
}

// TestServerAsksTooMuch: questions that nobody answers have a bound, and one that
// does not read its answers costs no more than so many of them.
func TestServerAsksTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareServer(t, bareGateway(t))
		m := newMemory(t, s, `{"tools":{}}`)
		session := legacySession(t, s, `{"sampling":{}}`)
		call := askLegacy(t, session, 1, "tools/call", `{"name":"t"}`)
		synctest.Wait()
		id := lastID(t, m.heard())
		for i := range askedMost + 3 {
			m.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q%d","method":"sampling/createMessage","params":{}}`, i))
			synctest.Wait()
		}
		heard := m.heard()
		if n := strings.Count(heard, errManyAsks.Message); n != 3 || strings.Count(heard, "\n") != 2 {
			t.Errorf("the server hears %s", heard)
		}
		if n := strings.Count(call.said.String(), `"sampling/createMessage"`); n != askedMost {
			t.Errorf("the client is asked %d times", n)
		}
		m.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
		if answer := <-call.answer; answer != `{"jsonrpc":"2.0","id":1,"result":{}}` {
			t.Errorf("the call is answered %s", answer)
		}
		synctest.Wait()
		if n := strings.Count(call.said.String(), `"notifications/cancelled"`); n != askedMost || len(m.child.asked) != 0 || len(session.waits) != 0 {
			t.Errorf("the client is told of %d that they are moot; %d and %d are left", n, len(m.child.asked), len(session.waits))
		}

		stuck := make(chan struct{})
		m.mu.Lock()
		m.stuck = stuck
		m.mu.Unlock()
		for i := range 2 * respondMost {
			m.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i))
			synctest.Wait()
		}
		if n := m.child.responding.Load(); n != respondMost {
			t.Errorf("%d answers wait for the server", n)
		}
		close(stuck)
		synctest.Wait()
		if n := strings.Count(m.heard(), `"result":{}`); n != respondMost || m.child.responding.Load() != 0 {
			t.Errorf("the server hears %d answers", n)
		}
	})
}

// stuckOutlet is a client that takes nothing in until it is let.
type stuckOutlet struct {
	collector
	stuck chan struct{}
}

func (o *stuckOutlet) put(line []byte) {
	<-o.stuck
	o.collector.put(line)
}

// TestListenerThatDoesNotRead: news for one client waits for that one only.
func TestListenerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareServer(t, bareGateway(t))
		m := newMemory(t, s, `{"tools":{"listChanged":true}}`)
		listen, err := jsonrpc.Parse([]byte(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + metaOnly + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		stuck := &stuckOutlet{stuck: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan []byte, 1)
		go func() { ended <- s.modernRequest(ctx, Caller{Principal: "p"}, listen, stuck) }()
		synctest.Wait()
		session := legacySession(t, s, `{}`)
		news := &collector{}
		session.listen(news)
		for range 100 {
			m.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			synctest.Wait()
		}
		if n := strings.Count(news.String(), "list_changed"); n != 100 {
			t.Errorf("the other client heard %d of 100", n)
		}
		call := askLegacy(t, session, 1, "tools/call", `{"name":"t"}`)
		synctest.Wait()
		m.say(`{"jsonrpc":"2.0","id":` + lastID(t, m.heard()) + `,"result":{}}`)
		if answer := <-call.answer; !strings.Contains(answer, `"result"`) {
			t.Errorf("the call is answered %s", answer)
		}
		close(stuck.stuck)
		synctest.Wait()
		said := stuck.String()
		if first, _, _ := strings.Cut(said, "\n"); !strings.Contains(first, "acknowledged") || strings.Count(said, "list_changed") != 100 {
			t.Errorf("the client that read late was told %.300s", said)
		}
		cancel()
		<-ended
		if len(s.listens) != 0 {
			t.Error("the subscription is left")
		}
	})
}

const metaOnly = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// TestCallOfOneThatDoesNotRead fails once too much waits for its client, and the
// server is told.
func TestCallOfOneThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareServer(t, bareGateway(t))
		m := newMemory(t, s, `{"tools":{}}`)
		call, err := jsonrpc.Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1}}}`))
		if err != nil {
			t.Fatal(err)
		}
		stuck := &stuckOutlet{stuck: make(chan struct{})}
		answer := make(chan []byte, 1)
		go func() { answer <- s.modernRequest(t.Context(), Caller{Principal: "p"}, call, stuck) }()
		synctest.Wait()
		id := lastID(t, m.heard())
		for range slowMost>>20 + 3 {
			m.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + id + `,"progress":1,"message":"` + strings.Repeat("x", 1<<20) + `"}}`)
			synctest.Wait()
		}
		close(stuck.stuck)
		if a := string(<-answer); !strings.Contains(a, errSlowClient.Error()) {
			t.Errorf("the call is answered %.200s", a)
		}
		synctest.Wait()
		if heard := m.heard(); heard != cancelledLine(id, "the client gave up") {
			t.Errorf("the server hears %s", heard)
		}
	})
}

// TestQuestionToOneThatLeaves: the server is answered when the session ends that it
// asked, and when the client cancels the call.
func TestQuestionToOneThatLeaves(t *testing.T) {
	for name, leave := range map[string]func(*session, *asked){
		"the session ends":       func(s *session, _ *asked) { s.end(errSessionEnded) },
		"the call is called off": func(s *session, _ *asked) { s.cancelled([]byte(`{"requestId":1}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bareServer(t, bareGateway(t))
				m := newMemory(t, s, `{"tools":{}}`)
				session := legacySession(t, s, `{"sampling":{}}`)
				call := askLegacy(t, session, 1, "tools/call", `{"name":"t"}`)
				synctest.Wait()
				id := lastID(t, m.heard())
				m.say(`{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}`)
				synctest.Wait()
				leave(session, call)
				<-call.answer
				synctest.Wait()
				heard := m.heard()
				if !strings.Contains(heard, `"method":"notifications/cancelled","params":{"requestId":`+id) || strings.Count(heard, `{"jsonrpc":"2.0","id":"q","error":`) != 1 {
					t.Errorf("the server hears\n%s", heard)
				}
				if len(m.child.asked) != 0 || len(m.child.calls) != 0 {
					t.Errorf("%d questions and %d calls are left", len(m.child.asked), len(m.child.calls))
				}
			})
		})
	}
}

// FuzzRoute: whatever a server says, the gateway goes on, and what clients get of
// it are messages.
func FuzzRoute(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":"g1-1","result":{"content":[]}}`,
		`{"jsonrpc":"2.0","id":"g1-2","result":{"inputRequests":{"k":{"method":"elicitation/create"}}}}`,
		`{"jsonrpc":"2.0","id":"g1-2","error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url"}]}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T"}}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e"}}`,
		`{"jsonrpc":"2.0","id":"x","method":"roots/list"}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"g1-1"}}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"T"}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}`,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"g1-1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}`,
		`[{"jsonrpc":"2.0","id":"g1-1","result":{}}]`, `nonsense`, "{\r}", `{"jsonrpc":"2.0","method":7}`,
	} {
		f.Add(line, line)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		synctest.Test(t, func(t *testing.T) {
			s := bareServer(t, bareGateway(t))
			s.tasks.add(keptTask{ID: "T", Principal: "p"})
			m := newMemory(t, s, `{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"tasks":{}}`)
			session := legacySession(t, s, `{"sampling":{},"elicitation":{"url":{},"form":{}}}`)
			general := &collector{}
			session.listen(general)
			legacy := askLegacy(t, session, 1, "tools/call", `{"name":"a","_meta":{"progressToken":7}}`)
			synctest.Wait()
			modern := askAs(t, s, "q", "tools/call", `,"name":"b"`)
			synctest.Wait()
			m.heard()
			for _, line := range []string{first, second} {
				if i := strings.IndexByte(line, '\n'); i >= 0 {
					line = line[:i] // the shim says lines
				}
				m.say(line)
				synctest.Wait()
			}
			time.Sleep(gatherFor)
			synctest.Wait()
			legacy.cancel(errCancelled)
			session.cancelled([]byte(`{"requestId":1}`))
			modern.cancel(errCancelled)
			for who, text := range map[string]string{
				"the session": general.String() + legacy.said.String() + <-legacy.answer,
				"the client":  modern.said.String() + <-modern.answer,
			} {
				for line := range strings.Lines(text) {
					if msg, err := jsonrpc.Parse([]byte(line)); err != nil || msg.Kind == jsonrpc.Batch {
						t.Errorf("%s got %q: %v", who, line, err)
					}
				}
			}
			for line := range strings.Lines(m.heard()) {
				if !json.Valid([]byte(line)) || bytes.ContainsAny([]byte(strings.TrimSuffix(line, "\n")), "\r\n") {
					t.Errorf("the server got %q", line)
				}
			}
			// It still works.
			again := askAs(t, s, "q", "x/y", "")
			synctest.Wait()
			m.say(`{"jsonrpc":"2.0","id":` + lastID(t, m.heard()) + `,"result":{}}`)
			if answer := <-again.answer; !strings.Contains(answer, `"result"`) {
				t.Errorf("afterwards a request is answered %s", answer)
			}
		})
	})
}
