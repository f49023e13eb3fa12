// Package released runs the command as it is released, for tests: it builds it,
// gives it a home, and starts its gateway, or what that is compared with. What a
// test started is ended with it.
package released

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds the command and returns the path of its binary.
func Build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "berth")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/berth-run/berth/cmd/berth")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
	return path
}

// Site is a home of a test's own and the command on it.
type Site struct {
	testing.TB
	Bin, Home string
}

// NewSite returns a home with nothing in it, whose servers are stopped with the
// test.
func NewSite(t testing.TB, bin string) Site {
	s := Site{t, bin, filepath.Join(t.TempDir(), "home")}
	t.Cleanup(func() {
		// The test's own context is over by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := s.command(ctx, "stop", "--all").CombinedOutput(); err != nil {
			t.Errorf("berth stop --all: %v\n%s", err, out)
		}
	})
	return s
}

func (s Site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Bin, append([]string{"--home", s.Home}, args...)...)
	cmd.Env = append(os.Environ(), "BERTH_ALLOW_NETWORK_HOME=1")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Berth runs a command, which has to succeed, and returns what it printed.
func (s Site) Berth(args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := s.try(ctx, args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// Try is Berth for a command that may fail.
func (s Site) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.try(ctx, args...)
}

func (s Site) try(ctx context.Context, args ...string) (string, error) {
	cmd := s.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("berth %q: %w\n%s%s", args, err, out, &stderr)
	}
	return string(out), err
}

// Gateway is a `berth up`.
type Gateway struct {
	URL string // without a slash at the end
	PID int
	// Kill sends SIGKILL and waits for the end, which is no fault then.
	Kill func()
	// Ended is closed when it has ended.
	Ended <-chan struct{}
}

// Up starts the gateway on a free port, without authentication.
func (s Site) Up(args ...string) Gateway {
	s.Helper()
	return s.up(append([]string{"--listen", "127.0.0.1:0", "--no-auth"}, args...)...)
}

// Replace starts a gateway in the place of the one that runs.
func (s Site) Replace() Gateway {
	s.Helper()
	return s.up("--replace")
}

func (s Site) up(args ...string) Gateway {
	s.Helper()
	g, url := s.Launch(args...)
	select {
	case g.URL = <-url:
		return g
	case <-g.Ended:
		s.Fatal("berth up ended")
	case <-time.After(time.Minute):
		s.Fatal("berth up does not say where it listens")
	}
	return Gateway{}
}

// Launch starts a gateway, whose URL comes once it listens.
func (s Site) Launch(args ...string) (g Gateway, url <-chan string) {
	s.Helper()
	cmd := s.command(context.Background(), append([]string{"up"}, args...)...)
	said := &saying{url: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	var waited error
	ended := make(chan struct{})
	go func() {
		waited = cmd.Wait()
		close(ended)
	}()
	killed := false
	kill := func() {
		killed = true
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	s.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			s.Error("berth up did not end within 30 s of a signal; its goroutines follow")
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			<-ended
		}
		if waited != nil && !killed {
			s.Errorf("berth up: %v", waited)
		}
		if s.Failed() {
			s.Logf("berth up printed:\n%s", said)
		}
	})
	return Gateway{"", cmd.Process.Pid, kill, ended}, said.url
}

// Logs prints what a server printed, if the test has failed.
func (s Site) Logs(name string) {
	s.Helper()
	if s.Failed() {
		s.Logf("the log of %s:\n%s", name, s.Berth("logs", name, "--tail", "50"))
	}
}

// saying is what a gateway prints, in which it says where it listens.
type saying struct {
	url  chan string
	mu   sync.Mutex // guards the fields below
	text bytes.Buffer
	told bool
}

func (w *saying) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if url := listensAt(w.text.Bytes()); url != "" && !w.told {
		w.told = true
		w.url <- url
	}
	return len(p), nil
}

func (w *saying) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// listensAt finds where a gateway says that it listens.
func listensAt(text []byte) string {
	m := regexp.MustCompile(`(?m)^berth: listening on (http://\S+?)/?\r?\n`).FindSubmatch(text)
	if m == nil {
		return ""
	}
	return string(m[1])
}
