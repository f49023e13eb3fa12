package oauth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/berth-run/berth/internal/oauthtest"
)

func TestLogin(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	c := newClient(t, w, dir, nil)
	status, err := get(t.Context(), c, w.URL+"/mcp")
	var hinted *berth.Hinted
	if status != 401 || !errors.Is(err, oauth.ErrLogin) || !errors.As(err, &hinted) || hinted.Hint != "berth auth notes" {
		t.Fatalf("before the login: %d, %v", status, err)
	}
	must(t, c.Login(t.Context(), oauthtest.Browse))
	for name, want := range map[string]string{"resource": w.URL + "/mcp", "scope": "read", "code_challenge_method": "S256", "client_id": "client-1", "response_type": "code", "tenant": "1"} {
		if got := w.Asked.Get(name); got != want {
			t.Errorf("asked with %s %q, not %q", name, got, want)
		}
	}
	// Another process of the same home.
	other := newClient(t, w, dir, nil)
	if status, err := get(t.Context(), other, w.URL+"/mcp"); status != 200 || err != nil {
		t.Errorf("after the login: %d, %v", status, err)
	}
	// The client that was registered is used again.
	must(t, c.Login(t.Context(), oauthtest.Browse))
	if w.Clients != 1 {
		t.Errorf("%d clients were registered", w.Clients)
	}
	list, err := oauth.List(openVault(t, dir))
	if err != nil || len(list) != 1 || list[0].State != "logged-in" || list[0].Issuer != w.URL || !list[0].Renewed || list[0].Expires == nil {
		t.Errorf("listed %+v, %v", list, err)
	}
	was, err := c.Logout(t.Context())
	if !was || err != nil || !slices.Equal(w.Revoked, []string{"refresh_token", "access_token"}) {
		t.Errorf("logout: %v, %v, revoked %q", was, err, w.Revoked)
	}
	if status, err := get(t.Context(), other, w.URL+"/mcp"); status != 401 || !errors.Is(err, oauth.ErrLogin) {
		t.Errorf("after the logout: %d, %v", status, err)
	}
	if was, err := c.Logout(t.Context()); was || err != nil {
		t.Errorf("a second logout: %v, %v", was, err)
	}
}

// A token goes to its server's host and nowhere else, and not to another server
// that has the name now.
func TestTokenStaysAtHome(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	c := newClient(t, w, dir, nil)
	must(t, c.Login(t.Context(), oauthtest.Browse))
	port := w.Listener.Addr().String()
	for at, want := range map[string]bool{
		w.URL + "/mcp":             true,
		w.URL + "/messages?id=1":   true, // of the transport of 2024-11-05
		"https://" + port + "/mcp": false,
		"http://127.0.0.1:1/mcp":   false,
		"http://evil.example/mcp":  false,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		must(t, err)
		must(t, c.Authorize(req))
		if got := req.Header.Get("Authorization") != ""; got != want {
			t.Errorf("%s: a token is sent: %v", at, got)
		}
	}
	moved := newClient(t, w, dir, func(o *oauth.Options) { o.URL = w.URL + "/other" })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/other", nil)
	must(t, err)
	must(t, moved.Authorize(req))
	if req.Header.Get("Authorization") != "" {
		t.Error("the token of the server that had the name before is sent")
	}
}

func TestRenewal(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	now := time.Now()
	c := newClient(t, w, dir, func(o *oauth.Options) { o.Now = func() time.Time { return now } })
	must(t, c.Login(t.Context(), oauthtest.Browse))
	w.Life = 10 // of the next one
	for _, step := range []struct {
		after    time.Duration
		renewals int
	}{
		{0, 0},
		{3569 * time.Second, 0}, // of 3600
		{2 * time.Second, 1},
		{8900 * time.Millisecond, 1}, // of 10
		{200 * time.Millisecond, 2},
		{0, 2},
		{time.Hour, 3}, // long after
	} {
		now = now.Add(step.after)
		if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 200 || err != nil || w.Renewals != step.renewals {
			t.Errorf("%v later: %d, %v, %d renewals, not %d", step.after, status, err, w.Renewals, step.renewals)
		}
	}
	w.Expire()
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 200 || err != nil || w.Renewals != 4 || w.Reuses != 0 {
		t.Errorf("after a 401: %d, %v, %d renewals, %d reuses", status, err, w.Renewals, w.Reuses)
	}
	// Once it is not accepted there is no second try.
	w.Mu.Lock()
	w.Refresh = "gone"
	w.Mu.Unlock()
	w.Expire()
	for range 2 {
		status, err := get(t.Context(), c, w.URL+"/mcp")
		silent(t, err)
		if status != 401 || !errors.Is(err, oauth.ErrLogin) || w.Renewals != 5 {
			t.Errorf("a login that was ended: %d, %v, %d renewals", status, err, w.Renewals)
		}
	}
}

