//go:build linux

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/berth-run/berth/internal/oauthtest"
	"github.com/berth-run/berth/internal/vault"
)

// TestAuthSuite: the official suite's authorization servers, honest and not, get
// from internal/oauth what the specification wants, in every scenario that a
// revision requires.
func TestAuthSuite(t *testing.T) {
	o := switchedOn(t)
	for _, revision := range []string{legacy, modern} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel() // the suite waits more than it works
			o.checkAuth(t, revision)
		})
	}
}

// checkAuth runs the suite for a revision and fails the test with all that is not
// as expected: what a client should do, this one does.
func (o others) checkAuth(t *testing.T, revision string) {
	t.Helper()
	required := slices.DeleteFunc(o.scored(t, revision, "client:"), func(name string) bool { return !strings.HasPrefix(name, "auth/") })
	if want := map[string]int{legacy: 14, modern: 25}[revision]; len(required) != want {
		t.Errorf("%d scenarios are required, not %d: %q", len(required), want, required)
	}
	begun := time.Now()
	got := o.authSuite(t, revision)
	passed, checks := 0, 0
	for _, name := range required {
		if got[name].ok() {
			passed++
		}
		checks += got[name].passed
		for _, why := range got[name].why {
			if strings.HasPrefix(why, should) {
				t.Errorf("%s: %s", name, why)
			}
		}
	}
	t.Logf("%s: %d of %d scenarios pass, %d checks, in %.1f s", revision, passed, len(required), checks, time.Since(begun).Seconds())
	for _, fault := range faults(required, got, nil) {
		t.Errorf("%s: %s", revision, fault)
	}
	if revision != modern {
		return
	}
	// Extensions are run and not scored; what is not one that Berth has is named.
	extra := slices.DeleteFunc(o.extensions(t, "Client"), func(name string) bool { return !strings.HasPrefix(name, "auth/") })
	if len(extra) != 6 {
		t.Errorf("there are %d scenarios of extensions, not 6: %q", len(extra), extra)
	}
	passed = 0
	for _, name := range extra {
		if got[name].ok() {
			passed++
		}
	}
	t.Logf("%s: %d of %d scenarios of extensions pass", revision, passed, len(extra))
	for _, fault := range faults(extra, got, readBaseline(t)[[2]string{"oauth", revision}]) {
		t.Errorf("%s: %s", revision, fault)
	}
}

// authSuite runs the client's half of the suite with TestAuthDriver as the client.
func (o others) authSuite(t *testing.T, revision string) map[string]outcome {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.node, o.script(t, "@modelcontextprotocol/conformance/dist/index.js"),
		"client", "--command", os.Args[0]+" -test.run=^TestAuthDriver$", "--requirements", revision, "--timeout", "120000", "--output-dir", dir)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TMPDIR="+dir)
	cmd.WaitDelay = 10 * time.Second
	out, runErr := cmd.CombinedOutput()
	all, err := results(filepath.Join(dir, "auth"))
	if err != nil || ctx.Err() != nil {
		t.Fatalf("the suite ended with %v and left %v:\n%s", runErr, err, out)
	}
	got := map[string]outcome{}
	for name, result := range all {
		got["auth/"+name] = result
	}
	return got
}

// TestAuthDriver is the client that the suite runs: its last argument is the URL of
// a server.
func TestAuthDriver(t *testing.T) {
	scenario := os.Getenv("MCP_CONFORMANCE_SCENARIO")
	if !strings.HasPrefix(scenario, "auth/") {
		if scenario != "" {
			t.Fatal("only what needs a login is of interest")
		}
		return // it is not the suite that runs this
	}
	if bin := os.Getenv(authBinary); bin != "" {
		useBerth(t, bin, flag.Arg(flag.NArg()-1))
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d := newDriver(t, flag.Arg(flag.NArg()-1))
	if os.Getenv("MCP_CONFORMANCE_PROTOCOL_VERSION") != modern {
		d.call(ctx, "initialize", `"protocolVersion":"`+legacy+`","capabilities":{},"clientInfo":{"name":"t","version":"1"}`)
		d.call(ctx, "notifications/initialized", "")
	}
	d.call(ctx, "tools/list", "")
	d.call(ctx, "tools/call", `"name":"test-tool","arguments":{}`)
}

// driver speaks to a server as whoever uses internal/oauth does.
type driver struct {
	t       *testing.T
	url     string
	auth    *oauth.Client
	session string
	id      int
}

func newDriver(t *testing.T, url string) *driver {
	t.Helper()
	var given struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if text := os.Getenv("MCP_CONFORMANCE_CONTEXT"); text != "" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			t.Fatal(err)
		}
	}
	h, err := home.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := oauth.New(oauth.Options{Server: "conf", URL: url, Vault: v, ClientID: given.ID, ClientSecret: given.Secret,
		ClientURL: "https://conformance-test.local/client-metadata.json"})
	if err != nil {
		t.Fatal(err)
	}
	return &driver{t: t, url: url, auth: c}
}

// call makes a request, logging in where that is what the server wants, at most
// once.
func (d *driver) call(ctx context.Context, method, params string) {
	d.t.Helper()
	for try := 0; ; try++ {
		res := d.send(ctx, method, params)
		if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
			if res.StatusCode >= 300 {
				d.t.Fatalf("%s: %s", method, res.Status)
			}
			return
		}
		if try == 2 {
			d.t.Fatalf("%s: %s after a login", method, res.Status)
		}
		err := d.auth.Challenge(ctx, res)
		if errors.Is(err, oauth.ErrLogin) {
			err = d.auth.Login(ctx, oauthtest.Browse)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *driver) send(ctx context.Context, method, params string) *http.Response {
	d.t.Helper()
	version := os.Getenv("MCP_CONFORMANCE_PROTOCOL_VERSION")
	if version == modern {
		if params != "" {
			params += ","
		}
		params += `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modern + `","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}`
	}
	d.id++
	id := fmt.Sprintf(`"id":%d,`, d.id)
	if strings.HasPrefix(method, "notifications/") {
		id = ""
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0",%s"method":%q,"params":{%s}}`, id, method, params)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if version == modern {
		req.Header.Set("Mcp-Method", method)
		if method == "tools/call" {
			req.Header.Set("Mcp-Name", "test-tool")
		}
	}
	if method != "initialize" {
		req.Header.Set("Mcp-Protocol-Version", version)
	}
	if d.session != "" {
		req.Header.Set("Mcp-Session-Id", d.session)
	}
	if err := d.auth.Authorize(req); err != nil {
		d.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if bytes.Contains(answer, []byte(`"error"`)) && res.StatusCode == http.StatusOK {
		d.t.Fatalf("%s: %s", method, answer)
	}
	if s := res.Header.Get("Mcp-Session-Id"); s != "" {
		d.session = s
	}
	return res
}
