//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/oauthtest"
	"github.com/berth-run/berth/internal/released"
	"golang.org/x/sys/unix"
)

// What the driver of the suite's client half is told by its environment: the
// released binary to use, and that it is the browser.
const (
	authBinary  = "CONFORMANCE_AUTH_BERTH"
	authBrowser = "CONFORMANCE_AUTH_BROWSER"
)

// suiteClientID is the URL by which the suite's authorization server knows its clients.
const suiteClientID = "https://conformance-test.local/client-metadata.json"

// authServer returns the URL of a server of the official suite's, which wants a login
// at the suite's authorization server. Both serve until the test ends: the suite takes
// for its client a shell that waits for that.
func (o others) authServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	said, hold := filepath.Join(dir, "url"), filepath.Join(dir, "hold")
	client := filepath.Join(dir, "client")
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" >%[1]s.new && mv %[1]s.new %[1]s && read line <%[2]s\n", said, hold)
	if err := errors.Join(unix.Mkfifo(hold, 0o600), os.WriteFile(client, []byte(script), 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(o.node, o.script(t, "@modelcontextprotocol/conformance/dist/index.js"),
		"client", "--command", client, "--scenario", "auth/metadata-default", "--spec-version", legacy, "--timeout", "900000", "--output-dir", dir)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it judges a shell is of no interest
		close(ended)
	}()
	t.Cleanup(func() {
		if f, err := os.OpenFile(hold, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil { // nobody reads: it has ended
			f.Close()
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			cmd.Process.Kill()
			t.Errorf("the suite does not end:\n%s", out.String())
		}
	})
	deadline := time.After(time.Minute)
	for {
		if text, err := os.ReadFile(said); err == nil {
			return strings.TrimSpace(string(text))
		}
		select {
		case <-ended:
			t.Fatalf("the suite has ended:\n%s", out.String())
		case <-deadline:
			t.Fatal("the suite does not start its client")
		case <-time.After(20 * time.Millisecond): // it tells nobody else
		}
	}
}

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
	login := []string{"auth", "x", "--timeout", "30s", "--client-id", suiteClientID}
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
