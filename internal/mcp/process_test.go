package mcp

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// process is a real server on plain pipes, as the shim would hold it.
type process struct {
	stdin  io.Writer
	lines  chan said
	stderr *bytes.Buffer // to be read when the process has ended

	mu    sync.Mutex // guards the fields below
	note  []byte
	ready *berth.MCPInfo
	epoch uint64
	sent  int
}

// startProcess starts a server that ends with the test: first its stdin is
// closed, and if that is not enough, it is killed.
func startProcess(t *testing.T, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = 5 * time.Second
	p := &process{lines: make(chan said, 1), stderr: new(bytes.Buffer)}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { p.pump(out, stop) })
	t.Cleanup(func() {
		stdin.Close()
		close(stop)
		kill := time.AfterFunc(10*time.Second, func() {
			t.Errorf("%s did not end when its stdin was closed", name)
			cmd.Process.Kill()
		})
		defer kill.Stop()
		reading.Wait()
		cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", name, p.stderr)
		}
	})
	return p
}

// pump reads the server's stdout to its end, whether anyone wants it or not.
func (p *process) pump(out io.Reader, stop chan struct{}) {
	r := jsonrpc.NewReader(out, 0)
	for {
		line, err := r.Next()
		select {
		case p.lines <- said{bytes.Clone(line), err}:
		case <-stop:
		}
		if err != nil {
			return
		}
	}
}

func (p *process) Read(ctx context.Context) ([]byte, error) {
	select {
	case s := <-p.lines:
		return s.line, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *process) Write(_ context.Context, line, note []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if note != nil {
		p.note = note
	}
	p.sent++
	_, err := p.stdin.Write(append(bytes.Clone(line), '\n'))
	return err
}

func (p *process) SetNote(_ context.Context, note []byte, ready *berth.MCPInfo) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note, p.ready = note, ready
	return nil
}

func (p *process) Note() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.note
}

func (p *process) Epoch() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

// reattach is what a new attachment to the same process sees. It returns how
// many lines were sent so far.
func (p *process) reattach() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch++
	return p.sent
}

func (p *process) sentLines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// within is a context that a test on real processes must not outlast.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// node returns the path of node, or skips the test.
func node(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node in PATH")
	}
	return path
}

// npmPrefix returns the directory that BERTH_TEST_NPM names, or skips the test.
func npmPrefix(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BERTH_TEST_NPM")
	if dir == "" {
		t.Skip("BERTH_TEST_NPM does not name a directory in which npm installed the servers")
	}
	return dir
}
