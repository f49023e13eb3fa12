package gateway

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/supervisor"
)

// bareGateway is a gateway that serves nobody and starts no process: it can live in
// a bubble of testing/synctest. It is closed at the end of the test.
func bareGateway(t testing.TB) *Gateway {
	t.Helper()
	m, err := supervisor.Open(&supervisor.Options{Home: memoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := home.Open(m.Dir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{
		Home: h, Manager: m, Key: bytes.Repeat([]byte{7}, 32),
		Settings: func(string) (Settings, error) { return Settings{}, nil },
		Up:       func(context.Context, string, bool) error { return berth.ErrNotRunning },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.ctx.Err() == nil {
			g.Close()
		}
	})
	return g
}

// memoryDir is a directory of the test's own, in memory where there is such a place:
// a home is synced often.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gateway")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// bareServer is a server of it.
func bareServer(t testing.TB, g *Gateway) *server {
	t.Helper()
	s, err := g.server("s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newTestSession is a session of such a server.
func newTestSession(t testing.TB) *session {
	t.Helper()
	return newSession(bareServer(t, bareGateway(t)), Caller{Principal: "p"}, "2025-11-25", bridge.Client{})
}
