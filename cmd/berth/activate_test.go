//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPassedSockets(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		names []string
		err   string
	}{
		{map[string]string{}, nil, ""},
		{map[string]string{"LISTEN_FDS": "1"}, nil, ""},
		{map[string]string{"LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}, nil, ""}, // it is for another process
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}, []string{"http"}, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "1"}, []string{"http"}, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "0"}, nil, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "varlink"}, nil, "called varlink"},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:http"}, nil, "2 sockets"},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, nil, "not a number"},
		{map[string]string{"LISTEN_PID": "7"}, nil, "not a number"},
	} {
		names, err := passedSockets(func(key string) string { return c.env[key] }, 7)
		if !slices.Equal(names, c.names) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %q, %v", c.env, names, err)
		}
	}
}

// activated runs berth up as systemd would, with a descriptor.
func (b bench) activated(socket *os.File, name string, args ...string) *exec.Cmd {
	// The variable names the process that the shell becomes.
	cmd := exec.CommandContext(b.Context(), "sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=` + name + ` exec "$@"`, "sh", "berth", "--home", b.dir, "up"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.ExtraFiles = []*os.File{socket}
	return cmd
}

// A socket that was opened for berth up is served; who connected before Berth was
// there is answered.
func TestASocketOfSystemdsIsServed(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answered := make(chan error, 1)
	go func() { answered <- healthy(t.Context(), l.Addr().String()) }()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := b.activated(socket, "http")
	said := &waitFor{text: "listening on http://" + l.Addr().String(), found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("%v: %s", err, said)
	}
	<-said.found
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	// It is still open, for the next.
	socket2, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	socket2.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Error("the address has gone with berth up:", err)
	} else {
		c.Close()
	}
}

func healthy(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// What was passed on and cannot be served is an error, not another socket.
func TestASocketThatCannotBeServed(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	unix, err := net.Listen("unix", b.dir+".sock")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	local, err := unix.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	wide, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	open, err := wide.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, c := range []struct {
		file *os.File
		name string
		args []string
		says string
	}{
		{listening, "other", nil, "called other"},
		{listening, "http", []string{"--listen", "127.0.0.1:1"}, "--listen says 127.0.0.1:1"},
		{local, "http", nil, "is one of unix, not of TCP"},
		{plain, "http", nil, "it is none"},
		{open, "http", nil, "need TLS"},
	} {
		out, err := b.activated(c.file, c.name, c.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.says) {
			t.Errorf("%v: %v: %s", c, err, out)
		}
	}
}

// systemd's own program passes the socket on, where it is there.
func TestSystemdSocketActivate(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		return // TestASocketOfSystemdsIsServed does the same
	}
	b := newBench(t)
	berth, err := exec.LookPath("berth")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	args := []string{"--listen=" + addr, "--fdname=http"}
	for _, key := range []string{"BERTH_ALLOW_NETWORK_HOME", "GORACE", "TMPDIR"} {
		args = append(args, "--setenv="+key+"="+os.Getenv(key))
	}
	cmd := exec.Command(activate, append(args, berth, "--home", b.dir, "up", "--replace", "--listen", addr)...)
	said := &waitFor{text: "Listening on", found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-said.found:
	case <-time.After(time.Minute):
		t.Fatalf("it does not listen: %s", said)
	}
	if err := healthy(t.Context(), addr); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "berth: listening on http://"+addr) {
		t.Errorf("%v: %s", err, said)
	}
}
