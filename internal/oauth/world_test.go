package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/berth-run/berth/internal/oauthtest"
	"github.com/berth-run/berth/internal/vault"
)

func openVault(t testing.TB, dir string) *vault.Vault {
	t.Helper()
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newClient(t testing.TB, w *oauthtest.World, dir string, change func(*oauth.Options)) *oauth.Client {
	t.Helper()
	o := oauth.Options{Server: "notes", URL: w.URL + "/mcp", Vault: openVault(t, dir)}
	if change != nil {
		change(&o)
	}
	c, err := oauth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get makes a request as whoever uses the client does, and returns the status.
func get(ctx context.Context, c *oauth.Client, at string) (int, error) {
	for again := true; ; again = false {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return 0, err
		}
		if err := c.Authorize(req); err != nil {
			return 0, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		res.Body.Close()
		if res.StatusCode != 401 && res.StatusCode != 403 || !again {
			return res.StatusCode, nil
		}
		if err := c.Challenge(ctx, res); err != nil {
			return res.StatusCode, err
		}
	}
}

// silent fails the test if an error tells what it should not.
func silent(t testing.TB, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "canary") || strings.Contains(e.Error(), "state=") {
			t.Errorf("the error tells a secret: %v", e)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("OAUTH_TEST_HOME"); dir != "" {
		os.Exit(renewer(dir, os.Getenv("OAUTH_TEST_URL")))
	}
	os.Exit(m.Run())
}

// renewer is a process whose four goroutines each make a request, once there is a
// line on its stdin.
func renewer(dir, at string) int {
	h, err := home.Open(dir, nil)
	if err != nil {
		return 2
	}
	v, err := vault.Open(h, nil)
	if err != nil {
		return 2
	}
	c, err := oauth.New(oauth.Options{Server: "notes", URL: at, Vault: v})
	if err != nil {
		return 2
	}
	fmt.Println("ready")
	_, _ = io.ReadFull(os.Stdin, make([]byte, 1))
	var wg sync.WaitGroup
	codes := make([]string, 4)
	for i := range codes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			status, err := get(ctx, c, at)
			codes[i] = fmt.Sprint(status, " ", err)
		})
	}
	wg.Wait()
	fmt.Println(strings.Join(codes, ", "))
	return 0
}
