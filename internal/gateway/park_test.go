package gateway

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// parkOne has a call of a modern client's parked and returns its id at the server
// and the state that the client got.
func parkOne(t *testing.T, s *server, m *memory, question string) (id, state string) {
	t.Helper()
	call := askAs(t, s, "p", "tools/call", `,"name":"t"`)
	synctest.Wait()
	id = lastID(t, m.heard())
	m.say(`{"jsonrpc":"2.0","id":"` + question + `","method":"elicitation/create","params":{}}`)
	time.Sleep(gatherFor)
	synctest.Wait()
	select {
	case answer := <-call.answer:
		_, rest, ok := strings.Cut(answer, `"requestState":`)
		if !ok {
			t.Fatalf("the call was answered %s", answer)
		}
		return id, strings.TrimSuffix(rest, "}}")
	default:
		t.Fatal("the call was not parked")
	}
	return "", ""
}

const accept = `,"name":"t","inputResponses":{"user_input":{"action":"accept"}},"requestState":`

// refused says whether an answer is an error of that code.
func refused(answer string, code int64) bool {
	m, err := jsonrpc.Parse([]byte(answer))
	return err == nil && m.Kind == jsonrpc.ErrorResponse && jsonrpc.DecodeError(m.Error).Code == code
}

func cancelledLine(id, reason string) string {
	return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,"reason":"` + reason + `"}}`
}

const moot = `{"jsonrpc":"2.0","id":"q","error":{"code":-32603,"message":"the call that this belongs to was given up"}}`

// TestParkedExpires: a client that does not come again is waited for no longer
// than it may take, and told so when it does.
func TestParkedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		id, state := parkOne(t, s, m, "q")
		time.Sleep(parkFor - time.Second)
		synctest.Wait()
		if heard := m.heard(); heard != "" {
			t.Fatalf("before its time the server hears %s", heard)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if heard := m.heard(); heard != cancelledLine(id, "the client did not answer")+"\n"+moot {
			t.Fatalf("the server hears %s", heard)
		}
		late := askAs(t, s, "p", "tools/call", accept+state)
		if answer := <-late.answer; !refused(answer, jsonrpc.CodeInvalidParams) {
			t.Errorf("the late client is answered %s", answer)
		}
		if len(g.lot.calls) != 0 || g.lot.waiting != 0 || len(m.child.calls) != 0 || len(m.child.asked) != 0 || m.child.parked != 0 {
			t.Errorf("left: %d parked, %d waiting, %d calls, %d questions", len(g.lot.calls), g.lot.waiting, len(m.child.calls), len(m.child.asked))
		}
	})
}

// TestParkedRunsOnItsOwnTime: the time that a client has for its answers does
// not count while the server works with them, and begins anew with each round.
func TestParkedRunsOnItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		id, state := parkOne(t, s, m, "q")
		time.Sleep(parkFor - time.Second)
		retry := askAs(t, s, "p", "tools/call", accept+state)
		synctest.Wait()
		if heard := m.heard(); heard != `{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}` {
			t.Fatalf("the server hears %s", heard)
		}
		time.Sleep(callTimeout - time.Second)
		synctest.Wait()
		if heard := m.heard(); heard != "" {
			t.Fatalf("while it works the server hears %s", heard)
		}
		m.say(`{"jsonrpc":"2.0","id":"q2","method":"elicitation/create","params":{}}`)
		answer := <-retry.answer
		_, state2, ok := strings.Cut(answer, `"requestState":`)
		if !ok {
			t.Fatalf("the retry is answered %s", answer)
		}
		time.Sleep(parkFor - time.Second)
		retry = askAs(t, s, "p", "tools/call", accept+strings.TrimSuffix(state2, "}}"))
		synctest.Wait()
		m.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[]}}`)
		if answer := <-retry.answer; !strings.Contains(answer, `"result":{"content":[]`) {
			t.Errorf("the second retry is answered %s", answer)
		}
		// The outcome is kept for who did not get it, but not for long.
		again := askAs(t, s, "p", "tools/call", accept+strings.TrimSuffix(state2, "}}"))
		if answer := <-again.answer; !strings.Contains(answer, `"result":{"content":[]`) {
			t.Errorf("the same again is answered %s", answer)
		}
		time.Sleep(doneFor)
		synctest.Wait()
		again = askAs(t, s, "p", "tools/call", accept+strings.TrimSuffix(state2, "}}"))
		if answer := <-again.answer; !refused(answer, jsonrpc.CodeInvalidParams) {
			t.Errorf("the same much later is answered %s", answer)
		}
		if len(g.lot.calls) != 0 || g.lot.waiting != 0 {
			t.Errorf("left: %d parked, %d waiting", len(g.lot.calls), g.lot.waiting)
		}
	})
}

