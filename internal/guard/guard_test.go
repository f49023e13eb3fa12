package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-run/berth/internal/guard"
)

func TestCheckURL(t *testing.T) {
	for typed, ok := range map[string]bool{
		"https://mcp.example.com/mcp":            true,
		"https://mcp.example.com:8443/a?b=c":     true,
		"https://10.0.0.5/mcp":                   true, // the user says so
		"http://localhost:3000/mcp":              true,
		"http://LOCALHOST/mcp":                   true,
		"http://127.0.0.1:3000":                  true,
		"http://127.3.2.1":                       true,
		"http://[::1]:3000/mcp":                  true,
		"http://[::ffff:127.0.0.1]/":             true,
		"http://mcp.example.com/mcp":             false,
		"http://10.0.0.5/mcp":                    false,
		"http://[fe80::1%25lo]/":                 false,
		"http://localhost.example.com/":          false,
		"http://x.localhost/":                    false,
		"http://127.1/":                          false,
		"https://127.1/":                         false,
		"https://2130706433/":                    false,
		"https://0x7f000001/":                    false,
		"https://0x/":                            false,
		"https://017700000001/":                  false,
		"https://1.2.3.0x4/":                     false,
		"https://user:pw@mcp.example.com/":       false,
		"https://mcp.example.com/#x":             false,
		"https://mcp.example.com/#":              false,
		"https:///mcp":                           false,
		"https:mcp":                              false,
		"ftp://mcp.example.com/":                 false,
		"file:///etc/passwd":                     false,
		"mcp.example.com":                        false,
		"":                                       false,
		"https://a\x7f/":                         false,
		"https://a/" + strings.Repeat("x", 9000): false,
	} {
		_, err := guard.CheckURL(typed)
		if (err == nil) != ok {
			t.Errorf("%q: %v", typed, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error shows the password: %v", typed, err)
		}
	}
}

// server counts what reaches it and tells what it was sent.
func server(t *testing.T, h http.HandlerFunc) (*url.URL, func() int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, n.Load
}

func client(t *testing.T, typed string, o *guard.Options) *http.Client {
	t.Helper()
	if o == nil {
		o = &guard.Options{}
	}
	if o.Proxy == nil {
		o.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	c, err := guard.New(typed, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get returns what a GET of u ends with.
func get(c *http.Client, u string) error {
	resp, err := c.Get(u)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	var refused *guard.RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("not refused: %v", err)
	}
}

// TestDial: what was typed is reached and nothing else of this machine, by
// whatever name.
func TestDial(t *testing.T) {
	there, hits := server(t, func(http.ResponseWriter, *http.Request) {})
	local := "http://localhost:" + there.Port()
	for _, typed := range []string{there.String(), there.String() + "/x?y=z", "http://[::ffff:127.0.0.1]:" + there.Port()} {
		if err := get(client(t, typed, nil), typed); err != nil {
			t.Errorf("%s: %v", typed, err)
		}
	}
	if err := get(client(t, local, nil), local); err != nil {
		t.Errorf("localhost: %v", err)
	}
	before := hits()
	other, _ := server(t, func(http.ResponseWriter, *http.Request) {})
	for typed, target := range map[string]string{
		"https://mcp.example.com/": "https://" + there.Host,
		"https://10.0.0.5/":        "https://localhost:" + there.Port(),
		other.String():             there.String(),
		local:                      there.String(),
		"https://127.0.0.1":        "https://" + there.Host,
	} {
		wantRefused(t, get(client(t, typed, nil), target))
	}
	if hits() != before {
		t.Error("what was refused was asked")
	}
	if err := get(client(t, other.String(), &guard.Options{Loopback: true}), there.String()); err != nil {
		t.Errorf("any port of loopback: %v", err)
	}
	wantRefused(t, get(client(t, "https://10.0.0.5", &guard.Options{Loopback: true}), there.String()))
}

// TestDialResolved: what a name resolves to is looked at, each time.
func TestDialResolved(t *testing.T) {
	there, hits := server(t, func(http.ResponseWriter, *http.Request) {})
	var answer atomic.Pointer[netip.Addr]
	var asked atomic.Int64
	o := &guard.Options{Resolver: resolver(t, func() netip.Addr { asked.Add(1); return *answer.Load() })}
	typed := "https://mcp.example.com:" + there.Port()
	c := client(t, typed, o)
	for _, a := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0"} {
		addr := netip.MustParseAddr(a)
		answer.Store(&addr)
		before := asked.Load()
		err := get(c, typed)
		wantRefused(t, err)
		if err == nil || !strings.Contains(err.Error(), "mcp.example.com ("+a+") is not connected to") || asked.Load() == before {
			t.Errorf("%s: %v", a, err)
		}
	}
	if hits() != 0 {
		t.Error("what was refused was asked")
	}
}

// resolver resolves every name to what answer says, by a name server of its own.
func resolver(t *testing.T, answer func() netip.Addr) *net.Resolver {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			// The question ends with a name, its type and its class; what follows
			// is of no interest.
			end := 12
			for buf[end] != 0 && end < n {
				end += 1 + int(buf[end])
			}
			end += 5
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if a := buf[end-3]; a == 1 { // an A record is asked for
				reply[7] = 1
				ip := answer().As4()
				reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
			}
			l.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", l.LocalAddr().String())
	}}
}

