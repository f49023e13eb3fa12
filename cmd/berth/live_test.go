package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/supervisor"
)

// bench is a home of a test's own and the command on it.
type bench struct {
	*testing.T
	dir string
}

func newBench(t *testing.T) bench {
	dir := filepath.Join(t.TempDir(), "home")
	t.Cleanup(func() {
		if err := endAll(dir); err != nil {
			t.Error(err)
		}
	})
	return bench{t, dir}
}

// berth runs a command in this process and returns what it printed.
func (b bench) berth(args ...string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, append([]string{"--home", b.dir}, args...), strings.NewReader(""), &stdout, &stderr); code != 0 {
		b.Fatalf("berth %q: exit code %d\n%s%s", args, code, &stdout, &stderr)
	}
	return stdout.String()
}

func (b bench) status(name string) berth.Status {
	b.Helper()
	m, err := supervisor.Open(&supervisor.Options{Home: b.dir})
	if err != nil {
		b.Fatal(err)
	}
	st, err := m.Status(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// kill kills a process and waits for its end.
func (b bench) kill(pid int) {
	b.Helper()
	p := b.pin(pid)
	defer p.Close()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		b.Fatal(err)
	}
	b.gone(p)
}

func (b bench) pin(pid int) *proc.Pinned {
	b.Helper()
	id, err := proc.Identify(pid)
	if err != nil {
		b.Fatal(err)
	}
	p, err := proc.Pin(id)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (b bench) gone(p *proc.Pinned) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		b.Fatal("a process did not end: ", err)
	}
}

// talker is a client of `berth proxy`.
type talker struct {
	bench
	in    io.WriteCloser
	out   *bufio.Scanner
	ended chan int
	err   *bytes.Buffer
}

func (b bench) proxy(args ...string) *talker {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	t := &talker{bench: b, in: inW, out: bufio.NewScanner(outR), ended: make(chan int, 1), err: &bytes.Buffer{}}
	t.out.Buffer(nil, 64<<20)
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	go func() {
		defer cancel()
		code := run(ctx, append([]string{"--home", b.dir, "proxy"}, args...), inR, outW, t.err)
		outW.Close()
		t.ended <- code
	}()
	b.Cleanup(func() { inW.Close(); outR.Close() })
	return t
}

