package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/netns"
	"golang.org/x/sys/unix"
)

// designs are run by most tests.
var designs = map[string]string{"namespace": roleInside, "notify": roleNotify}

func both(t *testing.T, test func(t *testing.T, role string)) {
	for name, role := range designs {
		t.Run(name, func(t *testing.T) { test(t, role) })
	}
}

// TestAddresses: a public name does not lead into the user's network, whatever it
// resolves to; what a grant names does.
func TestAddresses(t *testing.T) {
	both(t, func(t *testing.T, role string) {
		for _, c := range []struct {
			grant, host, addr, ask string
			ok                     bool
			violation              string
		}{
			{"network:example.com:7000", "example.com", "93.184.216.34", "example.com:7000", true, ""},
			{"network:*:7000", "example.com", "93.184.216.34", "example.com:7000", true, ""},
			{"network:*.example.com:7000", "a.example.com", "93.184.216.34", "a.example.com:7000", true, ""},
			{"network:example.com:7000", "example.com", "2606:4700::1111", "example.com:7000", true, ""},
			{"network:example.com:7000", "example.com", "10.0.0.1", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "127.0.0.1", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "::1", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "169.254.169.254", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "100.64.1.1", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "::ffff:10.0.0.1", "example.com:7000", false, "example.com"},
			{"network:example.com:7000", "example.com", "64:ff9b::a00:1", "example.com:7000", false, "example.com"},
			{"network:*:7000", "db.internal", "10.0.0.1", "db.internal:7000", false, "db.internal"},
			{"network:db.internal:7000", "db.internal", "10.0.0.1", "db.internal:7000", true, ""},
			{"network:10.0.0.1:7000", "", "10.0.0.1", "10.0.0.1:7000", true, ""},
			{"network:10.0.0.1:7000", "", "10.0.0.2", "10.0.0.2:7000", false, "10.0.0.2"},
			{"network:[2606:4700::1111]:7000", "", "2606:4700::1111", "[2606:4700::1111]:7000", true, ""},
			{"network:[2606:4700::1111]:7000", "", "2606:4700::1112", "[2606:4700::1112]:7000", false, "2606:4700::1112"},
			{"network:localhost:7000", "", "127.0.0.1", "localhost:7000", true, ""},
			{"network:localhost:7000", "", "127.0.0.1", "127.0.0.1:7000", true, ""},
			{"network:localhost:7000", "", "127.0.0.1", "[::1]:7000", true, ""},
			{"network:localhost:7000", "", "::1", "127.0.0.1:7000", true, ""},
			{"network:127.0.0.1:7000", "", "127.0.0.1", "[::1]:7000", false, "::1"},
			{"network:example.com:7000", "", "127.0.0.1", "127.0.0.1:7000", false, "127.0.0.1"},
		} {
			t.Run(c.grant+" "+c.ask+" at "+c.addr, func(t *testing.T) {
				w := newWorld(t, c.grant)
				w.host(c.host, c.addr, 7000, echo(t))
				out, ok := w.probe(role, "echo", c.ask)
				if ok != c.ok {
					t.Errorf("%v: %s; dialled %v", ok, out, w.dials())
				}
				if !c.ok {
					if d := w.dials(); len(d) > 0 {
						t.Errorf("dialled %v", d)
					}
					w.violated(c.violation, 7000)
				}
			})
		}
	})
}

// TestRebinding: what is dialled is what was checked, though the name leads elsewhere
// by then; and an address that is refused is not tried beside one that is not.
func TestRebinding(t *testing.T) {
	w := newWorld(t, "network:example.com:7000")
	w.host("example.com", "10.0.0.1", 7000, echo(t))
	w.host("example.com", "93.184.216.34", 7000, echo(t))
	resolve := w.config.Resolve
	w.config.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
		found, err := resolve(ctx, name)
		w.mu.Lock()
		w.hosts[name] = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		w.mu.Unlock()
		return found, err
	}
	if out, ok := w.probe(roleInside, "echo", "example.com:7000"); !ok {
		t.Error(out)
	}
	if d := w.dials(); len(d) != 1 || d[0] != netip.MustParseAddrPort("93.184.216.34:7000") {
		t.Errorf("dialled %v", d)
	}
	if w.asked["example.com"] != 1 {
		t.Errorf("it was resolved %d times", w.asked["example.com"])
	}
}

