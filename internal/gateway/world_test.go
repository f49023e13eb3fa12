//go:build linux

package gateway

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/supervisor"
)

// world is a gateway in this process, with real shims and real servers.
type world struct {
	t       testing.TB
	dir     string
	home    *home.Home
	m       *supervisor.Manager
	g       *Gateway
	servers map[string]installed
	url     string // of TCP
	socket  string
	close   func()
}

// installed is a server of a world.
type installed struct {
	settings Settings
	spec     berth.ProcessSpec
}

// specOf runs this binary in a role.
func specOf(role string, env map[string]string) berth.ProcessSpec {
	spec := berth.ProcessSpec{
		Command: "/proc/self/exe",
		Env:     map[string]string{roleVar: role, "GORACE": "atexit_sleep_ms=0"},
		AutoRestart: &berth.RestartPolicy{
			Enabled: true, MaxRestarts: 1 << 20, MinDelay: berth.Duration(time.Millisecond), MaxDelay: berth.Duration(20 * time.Millisecond),
		},
		Grace: berth.Duration(time.Second),
	}
	if exe, err := os.Executable(); err == nil {
		spec.Command = exe
	}
	for k, v := range env {
		spec.Env[k] = v
	}
	return spec
}

// newWorld returns a world of these servers with its gateway open. All is gone
// at the end of the test, and of a process that does not get that far: its servers
// are on a leash.
func newWorld(t testing.TB, servers map[string]installed) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, servers: servers}
	if w.m, err = supervisor.Open(&supervisor.Options{Home: filepath.Join(dir, "home"), Leashed: true}); err != nil {
		t.Fatal(err)
	}
	if w.home, err = home.Open(w.m.Dir(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	w.open(Options{})
	return w
}

// newPuppetWorld is a world with one server, "dancer", that is a puppet.
func newPuppetWorld(t testing.TB, set Settings) (*world, *puppets) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := newPuppets(t, dir)
	return newWorld(t, map[string]installed{"dancer": {set, p.spec}}), p
}

// options are those of a gateway of this world.
func (w *world) options(o Options) Options {
	w.t.Helper()
	key, err := w.home.SealKey()
	if err != nil {
		w.t.Fatal(err)
	}
	o.Home, o.Manager, o.Key = w.home, w.m, key
	// A machine that is busy must not make a test another one.
	o.HelloWait, o.ListWait = cmp.Or(o.HelloWait, patience), cmp.Or(o.ListWait, patience)
	o.WriteWait = cmp.Or(o.WriteWait, 20*patience)
	o.Settings = func(name string) (Settings, error) {
		s, ok := w.servers[name]
		if !ok {
			return Settings{}, fmt.Errorf("server %q: %w", name, berth.ErrNoServer)
		}
		return s.settings, nil
	}
	if o.Members == nil {
		o.Members = w.members
	}
	o.Up = func(ctx context.Context, name string, _ bool) error {
		base := berth.ServerOf(name)
		s, ok := w.servers[base]
		if !ok {
			return berth.ErrNoServer
		}
		_, err := w.m.Start(ctx, name, s.spec)
		return err
	}
	return o
}

// members are all servers of the world, by name.
func (w *world) members(profile string) (Members, error) {
	if profile != "" {
		return Members{}, berth.ErrNoServer
	}
	var all Members
	for _, name := range slices.Sorted(maps.Keys(w.servers)) {
		all.Members = append(all.Members, Member{Name: name, Prefix: name})
	}
	return all, nil
}

// open opens a gateway.
func (w *world) open(o Options) {
	w.t.Helper()
	var err error
	if w.g, err = New(w.options(o)); err != nil {
		w.t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "http://" + tcp.Addr().String()
	w.socket = filepath.Join(w.dir, "gateway")
	unix, err := net.Listen("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 2)
	g := w.g
	go func() { served <- g.Serve(ctx, tcp, doorOf("anyone")) }()
	go func() { served <- g.Serve(ctx, unix, doorOf("me")) }()
	open := true
	w.close = func() {
		if !open {
			return
		}
		open = false
		cancel()
		g.Close()
		for range 2 {
			if err := <-served; err != nil {
				w.t.Error(err)
			}
		}
		os.Remove(w.socket)
	}
}

// doorOf is a door by which everyone is that principal.
func doorOf(principal string) Door {
	return Door{Who: func(net.Conn) (Caller, error) { return Caller{Principal: principal}, nil }}
}

// end closes the gateway and stops what runs.
func (w *world) end() {
	done := make(chan struct{})
	go func() {
		w.close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		w.t.Error("the gateway does not close")
	}
	http.DefaultClient.CloseIdleConnections()
	names, err := w.m.Names()
	if err != nil {
		w.t.Error(err)
	}
	for _, name := range names {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if _, err := w.m.Stop(ctx, name); err != nil && !errors.Is(err, berth.ErrNotRunning) {
			w.t.Errorf("stop %s: %v", name, err)
		}
		cancel()
	}
	if err := w.m.Close(); err != nil {
		w.t.Error(err)
	}
	if w.t.Failed() {
		for _, name := range names {
			lines, _ := w.m.Logs(name, 20)
			w.t.Logf("the log of %s:\n%s", name, lines)
		}
	}
}

// dial connects a client of lines to a server; "" is all of them as one, and what
// begins with a slash another address.
func (w *world) dial(who, server string) *script {
	w.t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	at := "" // all servers as one
	switch {
	case strings.HasPrefix(server, "/"):
		at = server
	case server != "":
		at = "/servers/" + server
	}
	if _, err := fmt.Fprintf(conn, "GET %s/lines HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", at, LinesProtocol); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || r.Buffered() > 0 {
		w.t.Fatalf("connect %s: %v %v", who, answer, err)
	}
	return newScript(w.t, who, conn)
}

// legacyClient connects a client of a legacy revision, initialized.
func (w *world) legacyClient(who, version, capabilities string) *script {
	w.t.Helper()
	c := w.dial(who, "dancer")
	c.say(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":` + capabilities + `,"clientInfo":{"name":"` + who + `","version":"1"}}}`)
	c.want(`{"jsonrpc":"2.0","id":"init","result":$_}`)
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}
