package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A token goes into a client's file in clear only after a yes.
func TestLinkAsksForATokenInClear(t *testing.T) {
	b := newBench(t)
	home := t.TempDir()
	file := filepath.Join(home, ".config", "zed", "settings.json")
	answer := func(text string) (said string, err error) {
		user, program := terminal(t)
		seen := &waitFor{text: "write it there? [y/N] ", found: make(chan struct{})}
		cmd := exec.Command("berth", "--home", b.dir, "link", "zed", "--http")
		cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+home, "XDG_CONFIG_HOME=", "BERTH_SECRET_BACKEND=file")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		program.Close()
		read := make(chan struct{})
		go func() {
			defer close(read)
			for buf := make([]byte, 4096); ; {
				n, err := user.Read(buf)
				_, _ = seen.Write(buf[:n])
				if err != nil {
					return // the terminal is nobody's any more
				}
			}
		}()
		select {
		case <-seen.found:
			_, err = user.WriteString(text)
		case <-read:
		}
		if waitErr := cmd.Wait(); err == nil {
			err = waitErr
		}
		<-read
		return seen.String(), err
	}
	if said, err := answer("n\n"); err == nil || !strings.Contains(said, "cannot take a token from a variable") {
		t.Errorf("%v: %s", err, said)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file was written after a no")
	}
	said, err := answer("y\n")
	text, readErr := os.ReadFile(file)
	if err != nil || readErr != nil || !strings.Contains(string(text), `"Bearer berth_`) || strings.Contains(said, "berth_") {
		t.Errorf("%v, %v: %s: %s", err, readErr, said, text)
	}
	if !strings.Contains(said, "zed: next: nothing, it notices by itself") {
		t.Errorf("it does not say how the client finds out: %s", said)
	}
}