// A server that cannot be reached ends no login.
func TestRenewalWithoutNetwork(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	c := newClient(t, w, dir, nil)
	must(t, c.Login(t.Context(), oauthtest.Browse))
	now := time.Now()
	down := newClient(t, w, dir, func(o *oauth.Options) {
		o.HTTP = &http.Client{Transport: refuse{}}
		o.Now = func() time.Time { return now }
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/mcp", nil)
	must(t, err)
	now = now.Add(3590 * time.Second)
	must(t, down.Authorize(req))
	if req.Header.Get("Authorization") != "Bearer access-canary-1" {
		t.Error("a token that is good for some seconds more is not used")
	}
	now = now.Add(time.Minute)
	if err := down.Authorize(req); err == nil || errors.Is(err, oauth.ErrLogin) || !strings.Contains(err.Error(), "network is down") {
		t.Errorf("with an expired one: %v", err)
	}
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 200 || err != nil {
		t.Errorf("with the network: %d, %v", status, err)
	}
}

// refuse is a network that is down.
type refuse struct{}

func (refuse) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("network is down")
}

// Two processes of four goroutines each that find the token expired renew it once.
func TestRenewalByTwoProcesses(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	must(t, newClient(t, w, dir, nil).Login(t.Context(), oauthtest.Browse))
	w.Expire()
	type process struct {
		cmd *exec.Cmd
		in  io.WriteCloser
		out *bufio.Reader
	}
	var all []process
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "OAUTH_TEST_HOME="+dir, "OAUTH_TEST_URL="+w.URL+"/mcp", "GORACE=atexit_sleep_ms=0")
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		p := process{cmd, in, bufio.NewReader(out)}
		if line, err := p.out.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		_, err := p.in.Write([]byte("x"))
		must(t, err)
	}
	for _, p := range all {
		line, err := p.out.ReadString('\n')
		must(t, err)
		must(t, p.cmd.Wait())
		if want := "200 <nil>, 200 <nil>, 200 <nil>, 200 <nil>\n"; line != want {
			t.Errorf("a process was answered %s", line)
		}
	}
	if w.Renewals != 1 || w.Reuses != 0 {
		t.Errorf("%d renewals, %d of a token that was used before", w.Renewals, w.Reuses)
	}
}

// A refusal for want of a scope is remembered: the next login, of whatever
// process, asks for that scope and those that there were.
func TestStepUp(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	c := newClient(t, w, dir, nil)
	must(t, c.Login(t.Context(), oauthtest.Browse))
	w.Needs = "write"
	status, err := get(t.Context(), c, w.URL+"/mcp")
	if status != 403 || !errors.Is(err, oauth.ErrLogin) || !strings.Contains(err.Error(), "write") {
		t.Fatalf("without the scope: %d, %v", status, err)
	}
	if list, err := oauth.List(openVault(t, dir)); err != nil || list[0].State != "wants-more" {
		t.Errorf("listed %+v, %v", list, err)
	}
	must(t, newClient(t, w, dir, func(o *oauth.Options) { o.Scopes = []string{"mine"} }).Login(t.Context(), oauthtest.Browse))
	if got := w.Asked.Get("scope"); got != "read write mine" {
		t.Errorf("asked for %q", got)
	}
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 200 || err != nil {
		t.Errorf("with the scope: %d, %v", status, err)
	}
	// What was granted and does not help is not worth a third login.
	w.Scopes, w.Needs = "", "write"
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 403 || err == nil || errors.Is(err, oauth.ErrLogin) {
		t.Errorf("a scope that does not help: %d, %v", status, err)
	}
}