// TestParkedIsLeft: a client that hangs up may come again for a while; one that
// cancels may not.
func TestParkedIsLeft(t *testing.T) {
	for _, c := range []struct {
		name   string
		why    error
		after  time.Duration
		reason string
	}{
		{"hung up", errors.New("the connection is gone"), leftFor, "the client gave up"},
		{"cancelled", errCancelled, 0, "the client gave up"},
		{"cancelled with a reason", &cancellation{[]byte(`"bored"`)}, 0, "bored"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bareGateway(t)
				s := bareServer(t, g)
				m := newMemory(t, s, `{"tools":{}}`)
				id, state := parkOne(t, s, m, "q")
				retry := askAs(t, s, "p", "tools/call", accept+state)
				synctest.Wait()
				m.heard()
				retry.cancel(c.why)
				<-retry.answer
				if c.after > 0 {
					time.Sleep(c.after - time.Second)
					synctest.Wait()
					if heard := m.heard(); heard != "" {
						t.Fatalf("before its time the server hears %s", heard)
					}
					// It comes again, with the same answers, and leaves again.
					retry = askAs(t, s, "p", "tools/call", accept+state)
					time.Sleep(c.after)
					synctest.Wait()
					if heard := m.heard(); heard != "" {
						t.Fatalf("with the client back the server hears %s", heard)
					}
					retry.cancel(c.why)
					<-retry.answer
					time.Sleep(c.after)
				}
				synctest.Wait()
				if heard := m.heard(); heard != cancelledLine(id, c.reason) {
					t.Fatalf("the server hears %s", heard)
				}
				late := askAs(t, s, "p", "tools/call", accept+state)
				if answer := <-late.answer; !refused(answer, jsonrpc.CodeInvalidParams) {
					t.Errorf("the late client is answered %s", answer)
				}
				if len(g.lot.calls) != 0 || g.lot.waiting != 0 || len(m.child.calls) != 0 {
					t.Errorf("left: %d parked, %d waiting, %d calls", len(g.lot.calls), g.lot.waiting, len(m.child.calls))
				}
			})
		})
	}
}

// TestParkedWhenTheServerDies: who comes with answers is told what became of the
// call, and nothing is left of it soon after.
func TestParkedWhenTheServerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		_, state := parkOne(t, s, m, "q")
		_, unanswered := parkOne(t, s, m, "r")
		close(m.ended)
		synctest.Wait()
		m = newMemory(t, s, `{"tools":{}}`)
		retry := askAs(t, s, "p", "tools/call", accept+state)
		if answer := <-retry.answer; !refused(answer, jsonrpc.CodeInternalError) || !strings.Contains(answer, "went away before it answered; whether the request was carried out is not known") {
			t.Errorf("the retry is answered %s", answer)
		}
		if heard := m.heard(); heard != "" {
			t.Errorf("the next process hears %s", heard)
		}
		time.Sleep(doneFor)
		synctest.Wait()
		if len(g.lot.calls) != 0 || g.lot.waiting != 0 {
			t.Errorf("left: %d parked, %d waiting", len(g.lot.calls), g.lot.waiting)
		}
		retry = askAs(t, s, "p", "tools/call", accept+unanswered)
		if answer := <-retry.answer; !refused(answer, jsonrpc.CodeInvalidParams) {
			t.Errorf("the late retry is answered %s", answer)
		}
	})
}

