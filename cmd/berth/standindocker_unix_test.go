//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// testDocker stands in for docker: "dockerd" is the daemon, and everything else its client,
// which finds it by DOCKER_HOST. Like the real ones, the container is a child of the daemon and not of the
// client, it outlives a client that is killed, and the client passes SIGTERM on. Each image
// is the test server.
func testDocker(args []string) int {
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if len(args) > 0 && args[0] == "dockerd" {
		return dockerDaemon(socket)
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGINT)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		fmt.Fprintln(os.Stderr, "Cannot connect to the Docker daemon at "+socket+". Is the docker daemon running?")
		return 1
	}
	defer conn.Close()
	q := dockerQuery{Args: args, Env: map[string]string{}}
	for _, kv := range os.Environ() {
		key, value, _ := strings.Cut(kv, "=")
		q.Env[key] = value
	}
	if log := filepath.Join(filepath.Dir(socket), "docker.log"); args[0] == "run" {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(f, strings.Join(args, " "))
		f.Close()
	}
	doc, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	if _, _, err := conn.WriteMsgUnix(append(doc, '\n'), syscall.UnixRights(0, 1, 2), nil); err != nil {
		panic(err)
	}
	go func() {
		for range sigs {
			_, _ = conn.Write([]byte("TERM\n"))
		}
	}()
	var a struct{ Code int }
	if json.NewDecoder(conn).Decode(&a) != nil {
		return 125
	}
	return a.Code
}

type dockerQuery struct {
	Args []string
	Env  map[string]string
}

type standInContainer struct {
	id, name, label string
	cmd             *exec.Cmd
	done            chan struct{}
}

type standInDaemon struct {
	mu   sync.Mutex // guards what follows
	all  []*standInContainer
	next int
}

func dockerDaemon(socket string) int {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d := &standInDaemon{}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-sigs
		l.Close()
	}()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			break
		}
		go d.serve(conn)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	return 0
}

func (d *standInDaemon) serve(conn *net.UnixConn) {
	defer conn.Close()
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return
	}
	var q dockerQuery
	if json.Unmarshal(buf[:n], &q) != nil {
		return
	}
	var stdio []*os.File
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			stdio = append(stdio, os.NewFile(uintptr(fd), "stdio"))
		}
	}
	if len(stdio) != 3 {
		return
	}
	code := d.do(q, stdio, conn)
	for _, f := range stdio {
		f.Close()
	}
	fmt.Fprintf(conn, "{\"Code\": %d}\n", code)
}

const standInDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func (d *standInDaemon) do(q dockerQuery, stdio []*os.File, conn io.Reader) int {
	args := q.Args
	switch {
	case args[0] == "pull" && strings.Contains(args[1], "missing"):
		fmt.Fprintln(stdio[2], "Error response from daemon: manifest unknown")
		return 1
	case args[0] == "pull":
		fmt.Fprintf(stdio[1], "latest: Pulling from x\nDigest: %s\nStatus: Downloaded newer image\n", standInDigest)
		return 0
	case args[0] == "image" && args[1] == "inspect":
		fmt.Fprintf(stdio[1], `[{"Id": "sha256:22", "RepoDigests": [], "Os": "linux", "Architecture": "amd64"}]`)
		return 0
	case args[0] == "ps":
		d.mu.Lock()
		defer d.mu.Unlock()
		want := strings.TrimPrefix(args[len(args)-1], "label=")
		for _, c := range d.all {
			if c.label == want {
				fmt.Fprintln(stdio[1], c.id)
			}
		}
		return 0
	case args[0] == "rm":
		for _, id := range args[2:] {
			d.mu.Lock()
			i := slices.IndexFunc(d.all, func(c *standInContainer) bool { return c.id == id })
			if i < 0 {
				d.mu.Unlock()
				fmt.Fprintln(stdio[2], "Error response from daemon: No such container: "+id)
				return 1
			}
			c := d.all[i]
			d.mu.Unlock()
			_ = c.cmd.Process.Kill()
			<-c.done
			fmt.Fprintln(stdio[1], id)
		}
		return 0
	case args[0] == "left": // not docker's: all that there are
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, c := range d.all {
			fmt.Fprintln(stdio[1], c.id, c.name)
		}
		return 0
	case args[0] == "run":
		return d.run(q, stdio, conn)
	}
	fmt.Fprintf(stdio[2], "docker: unknown command: %q\n", args)
	return 1
}

// run takes the options that it knows, as docker does, and nothing else.
func (d *standInDaemon) run(q dockerQuery, stdio []*os.File, conn io.Reader) int {
	bad := func(text string) int {
		fmt.Fprintln(stdio[2], "docker: "+text)
		return 125
	}
	c := &standInContainer{done: make(chan struct{})}
	env := []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}
	words := q.Args[1:]
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		word := words[0]
		words = words[1:]
		if slices.Contains([]string{"-i", "--rm", "--init", "--read-only"}, word) {
			continue
		}
		if len(words) == 0 {
			return bad("flag needs an argument: " + word)
		}
		value := words[0]
		words = words[1:]
		switch word {
		case "--name":
			c.name = value
		case "--label":
			c.label = value
		case "-e":
			if v, set := q.Env[value]; set {
				env = append(env, value+"="+v)
			}
		case "--mount":
			for part := range strings.SplitSeq(value, ",") {
				if path, ok := strings.CutPrefix(part, "source="); ok {
					if _, err := os.Stat(path); err != nil {
						return bad("invalid mount config for type \"bind\": bind source path does not exist: " + path)
					}
				}
			}
		case "--stop-timeout", "--tmpfs", "--cap-drop", "--security-opt", "--network", "--memory", "--pids-limit", "--cpus", "--ulimit":
		default:
			return bad("unknown flag: " + word)
		}
	}
	if len(words) == 0 || !strings.HasSuffix(words[0], "@"+standInDigest) {
		return bad("no such image")
	}
	c.cmd = exec.Command("testserver", words[1:]...)
	c.cmd.Env, c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = env, stdio[0], stdio[1], stdio[2]
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	d.mu.Lock()
	d.next++
	c.id = fmt.Sprintf("%064x", d.next)
	err := c.cmd.Start()
	if err == nil {
		d.all = append(d.all, c)
	}
	d.mu.Unlock()
	if err != nil {
		return bad(err.Error())
	}
	for _, f := range stdio {
		f.Close()
	}
	go func() {
		var word [5]byte
		for {
			if _, err := io.ReadFull(conn, word[:]); err != nil {
				return
			}
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	err = c.cmd.Wait()
	d.mu.Lock()
	d.all = slices.DeleteFunc(d.all, func(other *standInContainer) bool { return other == c })
	d.mu.Unlock()
	close(c.done)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code
		}
		return 137
	}
	return 0
}
