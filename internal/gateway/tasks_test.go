//go:build linux

package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A task is known to no other principal, by HTTP either: not while the session
// lives that made it, and not when that has ended, which leaves it to its principal.
func TestTaskIsOfOnePrincipal(t *testing.T) {
	w, puppets := newPuppetWorld(t, Settings{})
	var maker *visitor
	p := meet(puppets, `{"tools":{},"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}`, func() { maker = w.visit("2025-11-25") })
	// By the socket it is another principal than by the port.
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", w.socket) }}
	defer tr.CloseIdleConnections()
	stranger := &http.Client{Transport: tr, Timeout: 5 * time.Second} // nothing that it asks is anyone's to answer but the gateway's
	session := ""
	ask := func(body string) string {
		t.Helper()
		req, err := http.NewRequest("POST", "http://berth/servers/dancer/mcp", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {bothKinds}}
		if session != "" {
			req.Header.Set(headerSession, session)
		}
		resp, err := stranger.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if session == "" {
			session = resp.Header.Get(headerSession)
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	ask(strings.Replace(initialize, "%s", "2025-11-25", 1))

	made := make(chan string, 1)
	go func() {
		made <- w.read(maker.post(http.StatusOK, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"long","task":{}}}`))
	}()
	p.want(`{"jsonrpc":"2.0","id":"$call","method":"tools/call","params":{"name":"long","task":{}}}`)
	p.say(`{"jsonrpc":"2.0","id":"$call","result":{"task":{"taskId":"T","status":"working"}}}`)
	if answer := <-made; !strings.Contains(answer, `"taskId":"T"`) {
		t.Fatal(answer)
	}
	unknown := func() {
		t.Helper()
		for _, method := range []string{"tasks/get", "tasks/result", "tasks/cancel"} {
			if answer := ask(`{"jsonrpc":"2.0","id":2,"method":"` + method + `","params":{"taskId":"T"}}`); !strings.Contains(answer, errNoTask.Message) {
				t.Errorf("%s of another principal's task: %s", method, answer)
			}
		}
	}
	known := func(v *visitor) {
		t.Helper()
		got := make(chan string, 1)
		go func() {
			got <- w.read(v.post(http.StatusOK, `{"jsonrpc":"2.0","id":3,"method":"tasks/get","params":{"taskId":"T"}}`))
		}()
		// It is the first that the server hears: it heard nothing of the others.
		id := `"$get` + v.session[:4] + `"`
		p.want(`{"jsonrpc":"2.0","id":` + id + `,"method":"tasks/get","params":{"taskId":"T"}}`)
		p.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"taskId":"T","status":"working"}}`)
		if answer := <-got; !strings.Contains(answer, `"status":"working"`) {
			t.Errorf("its own task: %s", answer)
		}
	}
	unknown()
	known(maker)
	heir := w.visit("2025-11-25")
	w.must(http.StatusNoContent, http.MethodDelete, "/servers/dancer/mcp", "", maker.headers(nil)...)
	unknown()
	known(heir)
}