// TestHoles: other ways out of the namespace. Whatever the program is told, nothing is
// dialled, and it is seen.
func TestHoles(t *testing.T) {
	for _, c := range []struct {
		probe, to string
		host      string
		port      uint16
	}{
		{"udp", "93.184.216.34:443", "93.184.216.34", 443},
		{"udp", "[2606:4700::1111]:443", "2606:4700::1111", 443},
		{"fastopen", "93.184.216.34:443", "93.184.216.34", 443},
		{"mptcp", "93.184.216.34:443", "93.184.216.34", 443},
		{"echo", "93.184.216.34:8443", "93.184.216.34", 8443},
		{"echo", "[2606:4700::1111]:8443", "2606:4700::1111", 8443},
		{"echo", "[2606:4700::1111]:443", "2606:4700::1111", 443},
		{"echo", "[::ffff:93.184.216.34]:443", "93.184.216.34", 443},
		{"echo", "example.com:8443", "example.com", 8443},
		{"echo", "example.com:80", "example.com", 80},
		{"echo", "secret.example.org:443", "secret.example.org", 443},
		{"echo", "secret.example.org:8443", "secret.example.org", 8443},
	} {
		t.Run(c.probe+" "+c.to, func(t *testing.T) {
			w := newWorld(t, "network:example.com:443")
			w.host("example.com", "93.184.216.34", 443, echo(t))
			out, ok := w.probe(roleInside, c.probe, c.to)
			if ok && c.probe != "udp" {
				t.Errorf("it succeeded: %s", out)
			}
			if d := w.dials(); len(d) > 0 {
				t.Errorf("dialled %v", d)
			}
			w.violated(c.host, c.port)
		})
	}
}

// TestNothingGranted: all is refused, and told.
func TestNothingGranted(t *testing.T) {
	both(t, func(t *testing.T, role string) {
		for _, c := range []struct {
			probe []string
			host  string
			port  uint16
		}{
			{[]string{"echo", "93.184.216.34:443"}, "93.184.216.34", 443},
			{[]string{"echo", "example.com:443"}, "example.com", 443},
			{[]string{"echo", "example.com:8443"}, "example.com", 8443},
			{[]string{"dns", "tcp", "9.9.9.9:53", "example.com"}, "example.com", 0},
			{[]string{"raw", ProxyAddr, `CONNECT example.com:443 HTTP/1.1\r\n\r\n`}, "example.com", 443},
		} {
			w := newWorld(t)
			w.host("example.com", "93.184.216.34", 443, echo(t))
			out, _ := w.probe(role, c.probe[0], c.probe[1:]...)
			if d := w.dials(); len(d) > 0 || strings.Contains(out, "came back") {
				t.Errorf("dialled %v: %s", d, out)
			}
			w.violated(c.host, c.port)
		}
	})
}

// TestDNS: who asks any address is answered from it.
func TestDNS(t *testing.T) {
	for _, how := range []string{"udp", "tcp", "connected"} {
		for _, at := range []string{"9.9.9.9:53", "127.0.0.53:53", "[2606:4700::1111]:53"} {
			w := newWorld(t, "network:example.com:443")
			if out, ok := w.probe(roleInside, "dns", how, at, "Example.com"); !ok || out != "198.18.0.2\n" {
				t.Errorf("%s %s: %s", how, at, out)
			}
			// Of another name the connection is waited for, which says the port.
			w = newWorld(t, "network:example.com:443")
			if out, ok := w.probe(roleInside, "dns", how, at, "secret.example.org"); !ok || out != "198.18.0.2\n" {
				t.Errorf("%s %s: %s", how, at, out)
			}
			w.violated("secret.example.org", 0)
			// What a resolver makes of a name by its search list is no name.
			for _, name := range []string{"api.example.com.corp.test", "example.com.corp.test"} {
				w = newWorld(t, "network:example.com:443")
				if out, ok := w.probe(roleInside, "dns", how, at, name); ok || out != "code 3\n" {
					t.Errorf("%s %s %s: %s", how, at, name, out)
				}
			}
		}
	}
	for _, how := range []string{"tcp", "connected"} {
		w := newWorld(t, "network:example.com:443")
		if out, ok := w.probe(roleNotify, "dns", how, "9.9.9.9:53", "example.com"); !ok || out != "198.18.0.2\n" {
			t.Errorf("notify %s: %s", how, out)
		}
	}
}

