//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/localca"
)

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"guest","version":"1"}}}`

// token makes a token.
func (b bench) token(name string, args ...string) string {
	b.Helper()
	return strings.TrimSpace(b.berth(append([]string{"token", "create", name}, args...)...))
}

// guarded is a gateway that asks for tokens, with the server "one".
func guarded(t *testing.T, args ...string) *httpGate {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	return b.gate(append([]string{"--listen", "127.0.0.1:0"}, args...)...)
}

// by has the guest show a token.
func (c *guest) by(token string) *guest {
	c.headers.Set("Authorization", "Bearer "+token)
	return c
}

// raw sends bytes on a connection of its own and returns the answer.
func (g *httpGate) raw(text string) (*http.Response, string) {
	g.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		g.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		g.Fatalf("%.200q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.Fatal(err)
	}
	return resp, string(body)
}

// Who may call: a token that works, in one header, and nothing else.
func TestCallersNeedTokens(t *testing.T) {
	g := guarded(t)
	ide := g.token("ide")
	revoked := g.token("revoked")
	g.berth("token", "revoke", "revoked")
	h, err := home.Open(g.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := h.CreateToken(berth.Token{Name: "expired", Expires: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	foreign := newBench(t).token("ide")
	wrong := ide[:len(ide)-1] + string('a'+('b'-ide[len(ide)-1])&1)

	post := func(path, headers string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + headers +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(initialize), initialize)
	}
	const path = "/servers/one/mcp"
	good := "Authorization: Bearer " + ide + "\r\n"
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"a token", post(path, good), 200},
		{"odd case", post(path, "aUTHORIZATION: bEARER "+ide+"\r\n"), 200},
		{"blanks around", post(path, "Authorization:   Bearer   "+ide+"  \r\n"), 200},
		{"none", post(path, ""), 401},
		{"an empty one", post(path, "Authorization: Bearer \r\n"), 401},
		{"a wrong one", post(path, "Authorization: Bearer "+wrong+"\r\n"), 401},
		{"in capitals", post(path, "Authorization: Bearer "+strings.ToUpper(ide)+"\r\n"), 401},
		{"one that was revoked", post(path, "Authorization: Bearer "+revoked+"\r\n"), 401},
		{"one that has expired", post(path, "Authorization: Bearer "+expired+"\r\n"), 401},
		{"another home's", post(path, "Authorization: Bearer "+foreign+"\r\n"), 401},
		{"the hash of one", post(path, "Authorization: Bearer "+fmt.Sprintf("%x", home.SumOf(ide))+"\r\n"), 401},
		{"two headers", post(path, good+good), 401},
		{"two headers, one in odd case", post(path, good+"authorization: Bearer x\r\n"), 401},
		{"the scheme twice", post(path, "Authorization: Bearer Bearer "+ide+"\r\n"), 401},
		{"a tab", post(path, "Authorization: Bearer\t"+ide+"\r\n"), 401},
		{"no scheme", post(path, "Authorization: "+ide+"\r\n"), 401},
		{"another scheme", post(path, "Authorization: Basic "+ide+"\r\n"), 401},
		{"another header", post(path, "Proxy-Authorization: Bearer "+ide+"\r\nX-Api-Key: "+ide+"\r\nCookie: token="+ide+"\r\n"), 401},
		{"a folded header", post(path, "Authorization: Bearer\r\n "+ide+"\r\n"), 200},
		{"a blank before the colon", post(path, "Authorization : Bearer "+ide+"\r\n"), 400},
		{"in the URL", post(path+"?access_token="+ide, ""), 400},
		{"in the URL, too", post(path+"?x="+ide, good), 400},
		{"in the path", post("/servers/"+ide+"/mcp", good), 400},
		{"as a user", post("http://x:"+ide+"@localhost"+path, ""), 401},
		{"somebody who says who it is", post(path, "Berth-Principal: token:ide\r\nBerth-Client: ide\r\n"), 401},
		{"a body that never comes", "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", 401},
		{"pieces that never come", "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 401},
		{"a server that is not there", post("/servers/two/mcp", ""), 401},
		{"the old stream", "GET /servers/one/sse HTTP/1.1\r\nHost: localhost\r\n\r\n", 401},
		{"lines", "GET /servers/one/lines HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: mcp-lines\r\n\r\n", 401},
		{"lines, with a token", "GET /servers/one/lines HTTP/1.1\r\nHost: localhost\r\n" + good + "Connection: Upgrade\r\nUpgrade: mcp-lines\r\n\r\n", 404},
		{"all servers", post("/mcp", ""), 401},
		{"the place of the gateway", "GET /handover HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: berth-handover\r\n\r\n", 401},
		{"no path", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"health", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		{"OAuth", "GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"OAuth of a path", "GET /.well-known/oauth-protected-resource" + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"OAuth's server", "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"OAuth's server of a path", "GET /.well-known/oauth-authorization-server" + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"OpenID", "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"OpenID below a path", "GET " + path + "/.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"a registration", "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"a page's", post(path, good+"Origin: https://evil.example\r\n"), 403},
	} {
		resp, body := g.raw(c.request)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, not %d: %s", c.name, resp.Status, c.status, body)
		}
		challenge := resp.Header.Values("WWW-Authenticate")
		if c.status != 401 {
			if len(challenge) != 0 {
				t.Errorf("%s: challenged by %q", c.name, challenge)
			}
			continue
		}
		if len(challenge) != 1 || challenge[0] != "Bearer" || !strings.Contains(body, "`berth token create NAME`") || !strings.Contains(body, "Authorization") && c.name != "one that has expired" {
			t.Errorf("%s: challenged by %q, told %s", c.name, challenge, body)
		}
		for _, secret := range []string{ide, expired, "servers", "testserver", g.dir} {
			if strings.Contains(body, secret) {
				t.Errorf("%s: told %q: %s", c.name, secret, body)
			}
		}
	}
	if _, body := g.raw(post(path+"?x="+ide, "")); !strings.Contains(body, "berth token revoke") {
		t.Errorf("a token in a URL: %s", body)
	}
	// Each way in which it is tried is on record, and no caller can fill the trail.
	said := g.berth("audit", "--outcome", "refused")
	for _, detail := range []string{
		"no token was shown, from 127.0.0.1\n", "the token is not known, was revoked, or is none of Berth's, from 127.0.0.1\n",
		"the token of \"expired\" has expired, from 127.0.0.1\n", "a token stood in the URL, from 127.0.0.1\n",
	} {
		if !strings.Contains(said, detail) {
			t.Errorf("on record is not %q:\n%s", detail, said)
		}
	}
	if n := strings.Count(said, " "+berth.ActionCallerRefused+" "); n < 4 || n > 12 {
		t.Errorf("%d records of some 30 callers that were refused:\n%s", n, said)
	}
	if text := g.say.String() + said + g.berth("audit", "--json"); strings.Contains(text, home.TokenPrefix) {
		t.Errorf("a token is said:\n%s", text)
	}
}

// What a token opened is its client's, goes on whatever is done to other tokens, and
// ends with it: new requests at once, streams within a second.
func TestTokensEnd(t *testing.T) {
	g := guarded(t)
	g.berth("add", "two", "--no-run", "--", "testserver")
	g.berth("config", "two", "--set", "berth.eras=legacy") // the gateway listens for its clients
	g.berth("profile", "create", "work", "--server", "one")
	ide, cli := g.token("ide"), g.token("cli", "--profile", "work")
	a, b := g.guest("one").by(ide).join(), g.guest("one").by(cli).join()
	line, _ := a.call("echo", `{"message":"hi"}`)
	works := func(c *guest) bool { return strings.Contains(c.must(line), `"text":"hi"`) }
	if !works(a) || !works(b) {
		t.Fatal("the calls fail")
	}
	// Another's session is none.
	thief := g.guest("one").by(cli)
	thief.headers.Set("Mcp-Session-Id", a.headers.Get("Mcp-Session-Id"))
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		if resp := thief.open(method, "/servers/one/mcp", line); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s in another's session: %s", method, resp.Status)
		}
	}
	g.berth("token", "list")
	g.token("third")
	g.berth("token", "revoke", "third")
	if !works(a) {
		t.Error("the session has ended, though others' tokens were changed")
	}

	// A token holds its client to its profile, also once that is gone.
	if resp := b.open(http.MethodPost, "/servers/two/mcp", initialize); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a server that the profile has not: %s", resp.Status)
	}

	const listen = `{"jsonrpc":"2.0","id":5,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + modernMeta + `}}`
	modern := g.guest("two").by(ide).modern()
	modern.headers.Set("Mcp-Method", "subscriptions/listen")
	streams := map[string]*http.Response{
		"a session's":     a.open(http.MethodGet, "/servers/one/mcp", ""),
		"a modern client": modern.open(http.MethodPost, "/servers/two/mcp", listen),
		"an old client":   g.guest("one").by(ide).open(http.MethodGet, "/servers/one/sse", ""),
	}
	// ends waits for the end of a stream whose token ended: a second, on a machine with
	// nothing else to do.
	ends := func(name string, resp *http.Response, at time.Time) {
		t.Helper()
		late := time.AfterFunc(time.Until(at.Add(5*time.Second)), func() {
			t.Errorf("the stream of %s goes on", name)
			resp.Body.Close()
		})
		_, _ = io.Copy(io.Discard, resp.Body)
		late.Stop()
		t.Logf("the stream of %s ended after %v", name, time.Since(at))
	}
	stays := b.open(http.MethodGet, "/servers/one/mcp", "")
	begun := time.Now()
	g.berth("token", "revoke", "ide")
	if resp := a.open(http.MethodPost, "/servers/one/mcp", line); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token that was revoked: %s", resp.Status)
	}
	for name, resp := range streams {
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", name, resp.Status)
		}
		ends(name, resp, begun)
	}
	if !works(b) {
		t.Error("another client's session has ended")
	}
	g.berth("profile", "remove", "work")
	if resp := b.open(http.MethodPost, "/servers/one/mcp", initialize); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a profile that is gone: %s", resp.Status)
	}
	begun = time.Now()
	g.berth("token", "revoke", "cli")
	ends("another client", stays, begun)

	// One that expires ends by itself.
	h, err := home.Open(g.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	brief, err := h.CreateToken(berth.Token{Name: "brief", Expires: time.Now().Add(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	resp := g.guest("one").by(brief).open(http.MethodGet, "/servers/one/sse", "")
	ends("who has a token for a second", resp, time.Now().Add(time.Second))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a token that is about to expire: %s", resp.Status)
	}
	if resp := g.guest("one").by(brief).open(http.MethodGet, "/servers/one/sse", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("one that has expired: %s", resp.Status)
	}
	for _, rec := range g.calls() {
		if c := rec.Call; c.Principal != "token:"+c.Caller || c.Caller != "ide" && c.Caller != "cli" || c.Client != "guest 1" {
			t.Errorf("a call is on record as %+v", c)
		}
	}
}

// open sends a request and returns the answer, whose body may go on.
func (c *guest) open(method, path, body string) *http.Response {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header = c.headers.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { resp.Body.Close() })
	return resp
}

// fds counts the open descriptors of the gateway, resident is its memory in bytes.
func (g *httpGate) fds() int {
	g.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		g.Fatal(err)
	}
	return len(all)
}

