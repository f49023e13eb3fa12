//go:build linux

package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A long request passes at the address of many servers, while its server moves to
// another gateway, and when it has moved; one that is too long is refused at each.
func TestLongRequestMoves(t *testing.T) {
	st := newDuo(t, Settings{})
	var session string
	st.raise(allCaps, func() {
		r := st.must(200, http.MethodPost, "/mcp", strings.Replace(initialize, "%s", "2025-11-25", 1))
		session = r.Header.Get(headerSession)
	})
	long := strings.Repeat("x", 2<<20)
	call := func() <-chan string {
		got := make(chan string, 1)
		go func() {
			got <- st.read(st.must(200, http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"singer_x","arguments":{"x":"`+long+`"}}}`, headerSession, session, "Accept", "application/json"))
		}()
		return got
	}
	// sung has the singer hear the call, by the name that it knows, and answer it.
	sung := func(when string, got <-chan string, before func()) {
		t.Helper()
		line, _ := st.singer.hear()
		head, tail, ok := strings.Cut(line, long)
		if !ok || !st.singer.matches(`{"jsonrpc":"2.0","id":"$`+when+`","method":"tools/call","params":{"name":"x","arguments":{"x":"`, head) || tail != `"}}}` {
			t.Fatalf("%s, the server hears %.200q", when, line)
		}
		before()
		st.singer.say(`{"jsonrpc":"2.0","id":"$` + when + `","result":{"n":1}}`)
		if body := <-got; body != `{"jsonrpc":"2.0","id":1,"result":{"n":1}}` {
			t.Errorf("%s, the call is answered %.200q", when, body)
		}
	}
	tooLong := func(when string) {
		t.Helper()
		body := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"singer_x","_meta":{"x":"` + tooMuch + `"}}}`
		if got := st.read(st.must(413, http.MethodPost, "/mcp", body, headerSession, session)); !strings.Contains(got, `"id":7`) || !strings.Contains(got, "may have 16777216 bytes") {
			t.Errorf("%s, what is too long is answered %.200q", when, got)
		}
	}

	heir, to, _ := st.heirOfWorld()
	handed := make(chan error, 1)
	var second <-chan string
	sung("before", call(), func() {
		tooLong("before")
		go func() { handed <- st.g.HandOver(t.Context(), to) }()
		st.closes(jointMark)
		second = call()
	})
	sung("meanwhile", second, func() {})
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
	sung("afterwards", call(), func() {})
	tooLong("afterwards")
	for _, g := range []*Gateway{st.g, heir} {
		for deadline := time.Now().Add(patience); g.spool.Used() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes are kept", g.spool.Used())
			}
		}
	}
}
