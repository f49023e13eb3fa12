package home

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// TestWatchSettings: who watches hears of each change of a setting, in a directory
// that comes later, too, and of nothing else that happens in the home.
func TestWatchSettings(t *testing.T) {
	h := openTestHome(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	told := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() { ended <- h.WatchSettings(ctx, func() { told <- struct{}{} }, func() {}) }()
	await := func(what string, change func() error) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			if err := change(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			select {
			case <-told:
				return
			case <-time.After(time.Second): // it may not have begun to watch
			case <-deadline:
				t.Fatalf("%s is not noticed", what)
			}
		}
	}
	server := NewServer("one", "true", nil)
	await("a server", func() error { return h.WriteServer(server, true) })
	await("a profile, the first", func() error {
		_ = h.RemoveProfile("work")
		return h.CreateProfile(Profile{Name: "work"})
	})
	await("a profile that changes", func() error {
		return h.UpdateProfile("work", func(p *Profile) error { p.ReadOnly = !p.ReadOnly; return nil })
	})
	await("a client, the first", func() error {
		return h.UpdateClient("ide", func(c *Client) error { c.ReadOnly = !c.ReadOnly; return nil })
	})
	await("berth.toml", func() error { return os.WriteFile(h.ConfigPath(), []byte("[gateway]\n"), 0o600) })

	// What is told late is told by now; then what is no setting is not told.
	for quiet := false; !quiet; {
		select {
		case <-told:
		case <-time.After(5 * watchSettles):
			quiet = true
		}
	}
	if err := os.WriteFile(h.path("other.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Error("a file that is no setting is told")
	case <-time.After(5 * watchSettles):
	}
	over := errors.New("over")
	cancel(over)
	if err := <-ended; !errors.Is(err, over) {
		t.Errorf("it ended with %v", err)
	}
}
