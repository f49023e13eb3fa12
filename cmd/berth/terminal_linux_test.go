package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// seat is a terminal with a command at it, for who sits there.
type seat struct {
	*testing.T
	master *os.File
	cmd    *exec.Cmd
	said   chan string // pieces of what is on the screen; closed at the end
	screen string      // all of them
	read   int         // how much of that was looked at
}

// atTerminal starts a command at a terminal of its own.
func atTerminal(t *testing.T, dir string, args ...string) *seat {
	t.Helper()
	master, slave := terminal(t)
	cmd := exec.Command("berth", append([]string{"--home", dir}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm", "BERTH_ALLOW_NETWORK_HOME=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err := cmd.Start()
	slave.Close() // so that the screen ends with the command
	if err != nil {
		t.Fatal(err)
	}
	term := &seat{T: t, master: master, cmd: cmd, said: make(chan string)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(term.said)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf) // EIO once nobody has the other end
			if n > 0 {
				term.said <- string(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		for range term.said { // lets the reader end
		}
		<-ended
	})
	return term
}

// sees waits until a text is on the screen, after what was seen before.
func (t *seat) sees(text string) {
	t.Helper()
	late := time.After(3 * time.Minute)
	for {
		if i := strings.Index(t.screen[t.read:], text); i >= 0 {
			t.read += i + len(text)
			return
		}
		select {
		case piece, more := <-t.said:
			if !more {
				t.Fatalf("it ended without %q:\n%s", text, t.screen)
			}
			t.screen += piece
		case <-late:
			t.Fatalf("it does not say %q:\n%s", text, t.screen)
		}
	}
}

// types types a line.
func (t *seat) types(line string) {
	t.Helper()
	if _, err := t.master.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

// hides waits until what is typed is not shown.
func (t *seat) hides() {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		settings, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if settings.Lflag&unix.ECHO == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what is typed is shown:\n%s", t.screen)
		}
	}
}

// ends waits for the end, which has to be a good one.
func (t *seat) ends() {
	t.Helper()
	for piece := range t.said {
		t.screen += piece
	}
	if err := t.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, t.screen)
	}
}

