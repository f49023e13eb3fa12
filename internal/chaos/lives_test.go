//go:build linux

package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/released"
)

// TestGatewayDies: a SIGKILL of the gateway ends no session and no server.
func TestGatewayDies(t *testing.T) {
	bin := released.Build(t)
	for _, eras := range []string{"legacy", "modern"} {
		t.Run("sessions/"+eras, func(t *testing.T) { gatewayDiesIdle(t, bin, eras) })
	}
	t.Run("in flight", func(t *testing.T) { gatewayDiesInFlight(t, bin) })
	t.Run("asking", func(t *testing.T) { gatewayDiesAsking(t, bin) })
	t.Run("with the server", func(t *testing.T) { bothDie(t, bin) })
	for _, eras := range []string{"legacy", "modern"} {
		t.Run("proxies/"+eras, func(t *testing.T) { proxiesGoOn(t, bin, eras) })
	}
	t.Run("leftovers", func(t *testing.T) { gatewayLeaves(t, bin) })
}

func gatewayDiesIdle(t *testing.T, bin, eras string) {
	p := newPier(t, bin, eras)
	legacy, gone, modern := p.legacy(), p.legacy(), p.modern()
	legacy.ask("logging/setLevel", `"level":"warning"`)
	legacy.ask("resources/subscribe", `"uri":"a:b"`)
	legacy.ask("resources/subscribe", `"uri":"a:c"`)
	legacy.ask("resources/unsubscribe", `"uri":"a:c"`)
	if r, err := gone.request(http.MethodDelete, ""); err != nil || r.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %v %v", r, err)
	}
	pid := legacy.tool("pid", "")
	if other := modern.tool("pid", ""); other != pid {
		t.Fatalf("two clients have the processes %s and %s", pid, other)
	}
	before := p.status("one")

	p.gw.Kill()
	p.again()

	if now := legacy.tool("pid", ""); now != pid {
		t.Errorf("the legacy client's process was %s and is %s", pid, now)
	}
	if now := modern.tool("pid", ""); now != pid {
		t.Errorf("the modern client's process was %s and is %s", pid, now)
	}
	if now := p.status("one"); now.PID != before.PID || now.Restarts != 0 || now.Generation != before.Generation {
		t.Errorf("the server was %+v and is %+v", before, now)
	}
	if eras == "legacy" {
		if level := legacy.tool("level", ""); level != "warning" {
			t.Errorf("the server's level is %q", level)
		}
	}
	news := legacy.open(http.MethodGet, "")
	legacy.tool("touch", `"uri":"a:b"`)
	news.await(t, `"uri":"a:b"`)
	if status, _ := gone.ask("ping", ""); status != http.StatusNotFound {
		t.Errorf("a session that was ended has status %d", status)
	}
	stranger := p.legacy()
	stranger.session = legacy.session[:len(legacy.session)-1] + "x"
	if status, _ := stranger.ask("ping", ""); status != http.StatusNotFound {
		t.Errorf("a session that never was has status %d", status)
	}
	notInTheHome(t, p.Home, legacy.session)
}

// notInTheHome fails if a file of the home holds a session's id, or can be read
// by other users.
func notInTheHome(t *testing.T, dir, id string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), id) {
			t.Errorf("%s holds the id of a session", path)
		}
		if info, err := d.Info(); err == nil && strings.HasSuffix(path, ".journal") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// gatewayDiesInFlight: a client that comes back for the answer to a call is told
// that it may have happened.
func gatewayDiesInFlight(t *testing.T, bin string) {
	p := newPier(t, bin, "legacy")
	c := p.legacy()
	line, headers := c.line("tools/call", `"name":"sleep","arguments":{"for":"1h"}`)
	stream := c.open(http.MethodPost, line, headers...)
	first, err := stream.next()
	if err != nil || first.id == "" {
		t.Fatalf("the stream began with %+v, %v", first, err)
	}
	news := c.open(http.MethodGet, "")
	general, err := news.next()
	if err != nil || general.id == "" {
		t.Fatalf("the other stream began with %+v, %v", general, err)
	}
	pid := p.status("one").PID

	p.gw.Kill()
	if e, err := stream.next(); err == nil {
		t.Errorf("after the end of the gateway came %+v", e)
	}
	p.again()

	rest := c.open(http.MethodGet, "", "Last-Event-ID", first.id)
	answer, err := jsonrpc.Parse([]byte(rest.await(t, `"id"`).data))
	if err != nil || string(answer.ID) != "1" || answer.Kind != jsonrpc.ErrorResponse || !strings.Contains(string(answer.Error), "whether the request was carried out is not known") {
		t.Errorf("the answer is %s %s: %v", answer.ID, answer.Error, err)
	}
	if e, err := rest.next(); err == nil {
		t.Errorf("after the answer came %+v", e)
	}
	// The stream for everything else goes on with that id.
	news = c.open(http.MethodGet, "", "Last-Event-ID", general.id)
	c.ask("resources/subscribe", `"uri":"a:b"`)
	c.tool("touch", `"uri":"a:b"`)
	news.await(t, `"uri":"a:b"`)
	if now := p.status("one").PID; now != pid {
		t.Errorf("the server was process %d and is %d", pid, now)
	}
}

