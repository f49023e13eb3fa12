//go:build linux

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// leashVar is set in the process of a test that is to be killed.
const leashVar = "BERTH_GATEWAY_KILLED"

// TestServersEndWithTheirTest: of a test that is killed no shim is left, which would
// start its server again and again: a puppet ends when its test does.
func TestServersEndWithTheirTest(t *testing.T) {
	if os.Getenv(leashVar) != "" {
		w, p := newPuppetWorld(t, Settings{})
		c := w.dial("client", "dancer")
		c.say(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
		p.next()
		st, err := w.m.Status(t.Context(), "dancer")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("shim %d\n", st.ShimPID)
		_, _ = io.Copy(io.Discard, os.Stdin) // for ever
		return
	}
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), leashVar+"=1", "TMPDIR="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	defer kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	number, ok := strings.CutPrefix(strings.TrimSpace(line), "shim ")
	pid, numErr := strconv.Atoi(number)
	if err != nil || !ok || numErr != nil || pid <= 0 {
		t.Fatalf("the test that is to be killed says %q: %v", line, err)
	}
	shim, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(shim)
	kill()
	fds := []unix.PollFd{{Fd: int32(shim), Events: unix.POLLIN}}
	for {
		switch n, err := unix.Poll(fds, int(patience.Milliseconds())); {
		case err == unix.EINTR:
			continue
		case n != 1:
			t.Errorf("%v after its test the shim lives: %v", patience, err)
			_ = unix.PidfdSendSignal(shim, unix.SIGTERM, nil, 0)
		}
		return
	}
}