// What to ask for where the server does not say it when it refuses.
func TestScopesOfMetadata(t *testing.T) {
	for _, c := range []struct {
		challenge, listed, offered []string
		want                       string
	}{
		{[]string{"read"}, []string{"all", "more"}, nil, "read"},
		{nil, []string{"all", "more"}, nil, "all more"},
		{nil, nil, nil, ""},
		{nil, []string{"all"}, []string{"all", "offline_access"}, "all offline_access"},
		{nil, []string{"all", "bad scope\"", "all"}, []string{"other"}, "all bad"},
	} {
		w := oauthtest.New(t)
		w.Wants = strings.Join(c.challenge, " ")
		w.Resource = func(m map[string]any) { m["scopes_supported"] = c.listed }
		w.Metadata = func(m map[string]any) { m["scopes_supported"] = c.offered }
		must(t, newClient(t, w, t.TempDir(), nil).Login(t.Context(), oauthtest.Browse))
		if got, has := w.Asked.Get("scope"), w.Asked.Has("scope"); got != c.want || has != (c.want != "") {
			t.Errorf("%q, listed %q, offered %q: asked for %q", c.challenge, c.listed, c.offered, got)
		}
	}
}

func TestRefusedLogins(t *testing.T) {
	set := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
	for _, c := range []struct {
		name   string
		change func(w *oauthtest.World)
		say    string
		asks   bool // the oauthtest.Browser is sent
	}{
		{"no PKCE", func(w *oauthtest.World) { w.Metadata = set("code_challenge_methods_supported", nil) }, "PKCE", false},
		{"plain PKCE", func(w *oauthtest.World) { w.Metadata = set("code_challenge_methods_supported", []string{"plain"}) }, "PKCE", false},
		{"another issuer", func(w *oauthtest.World) { w.Metadata = set("issuer", "https://evil.example") }, "those of another", false},
		{"another resource", func(w *oauthtest.World) { w.Resource = set("resource", "https://evil.example/mcp") }, "of another resource", false},
		{"no authorization server", func(w *oauthtest.World) { w.Resource = set("authorization_servers", []string{}) }, "name no authorization server", false},
		{"a far server over http", func(w *oauthtest.World) { w.Resource = set("authorization_servers", []string{"http://as.example"}) }, "it is http", false},
		{"a page that is a script", func(w *oauthtest.World) { w.Metadata = set("authorization_endpoint", "javascript:alert(1)") }, "authorization endpoint", false},
		{"a token endpoint over http", func(w *oauthtest.World) { w.Metadata = set("token_endpoint", "http://as.example/token") }, "token endpoint", false},
		{"no registration", func(w *oauthtest.World) { w.Metadata = set("registration_endpoint", "") }, "registers nobody", false},
		{"access denied", func(w *oauthtest.World) { w.Redirect = func(q url.Values) { q.Set("error", "access_denied") } }, "access_denied", true},
		{"the code of another server", func(w *oauthtest.World) { w.Redirect = func(q url.Values) { q.Set("iss", "https://evil.example") } }, "another authorization server", true},
		{"a slash more", func(w *oauthtest.World) { w.Redirect = func(q url.Values) { q.Set("iss", q.Get("iss")+"/") } }, "another authorization server", true},
		{"no iss", func(w *oauthtest.World) { w.Redirect = func(q url.Values) { q.Del("iss") } }, "as this one promises", true},
		{"a bad code", func(w *oauthtest.World) { w.Redirect = func(q url.Values) { q.Set("code", "bad-canary") } }, "invalid_grant", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := oauthtest.New(t)
			c.change(w)
			client := newClient(t, w, t.TempDir(), nil)
			asked := false
			err := client.Login(t.Context(), func(ctx context.Context, at string) error {
				asked = true
				return oauthtest.Browse(ctx, at)
			})
			silent(t, err)
			if err == nil || !strings.Contains(err.Error(), c.say) || asked != c.asks {
				t.Errorf("got %v, and the oauthtest.Browser was sent: %v", err, asked)
			}
			if !c.asks && slices.Contains(w.Requests, "POST /register") || w.Given != 0 {
				t.Errorf("it went on: %q", w.Requests)
			}
		})
	}
}

