package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// births counts the processes of a server.
type births struct{ file string }

func newBirths(t *testing.T) births { return births{filepath.Join(t.TempDir(), "births")} }

// want fails the test unless n processes were started so far, one at a time.
func (b births) want(t *testing.T, n int, when string) {
	t.Helper()
	data, err := os.ReadFile(b.file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if got := string(data); got != strings.Repeat("born\n", n) {
		t.Fatalf("%s: processes that were started: %q, want %d", when, got, n)
	}
}

// try is berth for a command that may fail; the output is that of both streams.
func (b bench) try(args ...string) (exitCode, string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	code := run(ctx, append([]string{"--home", b.dir}, args...), strings.NewReader(""), &out, &out)
	return exitCode(code), out.String()
}

// process is the command as a process of its own: doctor counts whatever its
// process has started as its to end.
func (b bench) process(args ...string) (exitCode, string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "berth", append([]string{"--home", b.dir}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		b.Fatal(err)
	}
	return exitCode(cmd.ProcessState.ExitCode()), string(out)
}

// do is process for a command that must succeed.
func (b bench) do(args ...string) {
	b.Helper()
	if code, out := b.process(args...); code != exitOK {
		b.Fatalf("berth %q: exit code %d\n%s", args, code, out)
	}
}

// The reference's health check starts a second copy of the server to speak to.
// Whatever asks how a server is, speaks to the one that runs, or to none.
func TestFault20_NothingStartsASecondCopy(t *testing.T) {
	b := newBench(t)
	born := newBirths(t)
	b.do("add", "one", "--no-run", "--allow", "filesystem:write:"+filepath.Dir(born.file), "--", "testserver", "-births", born.file)
	if err := os.WriteFile(filepath.Join(b.dir, "berth.toml"), []byte("[runtime]\nhealth_check_interval = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := [][]string{
		{"status"}, {"status", "one"}, {"status", "one", "--json"}, {"doctor"}, {"doctor", "--json"}, {"logs", "one"}, {"audit"},
		{"audit", "one", "--json"}, {"audit", "verify"}, {"config", "one"}, {"disable", "one"}, {"enable", "one"}, {"version"},
	}
	for _, args := range look {
		b.do(args...)
		born.want(t, 0, strings.Join(args, " "))
	}
	for _, args := range [][]string{{"tools", "one", "--no-start"}, {"call", "one", "echo", "--no-start"}} {
		if code, out := b.process(args...); code != exitNotRunning {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
		born.want(t, 0, strings.Join(args, " "))
	}

	b.do("start", "one") // which waits until it is ready
	born.want(t, 1, "start")
	pid := b.status("one").PID
	ask := [][]string{
		{"start", "one"}, {"start", "one", "--wait=false"}, {"tools", "one"}, {"tools", "one", "--json"},
		{"call", "one", "echo", `{"message":"hi"}`}, {"call", "one", "echo", `{"message":"hi"}`, "--json"},
	}
	for _, args := range append(look, ask...) {
		b.do(args...)
		born.want(t, 1, strings.Join(args, " "))
	}
	// All at once: those that need the server for themselves wait for each other.
	var all sync.WaitGroup
	for _, args := range append(look, ask...) {
		all.Go(func() { _, _ = b.process(args...) })
	}
	all.Wait()
	b.do("enable", "one") // the last of them may have been the opposite
	born.want(t, 1, "all at once")

	// Nor does a keeper, which looks at it all the time.
	ctx, stop := context.WithCancel(t.Context())
	said := &waitFor{text: "one: ready", found: make(chan struct{})}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"--home", b.dir, "up"}, strings.NewReader(""), said, said) }()
	select {
	case <-said.found:
	case code := <-ended:
		t.Fatalf("up: exit code %d\n%s", code, said)
	case <-time.After(time.Minute):
		t.Fatalf("up said\n%s", said)
	}
	b.do("status", "one")
	b.do("call", "one", "echo", `{"message":"kept"}`)
	stop()
	<-ended
	born.want(t, 1, "up")
	if got := b.status("one"); got.PID != pid || got.Restarts != 0 || got.Phase != berth.PhaseReady {
		t.Errorf("the server is now %+v, its pid was %d", got, pid)
	}

	// Clients share it.
	for range 2 {
		c := b.proxy("one")
		c.shakeHands()
		c.echo(1, "mine")
		if code := c.hangUp(); code != 0 {
			t.Errorf("proxy: exit code %d: %s", code, c.err)
		}
	}
	born.want(t, 1, "proxy")
}

// waitFor is a stream in which a text is waited for.
type waitFor struct {
	text  string
	found chan struct{}

	mu   sync.Mutex // guards the fields below
	seen bytes.Buffer
	done bool
}

func (w *waitFor) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Write(p)
	if !w.done && strings.Contains(w.seen.String(), w.text) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

func (w *waitFor) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.String()
}