func (t *talker) send(line string) {
	t.Helper()
	if _, err := io.WriteString(t.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// want reads lines until one has the id, and compares what it says.
func (t *talker) want(id, part string) string {
	t.Helper()
	for t.out.Scan() {
		var m struct {
			ID json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal(t.out.Bytes(), &m); err != nil {
			t.Fatalf("%q is not JSON: %v", t.out.Text(), err)
		}
		if string(m.ID) == id {
			if !strings.Contains(t.out.Text(), part) {
				t.Fatalf("got %s, want %s in it", t.out.Text(), part)
			}
			return t.out.Text()
		}
	}
	t.Fatalf("no answer to %s: %v", id, t.out.Err())
	return ""
}

func (t *talker) shakeHands() {
	t.Helper()
	t.send(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	t.want("0", `"protocolVersion":"2025-11-25"`)
	t.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

func (t *talker) echo(id int, message string) {
	t.Helper()
	t.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":%q}}}`, id, message))
	t.want(strconv.Itoa(id), message)
}

// echoAgain is echo for a client that sends a request again when it is told
// that the server was restarted. It returns the id that came next.
func (t *talker) echoAgain(id int, message string) int {
	t.Helper()
	for last := id + 5; id < last; id++ {
		t.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":%q}}}`, id, message))
		line := t.want(strconv.Itoa(id), "")
		if strings.Contains(line, message) {
			return id + 1
		}
		if !strings.Contains(line, `"code":-32603`) {
			t.Fatalf("got %s", line)
		}
	}
	t.Fatal("the server was restarted again and again")
	return 0
}

// hangUp ends the client's input and returns the exit code.
func (t *talker) hangUp() int {
	t.Helper()
	t.in.Close()
	return t.end()
}

// end waits for the end of the proxy and returns the exit code.
func (t *talker) end() int {
	t.Helper()
	for t.out.Scan() {
	}
	select {
	case code := <-t.ended:
		return code
	case <-time.After(30 * time.Second):
		t.Fatal("the proxy does not end")
		return -1
	}
}

// TestFault3ProxyEndsWithItsClient and goes on when the server, its supervisor or
// the gateway does not.
func TestFault3ProxyEndsWithItsClient(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	c := b.proxy("one")
	c.shakeHands()
	c.echo(1, "first")

	// Another client has a conversation of its own with the same process.
	other := b.proxy("one")
	other.shakeHands()
	other.echo(1, "to the other")
	if text := strings.TrimSpace(b.berth("call", "one", "echo", `{"message":"to a command"}`)); text != "to a command" {
		t.Errorf("a command got %q", text)
	}
	before := b.status("one")
	if before.Generation != 1 {
		t.Errorf("three clients have taken %d processes", before.Generation)
	}

	// The process is killed: each conversation goes on with the next.
	b.kill(before.PID)
	next := c.echoAgain(2, "after the kill")
	other.echoAgain(2, "after the kill, to the other")
	if now := b.status("one"); now.PID == before.PID || now.Restarts != 1 {
		t.Errorf("status %+v after a kill of %d", now, before.PID)
	}

	// A request that its process took with it is answered.
	c.send(`{"jsonrpc":"2.0","id":"gone","method":"tools/call","params":{"name":"crash","arguments":{}}}`)
	c.want(`"gone"`, `whether the request was carried out is not known`)
	next = c.echoAgain(next, "after the crash")

	// So it is when the shim is killed, and when the gateway is.
	b.kill(b.status("one").ShimPID)
	next = c.echoAgain(next, "after the shim")
	generation := b.status("one").Generation
	b.kill(b.gateway())
	next = c.echoAgain(next, "after the gateway")
	c.echo(next, "healed")
	if now := b.status("one"); now.Generation != generation {
		t.Errorf("the gateway took the server with it: %+v", now)
	}

	for _, c := range []*talker{c, other} {
		if code := c.hangUp(); code != 0 {
			t.Errorf("exit code %d: %s", code, c.err)
		}
	}
	if st := b.status("one"); st.Status != berth.Running {
		t.Errorf("the server did not outlive its client: %+v", st)
	}
}

// gateway is the process of the gateway that watches over the home.
func (b bench) gateway() int {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "locks", "keeper"))
	if err != nil {
		b.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.Fatal(err)
	}
	return pid
}

// TestStoppedServerStaysStopped for the clients that were using it, and comes
// back for one that comes.
func TestStoppedServerStaysStopped(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	c := b.proxy("one")
	c.shakeHands()
	c.echo(1, "first")
	b.berth("stop", "one")
	for id, said := 100, ""; !strings.Contains(said, `was stopped`); id++ {
		// The gateway hears of the end a moment later than berth stop.
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":"x"}}}`, id))
		said = c.want(fmt.Sprint(id), `"error"`)
	}
	if st := b.status("one"); st.Status != berth.Stopped {
		t.Errorf("a call has started it: %+v", st)
	}
	other := b.proxy("one")
	other.shakeHands()
	other.echo(1, "started again")
	c.echo(3, "for all")
	for _, c := range []*talker{c, other} {
		if code := c.hangUp(); code != 0 {
			t.Errorf("exit code %d: %s", code, c.err)
		}
	}
}

func awaitStatus(b bench, name string, is func(berth.Status) bool) error {
	m, err := supervisor.Open(&supervisor.Options{Home: b.dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	found := errors.New("found")
	ctx, stop := context.WithCancelCause(ctx)
	err = m.Events(ctx, func(ev berth.Event) {
		if ev.Status.Name == name && is(ev.Status) {
			stop(found)
		}
	})
	if errors.Is(err, found) {
		return nil
	}
	return err
}

// TestDemo runs the README's first command and ends it in each way.
func TestDemo(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to end it by")
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			b := bench{T: t}
			tmp := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "berth", "up", "--demo")
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				fmt.Fprintln(&text, lines.Text())
				if regexp.MustCompile(`^demo: echo answered "hi" in \d+ ms$`).MatchString(lines.Text()) {
					break
				}
			}
			m := regexp.MustCompile(`process (\d+) under supervisor (\d+)(?s:.*)killed process (\d+) \(SIGKILL\); process (\d+) took its place after`).FindStringSubmatch(text.String())
			if m == nil || m[1] != m[3] {
				cmd.Process.Kill()
				cmd.Wait()
				t.Fatalf("printed:\n%s%s", &text, &stderr)
			}
			if !regexp.MustCompile(`(?m)^demo +running +ready +` + m[4] + " ").MatchString(text.String()) {
				t.Errorf("it is not ready:\n%s", &text)
			}
			var alive []*proc.Pinned
			for _, word := range []string{m[2], m[4]} {
				pid, _ := strconv.Atoi(word)
				alive = append(alive, b.pin(pid))
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			err = cmd.Wait()
			for _, p := range alive {
				b.gone(p)
				p.Close()
			}
			if sig == syscall.SIGKILL {
				return // nobody was left to remove the home
			}
			if err != nil {
				t.Errorf("%v\n%s", err, &stderr)
			}
			if left, _ := os.ReadDir(tmp); len(left) > 0 {
				t.Errorf("left in the temporary directory: %v", left)
			}
		})
	}
}

// TestKilledCaller: a caller that is killed while it waits leaves a
// server that the next caller can use.
func TestKilledCaller(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	for range 5 {
		cmd := exec.Command("berth", "--home", b.dir, "call", "one", "echo", `{"message":"x"}`)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if got := b.berth("call", "one", "echo", `{"message":"still here"}`); got != "still here\n" {
			t.Fatalf("got %q", got)
		}
	}
}
