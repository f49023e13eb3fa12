//go:build linux

package chaos

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/released"
)

// TestServerDies: a SIGKILL of a server's process ends no session, and what was
// asked of it is answered, by the next process or with the truth.
func TestServerDies(t *testing.T) {
	bin := released.Build(t)
	// Each has a home of its own: restarts that follow one another take longer
	// and longer.
	for _, eras := range []string{"legacy", "modern"} {
		t.Run("sessions/"+eras, func(t *testing.T) { serverDiesIdle(t, bin, eras) })
		for _, by := range []string{"legacy", "modern"} {
			t.Run("reads/"+eras+" by "+by, func(t *testing.T) { serverDiesReading(t, bin, eras, by) })
			t.Run("calls/"+eras+" by "+by, func(t *testing.T) { serverDiesCalled(t, bin, eras, by) })
		}
	}
	t.Run("retry", func(t *testing.T) { serverDiesRetry(t, bin) })
	t.Run("asking", func(t *testing.T) { serverDiesAsking(t, bin) })
	t.Run("changed", func(t *testing.T) {
		serverIsAnother(t, newPier(t, bin, "legacy"), "replaced by one that says something else")
	})
	t.Run("with state", func(t *testing.T) {
		serverIsAnother(t, newPier(t, bin, "legacy", "berth.on-crash=end-session"), "the state of its sessions with it")
	})
}

func serverDiesIdle(t *testing.T, bin, eras string) {
	p := newPier(t, bin, eras)
	legacy, modern := p.legacy(), p.modern()
	legacy.ask("logging/setLevel", `"level":"warning"`)
	legacy.ask("resources/subscribe", `"uri":"a:b"`)
	news := legacy.open(http.MethodGet, "")
	line, headers := modern.line("subscriptions/listen", `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}`)
	listen := modern.open(http.MethodPost, line, headers...)
	listen.await(t, "acknowledged")
	pid := legacy.tool("pid", "")

	p.newProcess()
	// Who waits for news hears it from the new process, without a request.
	news.await(t, "tools/list_changed")
	if now := legacy.tool("pid", ""); now == pid {
		t.Errorf("the process is still %s", pid)
	}
	modern.tool("touch", `"uri":"a:b"`)
	news.await(t, `"uri":"a:b"`)
	listen.await(t, `"uri":"a:b"`)
	if level := legacy.tool("level", ""); level != "warning" && eras == "legacy" {
		t.Errorf("the new process has the level %q", level)
	}
}

// of is a client of an era.
func (p *pier) of(era string) *client {
	p.t.Helper()
	if era == "modern" {
		return p.modern()
	}
	return p.legacy()
}

// serverDiesReading: what can do no harm is asked again, once.
func serverDiesReading(t *testing.T, bin, eras, by string) {
	p := newPier(t, bin, eras)
	c := p.of(by)
	p.write("hang-read", "")
	answer := make(chan jsonrpc.Message)
	read := func() {
		_, m := c.ask("resources/read", `"uri":"a:b"`)
		answer <- m
	}
	go read()
	p.await("ran", "read", 1)
	p.remove("hang-read")
	p.newProcess()
	if m := <-answer; m.Kind != jsonrpc.Response {
		t.Errorf("the answer is %s", m.Error)
	}
	if n := strings.Count(p.said("ran"), "read"); n != 2 {
		t.Errorf("it was asked %d times", n)
	}

	p.write("hang-read", "")
	go read()
	for n := range 2 {
		p.await("ran", "read", 3+n)
		p.newProcess()
	}
	if m := <-answer; m.Kind != jsonrpc.ErrorResponse || strings.Contains(string(m.Error), "is not known") {
		t.Errorf("the answer is %s%s", m.Result, m.Error)
	}
}

// serverDiesCalled: what may do harm is not asked again.
func serverDiesCalled(t *testing.T, bin, eras, by string) {
	p := newPier(t, bin, eras)
	c := p.of(by)
	p.write("hang-run", "")
	answer := make(chan jsonrpc.Message)
	go func() {
		_, m := c.ask("tools/call", `"name":"run","arguments":{}`)
		answer <- m
	}()
	p.await("ran", "run", 1)
	p.remove("hang-run")
	p.newProcess()
	if m := <-answer; !strings.Contains(string(m.Error), "whether the request was carried out is not known") {
		t.Errorf("the answer is %s%s", m.Result, m.Error)
	}
	c.tool("pid", "")
	if n := strings.Count(p.said("ran"), "run"); n != 1 {
		t.Errorf("it was run %d times", n)
	}
}

// serverDiesRetry: a tool that its user allows to be called again is, unless the
// client has heard of the first call.
func serverDiesRetry(t *testing.T, bin string) {
	p := newPier(t, bin, "legacy", "berth.retry-tools=ru*,echo")
	for _, c := range []*client{p.legacy(), p.modern()} {
		for _, progress := range []bool{false, true} {
			ran := strings.Count(p.said("ran"), "run")
			p.write("hang-run", "")
			answer := make(chan jsonrpc.Message)
			members := `"name":"run","arguments":{}`
			if progress && c.session != "" {
				members += `,"_meta":{"progressToken":"p"}`
			} else if progress {
				continue
			}
			go func() {
				_, m := c.ask("tools/call", members)
				answer <- m
			}()
			p.await("ran", "run", ran+1)
			p.remove("hang-run")
			p.newProcess()
			m, times := <-answer, strings.Count(p.said("ran"), "run")-ran
			if progress && (times != 1 || m.Kind != jsonrpc.ErrorResponse) || !progress && (times != 2 || text(m) != "ran") {
				t.Errorf("with progress %t it was run %d times: %s%s", progress, times, m.Result, m.Error)
			}
		}
	}
}

// serverDiesAsking: what the server asked the client is withdrawn.
func serverDiesAsking(t *testing.T, bin string) {
	p := newPier(t, bin, "legacy")
	c := p.legacy()
	line, headers := c.line("tools/call", `"name":"ask","arguments":{}`)
	stream := c.open(http.MethodPost, line, headers...)
	asked, err := jsonrpc.Parse([]byte(stream.await(t, "elicitation/create").data))
	if err != nil {
		t.Fatal(err)
	}
	p.newProcess()
	stream.await(t, fmt.Sprintf(`"requestId":%s`, asked.ID))
	stream.await(t, "whether the request was carried out is not known")
	c.tool("pid", "")
}

// serverIsAnother: where the new process is not the server that its clients know,
// they have to begin anew, and are told.
func serverIsAnother(t *testing.T, p *pier, why string) {
	c, proxy := p.legacy(), p.proxy("one")
	proxy.shake()
	news := c.open(http.MethodGet, "")
	p.write("instructions", "be quick")
	p.newProcess()
	p.modern().ask("tools/list", "") // which has the gateway know the new process
	if status, m := c.ask("tools/list", ""); status != http.StatusNotFound {
		t.Errorf("status %d: %s%s", status, m.Result, m.Error)
	}
	for {
		if _, err := news.next(); err != nil {
			break // the stream has ended
		}
	}
	for proxy.out.Scan() {
		t.Errorf("the proxy wrote %s", proxy.out.Text())
	}
	if err := proxy.cmd.Wait(); err == nil || !strings.Contains(proxy.err.String(), why) {
		t.Errorf("the proxy ended with %v\n%s", err, &proxy.err)
	}
	c.initialize()
	c.tool("pid", "")
}