// TestParkedWhenTheGatewayCloses: the server is told that nobody will answer, the
// client of a call that goes on gets an error, and nothing is left.
func TestParkedWhenTheGatewayCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		waits, _ := parkOne(t, s, m, "q")
		runs, state := parkOne(t, s, m, "r")
		retry := askAs(t, s, "p", "tools/call", accept+state)
		synctest.Wait()
		m.heard()
		g.Close()
		heard := m.heard()
		// What is said of the other call may come in between.
		first := strings.Index(heard, cancelledLine(waits, "the gateway is ending"))
		if then := strings.Index(heard, moot); first < 0 || then < first || !strings.Contains(heard, cancelledLine(runs, "the gateway is ending")) {
			t.Errorf("the server hears\n%s\nof the calls %s and %s", heard, waits, runs)
		}
		if answer := <-retry.answer; !strings.Contains(answer, `"error"`) {
			t.Errorf("the retry is answered %s", answer)
		}
		if len(g.lot.calls) != 0 || g.lot.waiting != 0 {
			t.Errorf("left: %d parked, %d waiting", len(g.lot.calls), g.lot.waiting)
		}
	})
}

// TestParkedMost: there is a bound on calls that wait, and one on outcomes that
// are kept, which leaves room for more calls.
func TestParkedMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		// Of one that is known to ask, one runs at a time.
		finish := func(id, state string) {
			retry := askAs(t, s, "p", "tools/call", accept+state)
			synctest.Wait()
			m.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
			if answer := <-retry.answer; !strings.Contains(answer, `"complete"`) {
				t.Fatalf("a retry is answered %s", answer)
			}
		}
		for range doneMost + 10 {
			finish(parkOne(t, s, m, "q"))
		}
		if n := len(g.lot.calls); n > doneMost || g.lot.waiting != 0 {
			t.Errorf("%d outcomes are kept, %d calls wait", n, g.lot.waiting)
		}
		var ids, states []string
		for range parkedMost {
			id, state := parkOne(t, s, m, "q-"+newID())
			ids, states = append(ids, id), append(states, state)
		}
		call := askAs(t, s, "p", "tools/call", `,"name":"t"`)
		synctest.Wait()
		m.heard()
		m.say(`{"jsonrpc":"2.0","id":"one too many","method":"elicitation/create","params":{}}`)
		if answer := <-call.answer; !strings.Contains(answer, "try again later") {
			t.Errorf("one too many is answered %s", answer)
		}
		finish(ids[0], states[0])
		parkOne(t, s, m, "one more")
	})
}

// TestQuestionsComeTogether: what comes within a moment is one round, what comes
// later is another.
func TestQuestionsComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		call := askAs(t, s, "p", "tools/call", `,"name":"t"`)
		synctest.Wait()
		id := lastID(t, m.heard())
		m.say(`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"n":1}}`)
		time.Sleep(gatherFor - time.Millisecond)
		m.say(`{"jsonrpc":"2.0","id":2,"method":"elicitation/create","params":{"n":2}}`)
		answer := <-call.answer
		if !strings.Contains(answer, `"inputRequests":{"user_input":{"method":"elicitation/create","params":{"n":1}},"user_input_2":{"method":"elicitation/create","params":{"n":2}}}`) {
			t.Fatalf("the questions are %s", answer)
		}
		// One that comes while the client is at it waits for its retry.
		m.say(`{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"n":3}}`)
		synctest.Wait()
		_, state, _ := strings.Cut(answer, `"requestState":`)
		retry := askAs(t, s, "p", "tools/call", `,"name":"t","inputResponses":{"user_input":{"action":"accept"},"user_input_2":{"action":"decline"}},"requestState":`+strings.TrimSuffix(state, "}}"))
		answer = <-retry.answer
		if !strings.Contains(answer, `"inputRequests":{"user_input":{"method":"elicitation/create","params":{"n":3}}}`) {
			t.Fatalf("the next question is %s", answer)
		}
		if heard := m.heard(); heard != `{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`+"\n"+`{"jsonrpc":"2.0","id":2,"result":{"action":"decline"}}` {
			t.Errorf("the server hears %s", heard)
		}
		// An answer that comes with a question makes that moot.
		_, state, _ = strings.Cut(answer, `"requestState":`)
		retry = askAs(t, s, "p", "tools/call", accept+strings.TrimSuffix(state, "}}"))
		synctest.Wait()
		m.say(`{"jsonrpc":"2.0","id":4,"method":"elicitation/create","params":{"n":4}}`)
		m.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[]}}`)
		if answer := <-retry.answer; !strings.Contains(answer, `"result":{"content":[]`) {
			t.Errorf("it is answered %s", answer)
		}
	})
}
