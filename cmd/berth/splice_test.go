package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	clientInit  = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","x":9007199254740993}}`
	initAnswer  = `{"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"s","version":"1"}},"jsonrpc":"2.0","id":0}`
	clientReady = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

	acknowledged = `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"]},"_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}`
)

// script plays a conversation and writes down what a proxy would do, one line
// for each step: "> " to the server, "< " to the client, "* " about itself.
func script(s *splice, steps ...string) string {
	var out []string
	say := func(mark string, line []byte) { out = append(out, mark+string(line)) }
	for _, step := range steps {
		what, line, _ := strings.Cut(step, " ")
		switch what {
		case "client":
			if s.fromClient([]byte(line)) {
				say("> ", []byte(line))
			}
		case "server":
			v := s.fromServer([]byte(line))
			for _, line := range v.missed {
				say("< ", line)
			}
			if v.forward {
				say("< ", []byte(line))
			}
			if v.resumed {
				out = append(out, "* resumed")
			}
			for _, line := range v.next {
				say("> ", line)
			}
			if v.over != nil {
				out = append(out, "* over: "+v.over.Error())
			}
		case "replaced":
			answers, tell, resumed := s.replaced("was replaced", line == "known")
			for _, a := range answers {
				say("< ", a)
			}
			for _, line := range tell {
				say("> ", line)
			}
			out = append(out, fmt.Sprintf("* held %t", !resumed))
		}
	}
	return strings.Join(out, "\n")
}