func TestRedirects(t *testing.T) {
	var to string
	status := http.StatusTemporaryRedirect
	end, ended := server(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Authorization", "X-Own", "Mcp-Session-Id", "Cookie", "Referer"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s went to another origin", name)
			}
		}
		if body, _ := io.ReadAll(r.Body); r.Method != "POST" || string(body) != "hello" || r.Header.Get("Content-Type") != "text/x" {
			t.Errorf("%s %q %v", r.Method, body, r.Header)
		}
	})
	start, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/same" {
			if r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("X-Own") != "y" {
				t.Errorf("a redirect within the origin lost its headers: %v", r.Header)
			}
			return
		}
		http.Redirect(w, r, to, status)
	})
	post := func(o *guard.Options) error {
		r, _ := http.NewRequest("POST", start.String()+"/?key=secret", strings.NewReader("hello"))
		for k, v := range map[string]string{"Authorization": "Bearer x", "X-Own": "y", "Mcp-Session-Id": "z", "Cookie": "a=b", "Content-Type": "text/x"} {
			r.Header.Set(k, v)
		}
		resp, err := client(t, start.String(), o).Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	to = start.String() + "/same"
	if err := post(nil); err != nil {
		t.Errorf("within the origin: %v", err)
	}
	to = end.String()
	wantRefused(t, post(nil))
	if err := post(&guard.Options{Loopback: true}); err != nil || ended() != 1 {
		t.Errorf("to another port of loopback: %v, %d", err, ended())
	}
	for _, private := range []string{"https://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "http://10.0.0.1/", "https://[::ffff:10.0.0.1]/",
		"https://[64:ff9b::7f00:1]/", "ftp://mcp.example.com", "https://u:p@mcp.example.com", start.String() + "/again"} {
		to = private
		wantRefused(t, post(nil))
	}
	for _, status = range []int{301, 302, 303} {
		to = start.String() + "/same"
		wantRefused(t, post(nil))
	}
}

// TestBackAgain: who was sent away and back is a stranger.
func TestBackAgain(t *testing.T) {
	var home *url.URL
	away, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, home.String()+"/back", http.StatusTemporaryRedirect)
	})
	home, _ = server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/back" {
			http.Redirect(w, r, away.String(), http.StatusTemporaryRedirect)
		} else if r.Header.Get("Authorization") != "" {
			t.Error("the token came back by way of another origin")
		}
	})
	r, _ := http.NewRequest("GET", home.String(), nil)
	r.Header.Set("Authorization", "Bearer x")
	resp, err := client(t, home.String(), &guard.Options{Loopback: true}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// TestProxy: by way of a proxy the guard sees names only, and still refuses
// what a name can tell.
func TestProxy(t *testing.T) {
	proxy, asked := server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	o := func() *guard.Options { return &guard.Options{Proxy: http.ProxyURL(proxy)} }
	typed := "https://mcp.example.com"
	if err := get(client(t, typed, o()), typed); err == nil || asked() != 1 {
		t.Errorf("not by the proxy: %v, %d", err, asked())
	}
	for _, target := range []string{"https://10.0.0.1", "https://[::1]", "https://localhost", "https://a.localhost.", "https://metadata.google.internal.",
		"https://127.1", "http://mcp.example.com"} {
		wantRefused(t, get(client(t, typed, o()), target))
	}
	if asked() != 1 {
		t.Errorf("the proxy was asked %d times", asked())
	}
	if err := get(client(t, "https://10.0.0.1", o()), "https://10.0.0.1"); err == nil || asked() != 2 {
		t.Errorf("what was typed: %v, %d", err, asked())
	}
	bad := &guard.Options{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("hunter2") }}
	if err := get(client(t, typed, bad), typed); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// TestVerifies: a certificate that nobody signed is none.
func TestVerifies(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	if err := get(client(t, s.URL, nil), s.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
}