func (g *httpGate) resident() int64 {
	g.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.cmd.Process.Pid))
	if err != nil {
		g.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		g.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// sockets is how many of them are sockets.
func (g *httpGate) sockets() (n int) {
	g.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		g.Fatal(err)
	}
	for _, fd := range all {
		// One that was closed meanwhile is none.
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// backTo waits until the gateway has no more descriptors than before.
func (g *httpGate) backTo(fds int) {
	g.Helper()
	g.noMore("descriptors", g.fds, fds)
}

// noMore waits until the gateway has no more of something than before.
func (g *httpGate) noMore(what string, count func() int, before int) {
	g.Helper()
	for deadline := time.Now().Add(30 * time.Second); count() > before; {
		http.DefaultClient.CloseIdleConnections()
		if time.Now().After(deadline) {
			g.Fatalf("%d %s are open, %d were", count(), what, before)
		}
		if err := pause(g.Context(), 10*time.Millisecond); err != nil {
			g.Fatal(err)
		}
	}
}

// 10,000 bad requests get nothing in and leave nothing behind.
func TestBadRequests(t *testing.T) {
	g := guarded(t)
	ide := g.token("ide")
	line, _ := g.guest("one").call("echo", `{"message":"bad"}`)
	deep := strings.Repeat("[", 1<<16)
	kinds := []func(i int) (method, path, body, auth string){
		func(int) (string, string, string, string) { return "GET", "/servers/one/mcp", "", "" },
		func(i int) (string, string, string, string) {
			return "GET", "/servers/one/sse", "", "Bearer " + ide[:len(ide)-3] + fmt.Sprintf("%c%c2", 'a'+i%26, 'a'+i/26%26)
		},
		func(int) (string, string, string, string) { return "GET", "/servers/one/mcp?token=" + ide, "", "" },
		func(i int) (string, string, string, string) {
			return "GET", fmt.Sprintf("/servers/n%d/mcp", i), "", "Basic eDp5"
		},
		func(int) (string, string, string, string) {
			return "GET", "/.well-known/oauth-protected-resource", "", ""
		},
		func(int) (string, string, string, string) {
			return "DELETE", "/servers/one/mcp", "", "Bearer Bearer " + ide
		},
		func(int) (string, string, string, string) {
			return "POST", "/servers/one/mcp", line, "Bearer " + strings.Repeat("x", 4096)
		},
		func(int) (string, string, string, string) { return "POST", "/mcp", deep, "" },
	}
	send := func(n int) {
		var workers sync.WaitGroup
		for worker := range 4 {
			workers.Go(func() {
				var conn net.Conn
				var answers *bufio.Reader
				for i := worker; i < n; i += 4 {
					// Those with a body, which end their connection, are one in ten.
					kind := i % 6
					if i%10 == 9 {
						kind = 6 + i/10%2
					}
					method, path, body, auth := kinds[kind](i)
					if auth != "" {
						auth = "Authorization: " + auth + "\r\n"
					}
					if body != "" {
						auth += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
					}
					if conn == nil {
						var err error
						if conn, err = net.Dial("tcp", strings.TrimPrefix(g.url, "http://")); err != nil {
							t.Error(err)
							return
						}
						answers = bufio.NewReader(conn)
					}
					_, err := io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\n"+auth+"\r\n"+body)
					var resp *http.Response
					if err == nil {
						resp, err = http.ReadResponse(answers, nil)
					}
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
					switch {
					case err != nil && body == "": // who sends a body may find the connection closed
						t.Error(err)
						return
					case err == nil && (resp.StatusCode < 400 || resp.StatusCode >= 500):
						t.Errorf("%s %s: %s", method, path, resp.Status)
					}
					if err != nil || resp.Close {
						conn.Close()
						conn = nil
					}
				}
				if conn != nil {
					conn.Close()
				}
			})
		}
		workers.Wait()
	}
	sockets := g.sockets()
	send(500) // what is opened once is open: the audit trail, the watch of the settings
	g.noMore("sockets", g.sockets, sockets)
	fds := g.fds()
	memory := g.resident()
	begun := time.Now()
	send(10000)
	t.Logf("10,000 bad requests took %v", time.Since(begun))
	g.backTo(fds)
	grown := g.resident() - memory
	t.Logf("%d KiB more memory", grown>>10)
	if grown > 32<<20 { // the race detector keeps some for itself
		t.Errorf("%d MiB more memory", grown>>20)
	}
	if calls := g.calls(); len(calls) != 0 || g.status("one").Phase == berth.PhaseReady {
		t.Errorf("somebody got in: %+v", calls)
	}
	if c := g.guest("one").by(ide).join(); c.headers.Get("Mcp-Session-Id") == "" {
		t.Error("who has a token is not let in")
	}
}

// Who sends slowly, or too much, holds up nobody else.
func TestSlowAndLargeRequests(t *testing.T) {
	g := guarded(t)
	ide := g.token("ide")
	c := g.guest("one").by(ide).join()
	line, _ := c.call("echo", `{"message":"hi"}`)
	c.must(line) // the server is up
	fds := g.fds()
	const slow = 100
	conns := make([]net.Conn, slow)
	for i := range conns {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
		text := "GET /servers/one/mcp HTTP/1.1\r\nHost: localhost\r\nX: "
		if i%2 == 0 { // refused, and what follows is not awaited
			text = "POST /servers/one/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.must(line); !strings.Contains(got, `"text":"hi"`) {
		t.Errorf("while others are slow: %s", got)
	}
	for i := 0; i < slow; i += 2 {
		_ = conns[i].SetReadDeadline(time.Now().Add(20 * time.Second))
		all, err := io.ReadAll(conns[i])
		if err != nil && !errors.Is(err, syscall.ECONNRESET) || !bytes.HasPrefix(all, []byte("HTTP/1.1 401 ")) {
			t.Fatalf("a body that does not come: %.100q, %v", all, err)
		}
	}
	for i := 1; i < slow; i += 2 {
		conns[i].Close()
	}
	g.backTo(fds)

	deep := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100001)
	if resp := c.open(http.MethodPost, "/servers/one/mcp", deep); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a body that is too deep: %s", resp.Status)
	}
	// One that says how large it is is refused before it comes.
	resp, body := g.raw("POST /servers/one/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + ide + "\r\nContent-Length: 100000000000\r\n\r\n{")
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large: %s %s", resp.Status, body)
	}
	if got := c.must(line); !strings.Contains(got, `"text":"hi"`) {
		t.Errorf("afterwards: %s", got)
	}
}

// A client of the socket has the name that it says, also where another gateway goes
// on; by a port nobody is believed.
func TestProxyAs(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.up()
	p := b.proxy("--as", "ide", "one")
	p.shakeHands()
	p.echo(1, "first")
	next := b.gate("--replace")
	p.echo(2, "after an upgrade")
	b.kill(next.cmd.Process.Pid)
	p.send(`{"jsonrpc":"2.0","id":"list","method":"tools/list"}`) // which may be asked twice
	p.want(`"list"`, `"echo"`)
	p.echo(3, "after a kill")
	other := b.proxy("one")
	other.shakeHands()
	other.echo(1, "without a name")
	last := b.up()
	c := last.guest("one")
	c.headers.Set("Berth-Client", "ide")
	c.headers.Set("Berth-Principal", "token:ide")
	c.join()
	line, _ := c.call("echo", `{"message":"by a port"}`)
	c.must(line)
	own := fmt.Sprintf("uid:%d", os.Getuid())
	want := []string{own + " ide", own + " ide", own + " ide", own + " ", "anyone "}
	var got []string
	for _, rec := range b.calls() {
		got = append(got, rec.Call.Principal+" "+rec.Call.Caller)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the calls are those of %q, want %q", got, want)
	}
}

// By TLS: the home's CA, which stays, and one's own files. The gateway that goes on
// in the place of another has the same door.
func TestTLS(t *testing.T) {
	g := guarded(t, "--tls")
	ide := g.token("ide")
	ca := regexp.MustCompile(`by the CA (\S+)`).FindStringSubmatch(g.say.String())
	if ca == nil {
		t.Fatalf("it does not say where the CA is:\n%s", g.say)
	}
	pemCA, err := os.ReadFile(ca[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "ca.key"} {
		if info, err := os.Stat(filepath.Join(g.dir, "tls", name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pemCA)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	session := ""
	ask := func(url, host, line string) (*http.Response, string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/servers/one/mcp", strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + ide}}
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp, string(body)
	}
	resp, body := ask(g.url, "", initialize)
	if resp.StatusCode != http.StatusOK || resp.TLS == nil || resp.TLS.Version < tls.VersionTLS12 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if life := time.Until(resp.TLS.PeerCertificates[0].NotAfter); life > 72*time.Hour {
		t.Errorf("the certificate is good for %v", life)
	}
	session = resp.Header.Get("Mcp-Session-Id")
	if resp, _ := ask(g.url, "evil.example", initialize); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another machine's name: %s", resp.Status)
	}
	if machine, err := os.Hostname(); err == nil {
		if resp, _ := ask(g.url, machine, initialize); resp.StatusCode != http.StatusOK {
			t.Errorf("this machine's name: %s", resp.Status)
		}
	}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if resp, err := http.Get(strings.Replace(g.url, "https", "http", 1) + "/healthz"); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %v, %v", resp, err)
	}
	next := g.gate("--replace")
	if next.url != g.url {
		t.Errorf("it listens on %s, and another on %s in its place", g.url, next.url)
	}
	line, _ := g.guest("one").call("echo", `{"message":"hi"}`)
	if resp, body := ask(g.url, "", line); !strings.Contains(body, `"text":"hi"`) {
		t.Errorf("after an upgrade: %s %s", resp.Status, body)
	}
	ide = g.token("other")
	if resp, body := ask(g.url, "", line); resp.StatusCode != http.StatusNotFound {
		t.Errorf("after an upgrade, another's session: %s %s", resp.Status, body)
	}
}

// One's own certificate is shown, and the next once its files are others; while they
// are not in order, the last. The gateway that goes on in the place of another reads
// the same files.
func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	caCert, caKey, err := localca.New("a test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := localca.Open(caCert, caKey, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caCert)
	written := time.Now().Add(-time.Hour)
	write := func(cert, key []byte) {
		t.Helper()
		written = written.Add(time.Minute) // whatever the clock of the disk
		for file, data := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := errors.Join(os.WriteFile(file, data, 0o600), os.Chtimes(file, written, written)); err != nil {
				t.Fatal(err)
			}
		}
	}
	renew := func() (serial string) {
		t.Helper()
		leaf, err := ca.Leaf([]string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
		return leaf.Leaf.SerialNumber.String()
	}
	first := renew()
	g := guarded(t, "--tls-cert", certFile, "--tls-key", keyFile)
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := shown(); got != first {
		t.Errorf("%s is shown, not %s", got, first)
	}
	second := renew()
	if got := shown(); got != second {
		t.Errorf("%s is shown, not the second, %s", got, second)
	}
	write([]byte("nothing"), []byte("nothing"))
	if got := shown(); got != second {
		t.Errorf("%s is shown while the files are not in order", got)
	}
	third := renew()
	if got := shown(); got != third {
		t.Errorf("%s is shown once the files are in order, not the third, %s", got, third)
	}
	third = renew()
	next := g.gate("--replace")
	<-g.ended // until then either may answer
	if got := shown(); next.url != g.url || got != third {
		t.Errorf("%s shows %s, not the third, %s", next.url, got, third)
	}
	// A key that others may read is not read, and not served with.
	renew()
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != third {
		t.Errorf("%s is shown, of a key that others may read", got)
	}
	_, err = (&site{}).certificateOf(door{tlsCert: certFile, tlsKey: keyFile}, nil)
	if said := fmt.Sprint(err); !strings.Contains(said, "--tls-key: "+keyFile+": its mode 0644 lets others have the key") {
		t.Errorf("a key that others may read: %s", said)
	}
	var hinted *berth.Hinted
	if !errors.As(err, &hinted) || !strings.HasPrefix(hinted.Hint, "chmod 600 "+keyFile) {
		t.Errorf("a key that others may read, without a hint: %v", err)
	}
	if err := os.Chmod(keyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got == third {
		t.Error("what is shown is the last still, and the key is in order")
	}
}