// What comes to the listener that is not the answer is refused, and the login goes
// on; what comes after the answer finds nobody.
func TestListener(t *testing.T) {
	w := oauthtest.New(t)
	c := newClient(t, w, t.TempDir(), nil)
	var back *url.URL
	visit := func(ctx context.Context, method, at, host string) int {
		req, err := http.NewRequestWithContext(ctx, method, at, nil)
		must(t, err)
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		res.Body.Close()
		if res.Header.Get("Content-Security-Policy") == "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", at, res.Header)
		}
		return res.StatusCode
	}
	must(t, c.Login(t.Context(), func(ctx context.Context, at string) error {
		u, err := url.Parse(at)
		must(t, err)
		back, err = url.Parse(u.Query().Get("redirect_uri"))
		must(t, err)
		if back.Hostname() != "127.0.0.1" || back.Scheme != "http" {
			t.Errorf("it listens at %s", back)
		}
		good := "?code=x&state=" + u.Query().Get("state")
		for _, c := range []struct {
			method, at, host string
			want             int
		}{
			{"GET", back.String() + "?code=x&state=wrong", "", 400},
			{"GET", back.String() + "?code=x", "", 400},
			{"POST", back.String() + good, "", 405},
			{"HEAD", back.String() + good, "", 405},
			{"GET", back.String() + "/" + good, "", 404},
			{"GET", "http://" + back.Host + "/" + good, "", 404},
			{"GET", "http://" + back.Host + "/%63allback" + good, "", 404},
			{"GET", back.String() + good, "evil.example", 403},
		} {
			if got := visit(ctx, c.method, c.at, c.host); got != c.want {
				t.Errorf("%s %s, Host %q: %d, not %d", c.method, c.at, c.host, got, c.want)
			}
		}
		return oauthtest.Browse(ctx, at)
	}))
	if _, err := http.Get(back.String()); err == nil {
		t.Error("it still listens")
	}
}

