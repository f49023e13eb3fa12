package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal of 80 by 20: what its user has of it, and what a
// program has.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudo-terminals: ", err)
	}
	fd := int(user.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 80})
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close(); user.Close() })
	return user, program
}

// The terminal is as it was once berth top has ended, whoever ended it.
func TestTopOnTerminal(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	for name, end := range map[string]func(user *os.File, cmd *exec.Cmd) error{
		"q":       func(user *os.File, _ *exec.Cmd) error { _, err := user.WriteString("q"); return err },
		"Ctrl-C":  func(user *os.File, _ *exec.Cmd) error { _, err := user.WriteString("\x03"); return err },
		"SIGTERM": func(_ *os.File, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			user, program := terminal(t)
			before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			seen := &waitFor{text: "OUTCOME", found: make(chan struct{})}
			cmd := exec.Command("berth", "--home", b.dir, "top")
			cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stuck := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
			defer stuck.Stop()
			read := make(chan struct{})
			go func() {
				defer close(read)
				_, _ = io.Copy(seen, user) // until nobody has the terminal
			}()
			select {
			case <-seen.found:
			case <-time.After(30 * time.Second):
				t.Error("it draws nothing")
			}
			if raw, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || *raw == *before {
				t.Errorf("keys come with the end of a line: %v", err)
			}
			if err := end(user, cmd); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || *after != *before {
				t.Errorf("the terminal is left as %+v, was %+v: %v", after, before, err)
			}
			program.Close()
			<-read
			text := seen.String()
			if !strings.HasPrefix(text, "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(text, "\x1b[?25h\x1b[?1049l") || !strings.Contains(text, "\none ") {
				t.Errorf("the terminal got %q", text)
			}
			if strings.Contains(text, "\x1b[3") {
				t.Errorf("there are colours in %q", text)
			}
		})
	}
}
