//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/oauthtest"
	"github.com/berth-run/berth/internal/released"
)

// What the driver of the suite's client half is told by its environment: the
// released binary to use, and that it is the browser.
const (
	authBinary  = "CONFORMANCE_AUTH_BERTH"
	authBrowser = "CONFORMANCE_AUTH_BROWSER"
)

// TestAuthBrowser is the browser that berth auth opens: its last argument is a URL.
func TestAuthBrowser(t *testing.T) {
	if os.Getenv(authBrowser) == "" {
		return
	}
	if err := oauthtest.Browse(t.Context(), os.Args[len(os.Args)-1]); err != nil {
		t.Fatal(err)
	}
}

// browse has berth auth open TestAuthBrowser as the browser.
func browse(t *testing.T) {
	t.Helper()
	browser := filepath.Join(t.TempDir(), "browser")
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s -test.run='^TestAuthBrowser$' \"$1\"\n", authBrowser, os.Args[0])
	if err := os.WriteFile(browser, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BERTH_BROWSER", browser)
}

// useBerth does what a user does: add the server, call its tool, and log in as often
// as Berth says that this is what to do.
func useBerth(t *testing.T, bin, url string) {
	t.Helper()
	site := released.NewSite(t, bin)
	browse(t)
	login := []string{"auth", "x", "--timeout", "30s", "--client-id", "https://conformance-test.local/client-metadata.json"}
	if text := os.Getenv("MCP_CONFORMANCE_CONTEXT"); text != "" {
		var given struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BERTH_CLIENT_SECRET", given.Secret)
		login[len(login)-1] = given.ID
	}
	site.Berth("add", "x", "--no-run", "--url", url, "--no-restart")
	for logins := 0; ; logins++ {
		out, err := site.Try("call", "x", "test-tool", "{}")
		if err == nil {
			return
		}
		said := fmt.Sprint(out, err)
		if !strings.Contains(said, "berth auth x") || logins == 3 {
			t.Fatalf("after %d logins: %s", logins, said)
		}
		if out, err := site.Try(login...); err != nil {
			t.Fatalf("login %d: %v\n%s", logins+1, err, out)
		}
	}
}

// TestAuthSuiteThroughBerth: what TestAuthSuite shows of the package holds for the
// released binary, its store, its processes and its commands.
func TestAuthSuiteThroughBerth(t *testing.T) {
	o := switchedOn(t)
	t.Setenv(authBinary, released.Build(t))
	for _, revision := range []string{legacy, modern} {
		o.checkAuth(t, revision)
	}
}