func TestLoginEndsWithItsContext(t *testing.T) {
	w := oauthtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := newClient(t, w, t.TempDir(), nil).Login(ctx, func(context.Context, string) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A client that the authorization server has forgotten registers at the next login,
// whether that is noticed by a login or a renewal.
func TestForgottenClient(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	c := newClient(t, w, dir, nil)
	must(t, c.Login(t.Context(), oauthtest.Browse))
	w.Unknown = "client-1"
	if err := c.Login(t.Context(), oauthtest.Browse); err == nil || !strings.Contains(err.Error(), "invalid_client; try once more") {
		t.Errorf("got %v", err)
	}
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 200 || err != nil {
		t.Errorf("what there was is lost: %d, %v", status, err)
	}
	must(t, c.Login(t.Context(), oauthtest.Browse))
	w.Unknown = "client-2"
	w.Expire()
	if status, err := get(t.Context(), c, w.URL+"/mcp"); status != 401 || !errors.Is(err, oauth.ErrLogin) {
		t.Errorf("a renewal: %d, %v", status, err)
	}
	must(t, c.Login(t.Context(), oauthtest.Browse))
	if w.Asked.Get("client_id") != "client-3" {
		t.Errorf("logged in as %s", w.Asked.Get("client_id"))
	}
}

// Tokens that nobody takes back are deleted, and it is said.
func TestLogoutThatIsNotHeard(t *testing.T) {
	for name, endpoint := range map[string]any{"no endpoint": nil, "an error": "/nowhere"} {
		w, dir := oauthtest.New(t), t.TempDir()
		w.Metadata = func(m map[string]any) {
			delete(m, "revocation_endpoint")
			if path, ok := endpoint.(string); ok {
				m["revocation_endpoint"] = w.URL + path
			}
		}
		c := newClient(t, w, dir, nil)
		must(t, c.Login(t.Context(), oauthtest.Browse))
		was, err := c.Logout(t.Context())
		silent(t, err)
		if !was || !errors.Is(err, oauth.ErrNotRevoked) {
			t.Errorf("%s: %v, %v", name, was, err)
		}
		if keys, err := openVault(t, dir).List(""); err != nil || len(keys) != 0 {
			t.Errorf("%s: %q is kept, %v", name, keys, err)
		}
	}
}

// Who is registered beforehand registers nothing, and is remembered.
func TestGivenClient(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	w.Metadata = func(m map[string]any) { delete(m, "registration_endpoint") }
	given := func(o *oauth.Options) { o.ClientID, o.ClientSecret = "given", "secret-canary" }
	must(t, newClient(t, w, dir, given).Login(t.Context(), oauthtest.Browse))
	must(t, newClient(t, w, dir, nil).Login(t.Context(), oauthtest.Browse))
	if w.Clients != 0 || w.Asked.Get("client_id") != "given" {
		t.Errorf("%d clients registered, asked as %q", w.Clients, w.Asked.Get("client_id"))
	}
}

// The document that a client is known by is remembered, as long as the server takes
// one; then the client registers.
func TestDocumentIsRemembered(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	const document = "https://example.com/client.json"
	w.Metadata = func(m map[string]any) { m["client_id_metadata_document_supported"] = true }
	for _, change := range []func(*oauth.Options){func(o *oauth.Options) { o.ClientURL = document }, nil} {
		must(t, newClient(t, w, dir, change).Login(t.Context(), oauthtest.Browse))
		if got := w.Asked.Get("client_id"); w.Clients != 0 || got != document {
			t.Errorf("%d clients registered, asked as %q", w.Clients, got)
		}
	}
	w.Metadata = func(m map[string]any) { delete(m, "client_id_metadata_document_supported") }
	must(t, newClient(t, w, dir, nil).Login(t.Context(), oauthtest.Browse))
	if got := w.Asked.Get("client_id"); w.Clients != 1 || got == document {
		t.Errorf("without documents: %d clients registered, asked as %q", w.Clients, got)
	}
}

// A port that a client was registered with is that one or none.
func TestGivenPort(t *testing.T) {
	w, dir := oauthtest.New(t), t.TempDir()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	port := taken.Addr().(*net.TCPAddr).Port
	given := func(o *oauth.Options) { o.ClientID, o.Port = "given", port }
	if err := newClient(t, w, dir, given).Login(t.Context(), oauthtest.Browse); err == nil || !strings.Contains(err.Error(), "wait for the browser") {
		t.Errorf("with a port that is taken: %v", err)
	}
	must(t, taken.Close())
	want := fmt.Sprintf("http://127.0.0.1:%d/callback", port)
	for _, change := range []func(*oauth.Options){given, nil} { // then it is remembered
		must(t, newClient(t, w, dir, change).Login(t.Context(), oauthtest.Browse))
		if got := w.Asked.Get("redirect_uri"); got != want {
			t.Errorf("came back to %s, not %s", got, want)
		}
	}
}

// A server without metadata of its own, as in 2025-03-26, is its authorization
// server's host.
func TestServerOfOld(t *testing.T) {
	w := oauthtest.New(t)
	c := newClient(t, w, t.TempDir(), func(o *oauth.Options) { o.URL = w.URL + "/old" })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := c.Login(ctx, oauthtest.Browse)
	if err == nil || !strings.Contains(err.Error(), "invalid_target") || w.Asked.Get("resource") != w.URL+"/old" {
		t.Errorf("got %v, asked for %q", err, w.Asked.Get("resource"))
	}
}

func BenchmarkAuthorize(b *testing.B) {
	w := oauthtest.New(b)
	c := newClient(b, w, b.TempDir(), nil)
	must(b, c.Login(b.Context(), oauthtest.Browse))
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, w.URL+"/mcp", nil)
	must(b, err)
	for b.Loop() {
		must(b, c.Authorize(req))
	}
}