// TestProxy: what the proxy does within.
func TestProxy(t *testing.T) {
	_, plain, _ := site(t)
	both(t, func(t *testing.T, role string) {
		for _, c := range []struct{ send, want string }{
			{`CONNECT example.com:80 HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n`, "hello from b/a"},
			{`CONNECT [2606:4700::1111]:80 HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n`, "hello from b/a"},
			{`CONNECT [2606:4700::1112]:80 HTTP/1.1\r\n\r\n`, "403 Forbidden"},
			{`CONNECT example.com:81 HTTP/1.1\r\n\r\n`, "network:example.com:81"},
			{`CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n`, "403 Forbidden"},
			{`CONNECT inward.example.com:80 HTTP/1.1\r\n\r\n`, "403 Forbidden"},
			{`CONNECT nobody.example.com:80 HTTP/1.1\r\n\r\n`, "502 Bad Gateway"},
			{`GET http://example.com/c HTTP/1.1\r\nHost: evil.example\r\n\r\n`, "hello from example.com/c"},
			{`POST http://example.com/c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc`, "hello from example.com/c abc"},
			{`POST http://example.com/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, "hello from example.com/c abc"},
			{`GET http://evil.example/ HTTP/1.1\r\nHost: example.com\r\n\r\n`, "403 Forbidden"},
			{`GET / HTTP/1.1\r\nHost: example.com\r\n\r\n`, "400 Bad Request"},
			{`CONNECT example.com:80@evil.example:80 HTTP/1.1\r\n\r\n`, "400 Bad Request"},
		} {
			w := newWorld(t, "network:example.com:80", "network:inward.example.com:80", "network:nobody.example.com:80", "network:[2606:4700::1111]:80")
			w.host("example.com", "93.184.216.34", 80, plain)
			w.host("", "2606:4700::1111", 80, plain)
			w.host("inward.example.com", "10.0.0.1", 80, plain)
			if out, _ := w.probe(role, "raw", ProxyAddr, c.send); !strings.Contains(out, c.want) {
				t.Errorf("%s: %q", c.send, out)
			}
		}
	})
}

// TestSmuggling: a second request behind the first reaches nobody.
func TestSmuggling(t *testing.T) {
	got := make(chan string, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b, _ := io.ReadAll(c)
		got <- string(b)
	}()
	w := newWorld(t, "network:example.com:80")
	w.host("example.com", "93.184.216.34", 80, l.Addr().String())
	w.probe(roleInside, "raw", ProxyAddr, `POST http://example.com/1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET http://evil.example/2 HTTP/1.1\r\n\r\n`)
	if b := <-got; !strings.HasSuffix(b, "\r\n\r\nabc") || strings.Contains(b, "evil") {
		t.Errorf("%q arrived", b)
	}
}

// TestMany: more connections than there may be at a time, all of which are served;
// afterwards nothing is open that was not before.
func TestMany(t *testing.T) {
	both(t, func(t *testing.T, role string) {
		before := descriptors(t)
		w := newWorld(t, "network:example.com:7000")
		w.config.Conns = 30
		w.host("example.com", "93.184.216.34", 7000, echo(t))
		if out, ok := w.probe(role, "many", "example.com:7000"); !ok {
			t.Error(out)
		}
		w.server.Close()
		unix.Close(w.channel)
		w.channel = -1
		// The listener of echo remains, and until they are collected the pipes that
		// package net has for splice.
		after := 0
		for range 100 {
			runtime.GC()
			if after = descriptors(t); after <= before+2 {
				return
			}
		}
		t.Errorf("%d descriptors, before %d", after, before)
	})
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestThreads: a connect is known whatever thread makes it.
func TestThreads(t *testing.T) {
	w := newWorld(t, "network:example.com:7000")
	w.host("example.com", "93.184.216.34", 7000, echo(t))
	if out, ok := w.probe(roleNotify, "threads", "198.18.0.2:7000"); !ok {
		t.Error(out)
	}
}

// TestStrangers: the port to which connects are redirected is of no use to another
// process of the host.
func TestStrangers(t *testing.T) {
	w := newWorld(t, "network:example.com:7000")
	w.host("example.com", "93.184.216.34", 7000, echo(t))
	w.start(roleNotify, "/bin/sleep", "60")
	c, err := net.Dial("tcp", w.server.notify.tcp.String())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("%d, %v", n, err)
		}
	}
	u, err := net.Dial("udp", w.server.notify.udp.String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Write(query("example.com", typeA))
	u.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := u.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes of an answer", n)
	}
}

