package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/oauthtest"
)

// testBrowser is a browser whose user agrees to all. It gets the URL and nothing
// else.
func testBrowser(args []string) int {
	if len(args) != 1 {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := oauthtest.Browse(ctx, args[0]); err != nil {
		return 1
	}
	return 0
}

// command runs berth in this process and returns what it printed and its exit code.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk strings.Builder
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &talk)
	return out.String(), talk.String(), code
}

// remoteHome makes a home with a server that is at a URL.
func remoteHome(t *testing.T, url string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "home")
	t.Setenv("BERTH_HOME", dir)
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "1")
	t.Setenv("BERTH_BROWSER", "testbrowser")
	if _, stderr, code := command(t, "", "add", "notes", "--no-run", "--url", url); code != 0 {
		t.Fatal(stderr)
	}
	return dir
}

func TestAuth(t *testing.T) {
	w := oauthtest.New(t)
	dir := remoteHome(t, w.URL+"/mcp")
	stdout, stderr, code := command(t, "", "auth", "notes", "--scope", "mine")
	if code != 0 || stdout != "notes: logged in\n" || !strings.HasPrefix(stderr, "Log in to notes in your browser: "+w.URL+"/authorize?") {
		t.Fatalf("%d\n%s%s", code, stdout, stderr)
	}
	if got := w.Asked.Get("scope"); got != "read mine" {
		t.Errorf("asked for %q", got)
	}
	stdout, stderr, code = command(t, "", "auth", "--list", "--json")
	var list []struct {
		Server, State, Issuer, ClientID string
		Scopes                          []string
		Renewed                         bool
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) != 1 {
		t.Fatalf("%d, %v\n%s%s", code, err, stdout, stderr)
	}
	if l := list[0]; l.Server != "notes" || l.State != "logged-in" || l.Issuer != w.URL || l.ClientID != "client-1" || !l.Renewed || len(l.Scopes) != 2 {
		t.Errorf("listed %+v", l)
	}
	if stdout, _, _ := command(t, "", "auth", "--list"); !strings.Contains(stdout, "notes   logged-in  "+w.URL) {
		t.Errorf("listed\n%s", stdout)
	}
	// No token and no code is in a file that can be read, or on record.
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "canary") {
			t.Errorf("%s holds a token", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if stdout, _, _ := command(t, "", "audit", "notes", "--action", "login"); !strings.Contains(stdout, "by "+w.URL+", scopes: read mine") {
		t.Errorf("on record is\n%s", stdout)
	}

	stdout, stderr, code = command(t, "", "auth", "notes", "--logout")
	if code != 0 || stdout != "notes: logged out\n" || stderr != "" || len(w.Revoked) != 2 {
		t.Errorf("%d, revoked %q\n%s%s", code, w.Revoked, stdout, stderr)
	}
	stdout, _, code = command(t, "", "auth", "notes", "--logout")
	if code != 0 || stdout != "notes: not logged in\n" {
		t.Errorf("a second time: %d\n%s", code, stdout)
	}
}

// The secret of a client that was registered by hand is read from standard input
// or the environment.
func TestAuthAsGivenClient(t *testing.T) {
	w := oauthtest.New(t)
	w.Metadata = func(m map[string]any) {
		delete(m, "registration_endpoint")
		m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
	}
	remoteHome(t, w.URL+"/mcp")
	_, stderr, code := command(t, "", "auth", "notes")
	if code != 1 || !strings.Contains(stderr, "registers nobody by itself") || !strings.Contains(stderr, "berth auth notes --client-id ID") {
		t.Errorf("%d\n%s", code, stderr)
	}
	_, stderr, code = command(t, "one\n", "auth", "notes", "--client-id", "given", "--with-secret")
	if code != 0 || w.Asked.Get("client_id") != "given" || w.Secret != "one" {
		t.Errorf("%d, as %q with %q\n%s", code, w.Asked.Get("client_id"), w.Secret, stderr)
	}
	t.Setenv(clientSecretVariable, "two")
	_, stderr, code = command(t, "", "auth", "notes", "--client-id", "given")
	if code != 0 || w.Secret != "two" {
		t.Errorf("%d, with %q\n%s", code, w.Secret, stderr)
	}
	if _, stderr, code := command(t, "", "auth", "notes", "--client-id", "given", "--with-secret"); code != 2 {
		t.Errorf("%d\n%s", code, stderr)
	}
}

// Without a browser the URL is what there is, and the wait ends.
func TestAuthWithoutBrowser(t *testing.T) {
	w := oauthtest.New(t)
	remoteHome(t, w.URL+"/mcp")
	_, stderr, code := command(t, "", "auth", "notes", "--no-browser", "--timeout", "300ms")
	if code != 1 || !strings.Contains(stderr, "the browser did not come back: the 300ms of --timeout are over") || w.Asked != nil {
		t.Errorf("%d\n%s", code, stderr)
	}
	t.Setenv("BERTH_BROWSER", "/nowhere/browser")
	_, stderr, code = command(t, "", "auth", "notes", "--timeout", "300ms")
	if code != 1 || !strings.Contains(stderr, "note: no browser was opened: ") {
		t.Errorf("%d\n%s", code, stderr)
	}
}

// Who removes a server removes its tokens.
func TestRemoveForgetsLogin(t *testing.T) {
	w := oauthtest.New(t)
	dir := remoteHome(t, w.URL+"/mcp")
	if _, stderr, code := command(t, "", "auth", "notes"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := command(t, "", "remove", "notes"); code != 0 || stderr != "" {
		t.Errorf("%d\n%s", code, stderr)
	}
	if stdout, _, _ := command(t, "", "auth", "--list", "--json"); strings.TrimSpace(stdout) != "[]" {
		t.Errorf("listed\n%s", stdout)
	}
	// A store that does not open is in nobody's way, and stays.
	vault := filepath.Join(dir, "credentials", "vault.age")
	if err := os.WriteFile(vault, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := command(t, "", "add", "notes", "--no-run", "--", "testserver"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := command(t, "", "remove", "notes"); code != 0 || !strings.Contains(stderr, "warning: the login to notes, if there is one, is kept: ") || !strings.Contains(stderr, vault) {
		t.Errorf("%d\n%s", code, stderr)
	}
	if data, _ := os.ReadFile(vault); string(data) != "garbage" {
		t.Errorf("the store is %q now", data)
	}
}

func TestOnlyTheWebIsOpened(t *testing.T) {
	t.Setenv("BERTH_BROWSER", "/nowhere/browser")
	for _, at := range []string{"file:///etc/passwd", "javascript:alert(1)", "-x", "", "https:", "smb://h/x"} {
		if err := openBrowser(at); err == nil || !strings.Contains(err.Error(), "not an address of the web") {
			t.Errorf("%q: %v", at, err)
		}
	}
}

// TestRemoteLogin: a remote server that wants a login says so, has it after `berth
// auth`, renews it by itself, and has it no more after a logout, without a restart.
func TestRemoteLogin(t *testing.T) {
	w := oauthtest.New(t)
	w.MCP = &farServer{t: t, open: true, calls: map[string]int{}}
	t.Setenv("BERTH_BROWSER", "testbrowser")
	b := newBench(t)
	const advice = "far wants to know who asks: a login is needed; berth auth far"
	if code, out := b.try("add", "far", "--max-restarts", "1", "--url", w.URL+"/mcp"); code != exitFailed || !strings.Contains(out, advice) {
		t.Errorf("add: %d\n%s", code, out)
	}
	if code, out := b.try("start", "far"); code != exitFailed || !strings.Contains(out, advice) {
		t.Errorf("start before the login: %d\n%s", code, out)
	}
	if code, out := b.try("auth", "far"); code != exitOK || !strings.Contains(out, "note: it is down: berth start far") {
		t.Errorf("auth: %d\n%s", code, out)
	}
	b.berth("start", "far")
	if got := b.berth("call", "far", "echo", `{"message":"over there"}`); got != "over there\n" {
		t.Errorf("call printed %q", got)
	}
	pid := b.status("far").PID
	w.Expire()
	if got := b.berth("call", "far", "echo", `{"message":"again"}`); got != "again\n" || w.Renewals != 1 {
		t.Errorf("call printed %q after %d renewals", got, w.Renewals)
	}
	b.berth("auth", "far", "--logout")
	if code, out := b.try("call", "far", "echo", `{"message":"x"}`); code != exitFailed || !strings.Contains(out, "berth auth far") {
		t.Errorf("call after the logout: %d\n%s", code, out)
	}
	b.berth("auth", "far")
	if got := b.berth("call", "far", "echo", `{"message":"back"}`); got != "back\n" || b.status("far").PID != pid {
		t.Errorf("call printed %q, pid %d, not %d", got, b.status("far").PID, pid)
	}
	b.berth("stop", "far")
	if log := b.berth("logs", "far"); strings.Contains(log, "canary") {
		t.Errorf("the log has a token:\n%s", log)
	}
}