func TestSplice(t *testing.T) {
	abandoned := func(id string) string {
		return `< {"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32603,"message":"the gateway of server \"x\" was replaced; whether the request was carried out is not known"}}`
	}
	replay := `> {"jsonrpc":"2.0","id":"berth-replay-1","method":"initialize","params":{"protocolVersion":"2025-11-25","x":9007199254740993}}`
	for _, c := range []struct {
		name  string
		steps []string
		want  []string
	}{
		{"lines pass", []string{
			"client " + clientInit, "server " + initAnswer, "client " + clientReady,
			`client {"jsonrpc":"2.0", "id":1e2, "method":"x"}`, `server not JSON`, `client [1]`, `server {"id":1e2,"jsonrpc":"2.0","result":{}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, "> " + clientReady,
			`> {"jsonrpc":"2.0", "id":1e2, "method":"x"}`, `< not JSON`, `> [1]`, `< {"id":1e2,"jsonrpc":"2.0","result":{}}`,
		}},
		{"the handshake is replayed with an id of ours, its answer swallowed, the client's own id free", []string{
			"client " + clientInit, "server " + initAnswer, "client " + clientReady,
			`client {"jsonrpc":"2.0","id":7,"method":"tools/call"}`,
			"replaced",
			`server {"jsonrpc":"2.0","id":"berth-replay-1","result":{"protocolVersion":"2025-06-18","serverInfo":{"name":"s2","version":"1"}}}`,
			`client {"jsonrpc":"2.0","id":0,"method":"ping"}`, `server {"jsonrpc":"2.0","id":0,"result":{}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, "> " + clientReady,
			`> {"jsonrpc":"2.0","id":7,"method":"tools/call"}`,
			abandoned("7"), replay, "* held true",
			"* resumed", "> " + clientReady,
			`> {"jsonrpc":"2.0","id":0,"method":"ping"}`, `< {"jsonrpc":"2.0","id":0,"result":{}}`,
		}},
		{"an unanswered handshake is sent again as it was", []string{
			"client " + clientInit, "replaced", "server " + initAnswer,
		}, []string{
			"> " + clientInit, "> " + clientInit, "* held false", "< " + initAnswer,
		}},
		{"killed again while replaying", []string{
			"client " + clientInit, "server " + initAnswer, "replaced", "replaced",
			`server {"jsonrpc":"2.0","id":"berth-replay-2","result":{"serverInfo":{"version":"1"}}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, replay, "* held true",
			strings.ReplaceAll(replay, "replay-1", "replay-2"), "* held true", "* resumed",
		}},
		{"what the client said before is said again, what can do no harm is asked again, what was cancelled is not", []string{
			"client " + clientInit, "server " + initAnswer, "client " + clientReady,
			`client {"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`, `server {"jsonrpc":"2.0","id":1,"result":{}}`,
			`client {"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:b"}}`, `server {"jsonrpc":"2.0","id":2,"result":{}}`,
			`client {"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"a:c"}}`, `server {"jsonrpc":"2.0","id":3,"result":{}}`,
			`client {"jsonrpc":"2.0","id":4,"method":"resources/unsubscribe","params":{"uri":"a:c"}}`, `server {"jsonrpc":"2.0","id":4,"result":{}}`,
			`client {"jsonrpc":"2.0","id":5,"method":"tools/list"}`,
			`client {"jsonrpc":"2.0","id":6,"method":"tools/list"}`,
			`client {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`,
			"replaced",
			`server {"jsonrpc":"2.0","id":"berth-replay-1","result":{"serverInfo":{"version":"1"}}}`,
			`server {"jsonrpc":"2.0","id":"berth-replay-2","result":{}}`,
			`server {"jsonrpc":"2.0","id":"berth-replay-3","result":{}}`,
			`server {"jsonrpc":"2.0","id":5,"result":{}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, "> " + clientReady,
			`> {"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`, `< {"jsonrpc":"2.0","id":1,"result":{}}`,
			`> {"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:b"}}`, `< {"jsonrpc":"2.0","id":2,"result":{}}`,
			`> {"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"a:c"}}`, `< {"jsonrpc":"2.0","id":3,"result":{}}`,
			`> {"jsonrpc":"2.0","id":4,"method":"resources/unsubscribe","params":{"uri":"a:c"}}`, `< {"jsonrpc":"2.0","id":4,"result":{}}`,
			`> {"jsonrpc":"2.0","id":5,"method":"tools/list"}`,
			`> {"jsonrpc":"2.0","id":6,"method":"tools/list"}`,
			`> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`,
			replay, "* held true", "* resumed", "> " + clientReady,
			`> {"jsonrpc":"2.0","id":"berth-replay-2","method":"logging/setLevel","params":{"level":"info"}}`,
			`> {"jsonrpc":"2.0","id":"berth-replay-3","method":"resources/subscribe","params":{"uri":"a:b"}}`,
			`> {"jsonrpc":"2.0","id":5,"method":"tools/list"}`,
			`< {"jsonrpc":"2.0","id":5,"result":{}}`,
		}},
		{"the new process refuses", []string{
			"client " + clientInit, "server " + initAnswer, "replaced",
			`server {"jsonrpc":"2.0","id":"berth-replay-1","error":{"code":-1,"message":"no"}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, replay, "* held true", `* over: server "x" refuses the client's handshake now: no (error -1)`,
		}},
		{"the new process is not what the last one was", []string{
			"client " + clientInit, "server " + initAnswer, "replaced",
			`server {"jsonrpc":"2.0","id":"berth-replay-1","result":{"serverInfo":{"name":"s","version":"2"}}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, replay, "* held true",
			`* over: server "x" is not what it was when its client shook hands with it`,
		}},
		{"the next gateway knows the session", []string{
			"client " + clientInit, `server {"jsonrpc":"2.0","method":"notifications/berth/session","params":{"id":"secret"}}`, "server " + initAnswer, "client " + clientReady,
			`client {"jsonrpc":"2.0","id":1,"method":"tools/list"}`, `client {"jsonrpc":"2.0","id":2,"method":"tools/call"}`,
			"replaced known", `server {"jsonrpc":"2.0","id":1,"result":{}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, "> " + clientReady,
			`> {"jsonrpc":"2.0","id":1,"method":"tools/list"}`, `> {"jsonrpc":"2.0","id":2,"method":"tools/call"}`,
			abandoned("2"), `> {"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "* held false", `< {"jsonrpc":"2.0","id":1,"result":{}}`,
		}},
		{"the gateway ends the session", []string{
			"client " + clientInit, "server " + initAnswer,
			`server {"jsonrpc":"2.0","method":"notifications/berth/ended","params":{"reason":"so it is"}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, `* over: server "x": so it is`,
		}},
		{"a process with state may not be another", []string{
			`server {"jsonrpc":"2.0","method":"notifications/berth/process","params":{"process":"one 1"}}`,
			"client " + clientInit, "server " + initAnswer, "replaced",
			`server {"jsonrpc":"2.0","method":"notifications/berth/process","params":{"process":"one 1"}}`,
			`server {"jsonrpc":"2.0","id":"berth-replay-1","result":{"serverInfo":{"version":"1"}}}`, "replaced",
			`server {"jsonrpc":"2.0","method":"notifications/berth/process","params":{"process":"one 2"}}`,
		}, []string{
			"> " + clientInit, "< " + initAnswer, replay, "* held true", "* resumed",
			strings.ReplaceAll(replay, "replay-1", "replay-2"), "* held true",
			`* over: server "x": its process has ended, and the state that it had for its client with it`,
		}},
		{"a listen is made again, acknowledged once, and told what may have been missed", []string{
			`client {"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}`, "server " + acknowledged, "replaced", "server " + acknowledged,
			`client {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"l"}}`,
			`client {"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}`, "server " + acknowledged,
		}, []string{
			`> {"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}`, "< " + acknowledged,
			`> {"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}`, "* held false",
			`< {"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}`,
			`< {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}`,
			`> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"l"}}`,
			`> {"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}`, "< " + acknowledged,
		}},
		{"a client without a handshake", []string{
			`client {"jsonrpc":"2.0","id":1,"method":"server/discover"}`, "replaced",
			`client {"jsonrpc":"2.0","id":2,"method":"tools/list"}`,
		}, []string{
			`> {"jsonrpc":"2.0","id":1,"method":"server/discover"}`, `> {"jsonrpc":"2.0","id":1,"method":"server/discover"}`, "* held false",
			`> {"jsonrpc":"2.0","id":2,"method":"tools/list"}`,
		}},
		{"answers to a gateway that is gone do not reach its successor", []string{
			`server {"jsonrpc":"2.0","id":1,"method":"roots/list"}`,
			`client {"jsonrpc":"2.0","id":"a","method":"tools/call"}`,
			"replaced",
			`client {"jsonrpc":"2.0","id":1,"result":{}}`,
			`server {"jsonrpc":"2.0","id":1,"method":"roots/list"}`,
			`client {"jsonrpc":"2.0","id":1,"result":{}}`,
		}, []string{
			`< {"jsonrpc":"2.0","id":1,"method":"roots/list"}`,
			`> {"jsonrpc":"2.0","id":"a","method":"tools/call"}`,
			abandoned(`"a"`), "* held false",
			`< {"jsonrpc":"2.0","id":1,"method":"roots/list"}`,
			`> {"jsonrpc":"2.0","id":1,"result":{}}`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, want := script(newSplice("x"), c.steps...), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestEveryRequestIsAnsweredOnce: whatever the gateway answers and whenever it is
// replaced, the client gets one answer to each request; what may do harm is never
// asked twice.
func TestEveryRequestIsAnsweredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSplice("x")
		open := map[int]bool{} // requests that the present gateway has
		answers, harmful := map[int]int{}, map[int]int{}
		sent := 0
		idOf := func(line []byte) (id int) {
			if _, err := fmt.Sscanf(string(line), `{"jsonrpc":"2.0","id":%d,`, &id); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return id
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"harmful", "harmless", "answer", "replaced"}).Draw(t, "step") {
			case "harmful":
				sent++
				s.fromClient(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call"}`, sent))
				open[sent] = true
				harmful[sent]++
			case "harmless":
				sent++
				s.fromClient(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`, sent))
				open[sent] = true
			case "answer":
				if len(open) == 0 {
					continue
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(open))).Draw(t, "which")
				if s.fromServer(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":{}}`, id)).forward {
					answers[id]++
				}
				delete(open, id)
			case "replaced":
				clear(open)
				errors, tell, _ := s.replaced("was replaced", false)
				for _, line := range errors {
					answers[idOf(line)]++
				}
				for _, line := range tell {
					open[idOf(line)] = true
					if harmful[idOf(line)] > 0 {
						harmful[idOf(line)]++
					}
				}
			}
		}
		for id := 1; id <= sent; id++ {
			want := 1
			if open[id] {
				want = 0
			}
			if answers[id] != want {
				t.Fatalf("request %d was answered %d times, want %d", id, answers[id], want)
			}
		}
		for id, n := range harmful {
			if n > 1 {
				t.Fatalf("request %d was made %d times", id, n)
			}
		}
	})
}

// What a gateway that was replaced has not begun is asked of the next one, once: if
// that ends as well, nobody knows what became of it.
func TestMovedRequests(t *testing.T) {
	const (
		call   = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}`
		later  = `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"t"}}`
		moving = `{"jsonrpc":"2.0","method":"notifications/berth/moved"}`
		hello  = `{"jsonrpc":"2.0","id":"berth-replay-1","method":"initialize","params":{"protocolVersion":"2025-11-25","x":9007199254740993}}`
		lost   = `"error":{"code":-32603,"message":"the gateway of server \"s\" was replaced; whether the request was carried out is not known"}}`
	)
	shaken := []string{"client " + clientInit, "server " + initAnswer, "client " + clientReady}
	for _, c := range []struct {
		name  string
		steps []string
		want  string
	}{
		{"the session is known", []string{"client " + call, "server " + moving, "client " + later, "replaced known", "replaced known"},
			"> " + call + "\n> " + later + "\n> " + call + "\n> " + later + "\n* held false\n< {\"jsonrpc\":\"2.0\",\"id\":7," + lost + "\n< {\"jsonrpc\":\"2.0\",\"id\":8," + lost + "\n* held false"},
		{"it is not", []string{"client " + call, "server " + moving, "replaced", "server " + strings.Replace(initAnswer, `"id":0`, `"id":"berth-replay-1"`, 1)},
			"> " + call + "\n> " + hello + "\n* held true\n* resumed\n> " + clientReady + "\n> " + call},
	} {
		s := newSplice("s")
		script(s, shaken...)
		if got := script(s, c.steps...); got != c.want {
			t.Errorf("%s:\n%s\nnot\n%s", c.name, got, c.want)
		}
	}
}