// TestInstallAsks: who sits at a terminal is asked for what a server needs, again if the
// answer cannot be, and for a yes; a secret is not shown, and is nowhere but in the store.
func TestInstallAsks(t *testing.T) {
	work := t.TempDir()
	if err := standIn(&testscript.Env{WorkDir: work}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(work, "standin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	const key = "made-up-hunter2"
	entry := filepath.Join(work, "server.json")
	if err := os.WriteFile(entry, []byte(`{"name":"io.github.someone/asks","description":"It asks","version":"1.0.0","packages":[
{"registryType":"npm","identifier":"@someone/asks","version":"1.0.0","transport":{"type":"stdio"},"environmentVariables":[
{"name":"TOKEN","description":"what lets it in","isRequired":true,"isSecret":true},
{"name":"MODE","isRequired":true,"choices":["fast","slow"]},
{"name":"COUNT","isRequired":true,"format":"number"},
{"name":"REGION","isRequired":true,"default":"eu"}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	x := atTerminal(t, b.dir, "install", entry)
	x.sees("TOKEN, what lets it in")
	x.hides()
	x.types("")
	x.sees("it is needed")
	x.sees("TOKEN")
	x.hides()
	x.types(key)
	x.sees("MODE (fast, slow): ")
	x.types("odd")
	x.sees(`MODE: "odd" is not one of fast, slow`)
	x.sees("MODE (fast, slow): ")
	x.types("slow")
	x.sees("COUNT: ")
	x.types("many")
	x.sees("is not a number")
	x.sees("COUNT: ")
	x.types("3")
	x.sees("env      COUNT=3")
	x.sees("env      REGION=eu")
	x.sees("install it as asks? [y/N] ")
	x.types("y")
	x.sees("asks: added")
	x.ends()
	if strings.Contains(x.screen, key) {
		t.Errorf("the secret is on the screen:\n%s", x.screen)
	}
	if got := b.berth("secret", "list", "asks"); !strings.Contains(got, "asks/TOKEN") || strings.Contains(got, "missing") {
		t.Errorf("secrets: %s", got)
	}
	for _, file := range []string{"servers/asks.toml", "logs/asks.log", "audit/audit.jsonl"} {
		if text, err := os.ReadFile(filepath.Join(b.dir, file)); err != nil || strings.Contains(string(text), key) {
			t.Errorf("%s: %v, or it has the secret", file, err)
		}
	}

	// No is no, and so is nothing.
	for i, answer := range []string{"n", ""} {
		name := fmt.Sprintf("no%d", i)
		x := atTerminal(t, b.dir, "install", "npm:@someone/other", "--as", name)
		x.sees("install it as " + name + "? [y/N] ")
		x.types(answer)
		x.sees("it was not done")
		for piece := range x.said {
			x.screen += piece
		}
		if err := x.cmd.Wait(); err == nil {
			t.Errorf("%q was taken for a yes", answer)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "servers", "no0.toml")); err == nil {
		t.Error("it was installed after a no")
	}
}

// TestInterruptedQuestion: Ctrl-C is an answer to each question, at once, and afterwards the
// terminal shows what is typed.
func TestInterruptedQuestion(t *testing.T) {
	work := t.TempDir()
	entry := filepath.Join(work, "server.json")
	if err := os.WriteFile(entry, []byte(`{"name":"io.github.someone/asks","description":"It asks","version":"1.0.0",
"remotes":[{"type":"streamable-http","url":"https://mcp.example.com/mcp","headers":[{"name":"X-Key","isRequired":true,"isSecret":true}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	b := newBench(t)
	for _, question := range []string{"X-Key", "install it as asks? [y/N] ", "value of asks/KEY: "} {
		args := []string{"install", entry}
		if question == "value of asks/KEY: " {
			args = []string{"secret", "set", "asks/KEY"}
		}
		x := atTerminal(t, b.dir, args...)
		if strings.HasPrefix(question, "install") {
			x.sees("X-Key")
			x.hides()
			x.types("made-up")
		}
		x.sees(question)
		if !strings.HasPrefix(question, "install") {
			x.hides()
		}
		if _, err := x.master.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		for piece := range x.said {
			x.screen += piece
		}
		var ended *exec.ExitError
		if err := x.cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 1 {
			t.Errorf("%q: it ended with %v\n%s", question, err, x.screen)
		}
		settings, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if settings.Lflag&unix.ECHO == 0 {
			t.Errorf("after %q the terminal does not show what is typed", question)
		}
	}
}

// TestNewUser is the way from an empty home to tools of five servers of the catalogue, as
// who has read the README types it: looked for, installed by name, called; the second
// time without a network.
func TestNewUser(t *testing.T) {
	registries(t)
	for _, program := range []string{"npm", "node", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, program)
		}
	}
	if uv := os.Getenv("BERTH_TEST_UV"); uv != "" {
		t.Setenv("PATH", filepath.Dir(uv)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	notes := t.TempDir()
	if err := os.WriteFile(filepath.Join(notes, "note.txt"), []byte("what the note says"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	for _, server := range []struct {
		word, name, tool, arguments, want string
		answers                           []string // to what is asked at the terminal, by prompt and answer
	}{
		{"test server", "everything", "echo", `{"message":"hi"}`, "Echo: hi", nil},
		{"read files", "filesystem", "read_text_file", `{"path":"` + filepath.Join(notes, "note.txt") + `"}`, "what the note says", []string{
			"directory, a directory that it may read and write: ", notes, "directory, another one, or nothing: ", ""}},
		{"knowledge graph", "memory", "create_entities", `{"entities":[{"name":"x","entityType":"y","observations":["z"]}]}`, `"x"`, nil},
		{"sequential thinking", "sequential-thinking", "sequentialthinking", `{"thought":"a","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "thoughtNumber", nil},
		{"time zone", "time", "get_current_time", `{"timezone":"UTC"}`, `"timezone": "UTC"`, nil},
	} {
		if first, _, _ := strings.Cut(b.berth("search", server.word), " "); first != server.name {
			t.Errorf("search %s has %s first", server.word, first)
		}
		x := atTerminal(t, b.dir, "install", server.name)
		for i := 0; i < len(server.answers); i += 2 {
			x.sees(server.answers[i])
			x.types(server.answers[i+1])
		}
		x.sees("install it as " + server.name + "? [y/N] ")
		x.types("y")
		x.sees(server.name + ": added")
		x.ends()
		if got := b.berth("call", server.name, server.tool, server.arguments); !strings.Contains(got, server.want) {
			t.Errorf("%s: %s printed %q", server.name, server.tool, got)
		}
		b.berth("stop", server.name)
	}
	for _, name := range []string{"npm_config_registry", "UV_DEFAULT_INDEX", "HTTPS_PROXY", "HTTP_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	if got := b.berth("call", "everything", "echo", `{"message":"again"}`); !strings.Contains(got, "Echo: again") {
		t.Errorf("without a network it printed %q", got)
	}
	b.berth("stop", "--all")
}