// TestHandover: a connection goes on, and names mean what they meant, with the next
// Server.
func TestHandover(t *testing.T) {
	both(t, func(t *testing.T, role string) {
		w := newWorld(t, "network:example.com:7000")
		w.host("example.com", "93.184.216.34", 7000, echo(t))
		in, say, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer say.Close()
		hear, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.stdin, w.stdout = in, out
		w.start(role, probeLink(t), "waits", "example.com:7000")
		in.Close()
		out.Close()
		lines := bufio.NewScanner(hear)
		exchange := func(line string) {
			t.Helper()
			fmt.Fprintln(say, line)
			if !lines.Scan() || lines.Text() != line {
				t.Fatalf("%q came back: %v", lines.Text(), lines.Err())
			}
		}
		exchange("one")
		for _, line := range []string{"two", "three"} {
			state, files, err := w.server.Handover()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(say, line+" while nobody serves")
			w.config.State, w.config.Files, w.config.Notify = state, files, nil
			if w.server, err = Start(w.config); err != nil {
				t.Fatal(err)
			}
			if !lines.Scan() || lines.Text() != line+" while nobody serves" {
				t.Fatalf("%q came back: %v", lines.Text(), lines.Err())
			}
			exchange(line)
		}
		if got := w.server.names.name(netip.MustParseAddr("198.18.0.2")); got != "example.com" {
			t.Errorf("the name's address is %q's", got)
		}
		say.Close()
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("that it says no more was not passed on: %v", err)
		}
	})
}

// TestServerGone: when the shim ends, connections end, and none can be made.
func TestServerGone(t *testing.T) {
	both(t, func(t *testing.T, role string) {
		w := newWorld(t, "network:10.0.0.1:7000")
		w.host("", "10.0.0.1", 7000, echo(t))
		hear, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.stdout = out
		w.start(role, probeLink(t), "gone", "10.0.0.1:7000")
		out.Close()
		lines := bufio.NewScanner(hear)
		if !lines.Scan() || lines.Text() != "connected" {
			t.Fatalf("%q, %s", lines.Text(), w.out.String())
		}
		w.server.Close()
		for lines.Scan() {
			if lines.Text() != "nothing goes" {
				t.Error(lines.Text())
			}
		}
		if err := w.cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestInward: what listens within is reached from outside, by either kind of address,
// more often than there are sockets for it.
func TestInward(t *testing.T) {
	for _, at := range []string{"127.0.0.1:8123", "[::1]:8123", ":8123"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			hear, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			w.stdout = out
			w.start(roleInside, probeLink(t), "listen", at)
			out.Close()
			if lines := bufio.NewScanner(hear); !lines.Scan() || lines.Text() != "listens" {
				t.Fatal(lines.Text(), w.out.String())
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := w.server.Publish(l, 8123); err != nil {
				t.Fatal(err)
			}
			for range 3 * netns.InwardSockets {
				if err := probeEcho("tcp", l.Addr().String()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.server.DialInward(t.Context(), 8124); err == nil {
				t.Error("something listens at another port")
			}
			state, files, err := w.server.Handover()
			if err != nil {
				t.Fatal(err)
			}
			w.config.State, w.config.Files = state, files
			if w.server, err = Start(w.config); err != nil {
				t.Fatal(err)
			}
			if err := probeEcho("tcp", l.Addr().String()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAsNobody runs the rest as a user without rights, who gains none.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 || os.Getenv("EGRESS_TEST_NOBODY") != "" {
		t.Skip("this is the run")
	}
	const nobody = 65534
	tmp, err := os.MkdirTemp("/tmp", "egress-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp+"/egress.test", b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/setpriv", "--no-new-privs", "--reuid=65534", "--regid=65534", "--clear-groups",
		tmp+"/egress.test", "-test.timeout=3m", "-test.run=^Test(Clients|Addresses|Rebinding|Holes|DNS|Proxy|Threads|Handover|Inward|NothingGranted)$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "EGRESS_TEST_NOBODY=1", "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 60 {
		t.Errorf("only %d tests passed: %s", n, out)
	}
}