// gatewayDiesAsking: a call that waits for what the client was asked does not wait
// for ever.
func gatewayDiesAsking(t *testing.T, bin string) {
	p := newPier(t, bin, "legacy")
	c := p.legacy()
	line, headers := c.line("tools/call", `"name":"ask","arguments":{}`)
	stream := c.open(http.MethodPost, line, headers...)
	asked, err := jsonrpc.Parse([]byte(stream.await(t, "elicitation/create").data))
	if err != nil {
		t.Fatal(err)
	}
	p.gw.Kill()
	p.again()
	p.await("heard", "the gateway that asked the client was ended", 1)
	p.await("heard", "notifications/cancelled", 1)

	// The client's late answer is not that to another question.
	line, headers = c.line("tools/call", `"name":"ask","arguments":{}`)
	stream = c.open(http.MethodPost, line, headers...)
	again, err := jsonrpc.Parse([]byte(stream.await(t, "elicitation/create").data))
	if err != nil {
		t.Fatal(err)
	}
	c.post(`{"jsonrpc":"2.0","id":` + string(asked.ID) + `,"result":{"action":"late"}}`).Body.Close()
	c.post(`{"jsonrpc":"2.0","id":` + string(again.ID) + `,"result":{"action":"timely"}}`).Body.Close()
	if e := stream.await(t, `"content"`); !strings.Contains(e.data, "timely") || strings.Contains(e.data, "late\"") {
		t.Errorf("the server was answered %s", e.data)
	}
}

// bothDie: a session goes on with another process if that is the same server.
func bothDie(t *testing.T, bin string) {
	for _, c := range []struct {
		name, instructions, config string
		status                     int
	}{
		{"same", "", "", http.StatusOK},
		{"changed", "be quick", "", http.StatusNotFound},
		{"with state", "", "berth.on-crash=end-session", http.StatusNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			var config []string
			if c.config != "" {
				config = append(config, c.config)
			}
			p := newPier(t, bin, "legacy", config...)
			legacy := p.legacy()
			pid := legacy.tool("pid", "")
			p.gw.Kill()
			p.write("instructions", c.instructions)
			p.newProcess()
			p.again()
			if c.status == http.StatusOK {
				if now := legacy.tool("pid", ""); now == pid {
					t.Errorf("the process is still %s", pid)
				}
				return
			}
			if status, m := legacy.ask("tools/list", ""); status != c.status {
				t.Errorf("status %d, %s", status, m.Error)
			}
			legacy.initialize()
			legacy.tool("pid", "")
		})
	}
}

// proxiesGoOn: a proxy says to the next gateway what its client has said to the
// last one.
func proxiesGoOn(t *testing.T, bin, eras string) {
	p := newPier(t, bin, eras)
	legacy, modern := p.proxy("one"), p.proxy("one")
	legacy.shake()
	legacy.send(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"warning"}}`)
	legacy.want(`"id":1`)
	legacy.send(`{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:b"}}`)
	legacy.want(`"id":2`)
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	modern.send(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{` + meta + `,"notifications":{"resourceSubscriptions":["a:b"]}}}`)
	modern.want("acknowledged")
	before := p.status("one")

	p.gw.Kill()
	p.again() // or a gateway in the background that one of the proxies starts, and then this

	legacy.send(`{"jsonrpc":"2.0","id":3,"method":"ping"}`)
	legacy.want(`"id":3`)
	modern.send(`{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{` + meta + `}}`)
	modern.want(`"id":4`)
	legacy.send(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"touch","arguments":{"uri":"a:b"}}}`)
	legacy.want(`"a:b"`)
	if line := modern.want(`"l"`); !strings.Contains(line, `"a:b"`) {
		t.Errorf("the client was told %s", line)
	}
	if now := p.status("one"); now.PID != before.PID || now.Restarts != 0 {
		t.Errorf("the server was %+v and is %+v", before, now)
	}
	for _, x := range []*proxied{legacy, modern} {
		x.in.Close()
		if err := x.cmd.Wait(); err != nil {
			t.Errorf("a proxy ended with %v\n%s", err, &x.err)
		}
	}
}

// gatewayLeaves: a session has its own process with the next gateway, too; one
// that is no session's is stopped.
func gatewayLeaves(t *testing.T, bin string) {
	p := newPier(t, bin, "legacy", "berth.isolation=session")
	proxy := p.proxy("one")
	proxy.shake()
	c := p.legacy()
	for _, own := range []string{"one~s1", "one~s2"} {
		if p.status(own).PID == 0 {
			t.Fatalf("%s does not run", own)
		}
	}
	pidOf := func(x *proxied, id string) string {
		t.Helper()
		x.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"pid","arguments":{}}}`)
		m, err := jsonrpc.Parse([]byte(x.want(`"id":` + id)))
		if err != nil {
			t.Fatal(err)
		}
		return text(m)
	}
	proxys, sessions := pidOf(proxy, "1"), c.tool("pid", "")
	if proxys == sessions {
		t.Errorf("both have the process %s", proxys)
	}
	p.gw.Kill()
	p.again()
	if now := pidOf(proxy, "2"); now != proxys {
		t.Errorf("the proxy's process was %s and is %s", proxys, now)
	}
	if now := c.tool("pid", ""); now != sessions {
		t.Errorf("the session's process was %s and is %s", sessions, now)
	}
	stopped := func(own string) {
		t.Helper()
		eventually(t, func() bool { return p.status(own).Status == berth.Stopped }, func() string { return own + " stopped" })
	}
	proxy.in.Close()
	stopped("one~s1")

	p.gw.Kill()
	if err := os.Remove(filepath.Join(p.Home, "run", "gateway.journal")); err != nil {
		t.Fatal(err)
	}
	p.again()
	stopped("one~s2")
	if status, _ := c.ask("ping", ""); status != http.StatusNotFound {
		t.Errorf("a session that nobody knows has status %d", status)
	}
	c.initialize()
	c.tool("pid", "")
}

// proxied is a client of `berth proxy`.
type proxied struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err strings.Builder
}

// proxy starts berth proxy for a server, or for all without one.
func (p *pier) proxy(server ...string) *proxied {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	x := &proxied{t: p.t, cmd: exec.CommandContext(ctx, p.Bin, append([]string{"--home", p.Home, "proxy"}, server...)...)}
	x.cmd.Env = append(os.Environ(), "BERTH_ALLOW_NETWORK_HOME=1")
	x.cmd.Stderr = &x.err
	x.cmd.WaitDelay = 10 * time.Second
	in, err1 := x.cmd.StdinPipe()
	out, err2 := x.cmd.StdoutPipe()
	if err := x.cmd.Start(); err1 != nil || err2 != nil || err != nil {
		p.t.Fatal(err1, err2, err)
	}
	p.t.Cleanup(func() {
		in.Close()
		_ = x.cmd.Wait() // it may have been waited for
		cancel()
	})
	x.in, x.out = in, bufio.NewScanner(out)
	x.out.Buffer(nil, muchSize+1<<20)
	return x
}

func (x *proxied) send(line string) {
	x.t.Helper()
	if _, err := io.WriteString(x.in, line+"\n"); err != nil {
		x.t.Fatal(err)
	}
}

// want reads lines until one has some text in it. A proxy that does not say it within
// a minute is ended.
func (x *proxied) want(part string) string {
	x.t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = x.cmd.Process.Kill() })
	defer late.Stop()
	var said strings.Builder
	for x.out.Scan() {
		if strings.Contains(x.out.Text(), part) {
			return x.out.Text()
		}
		fmt.Fprintf(&said, "%.300s\n", x.out.Text())
	}
	x.t.Fatalf("no line with %q, but\n%s\n%s", part, &said, &x.err)
	return ""
}

func (x *proxied) shake() {
	x.t.Helper()
	x.send(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	x.want(`"id":0`)
	x.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}
