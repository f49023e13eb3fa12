package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A server is started here as package proc starts one: an init in fresh namespaces makes
// the mounts, a stage confines itself, tests itself and executes. The environment, and
// not argv, tells both what to do, for argv is the server's.
const (
	initRole  = "sandbox-test-init"
	stageRole = "sandbox-test-stage"
	holesRole = "sandbox-test-holes"
)

// order is what init and stage are told, by argv[1]; the rest of argv is the server's.
type order struct {
	Plan Plan
	// Bare confines in nothing: what an attempt must then achieve proves that it is one.
	Bare bool
	// Landlock, unless 0, is the version of an older kernel.
	Landlock int
	// Claim, if there is one, is what the self-test is told that the plan is.
	Claim *Plan
	Path  string
	Argv  []string
	Env   []string
}

func initMain(args []string) {
	runtime.LockOSThread()
	o := orderOf(args[1])
	ns := o.Plan.Namespaces
	if ns.Net {
		check("lo", loopbackUp())
	}
	if ns.PID {
		check("slave", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""))
		check("proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	}
	check("mounts", o.Plan.Mounts())
	cmd := exec.Command("/proc/self/exe", args[1])
	cmd.Args[0] = stageRole
	cmd.Env = o.Env
	cmd.Dir = o.Plan.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		die("server: %v", err)
	}
}

func stageMain(args []string) {
	runtime.LockOSThread()
	o := orderOf(args[1])
	_ = unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
	if !o.Bare {
		version := landlockVersion()
		if o.Landlock != 0 {
			version = min(version, o.Landlock)
		}
		_, err := o.Plan.enter(version)
		check("enter", err)
		if o.Claim == nil {
			o.Claim = &o.Plan
		}
		check("self-test", o.Claim.SelfTest())
	}
	check("exec", syscall.Exec(o.Path, o.Argv, o.Env))
}

func orderOf(text string) order {
	var o order
	check("order", json.Unmarshal([]byte(text), &o))
	return o
}

func check(doing string, err error) {
	if err != nil {
		die("%s: %v", doing, err)
	}
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

const deadline = 60 * time.Second

// start runs an order to its end and returns what the server wrote.
func (o order) start(t testing.TB) (string, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", textOf(t, o))
	cmd.Args[0] = initRole
	cmd.Env = o.Env
	cmd.Dir = "/"
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	cmd.SysProcAttr = attributes(o.Plan.Namespaces)
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, talk.String())
	}
	return out.String(), err
}

func textOf(t testing.TB, o order) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// world is a small machine outside: files of a user and of Berth, and what listens.
type world struct {
	t                       testing.TB
	dir, home, berth        string
	data, shared, tmp       string
	secret, token           string
	tcp4, tcp6, udp4        string
	socket, datagram, agent string
	abstract                string

	mu      sync.Mutex // guards arrived
	arrived []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, home: dir + "/home", berth: dir + "/home/.berth", token: "token-" + filepath.Base(dir)}
	w.data, w.shared, w.tmp = w.berth+"/data/s", w.home+"/shared", w.berth+"/tmp/s"
	for _, d := range []string{w.home + "/.ssh", w.berth + "/audit", w.berth + "/logs", w.berth + "/data/other", w.data, w.shared, w.tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.secret = w.home + "/.ssh/id"
	w.write(w.secret, "-----BEGIN "+w.token)
	w.write(w.berth+"/audit/audit.jsonl", "{}\n")
	w.write(w.berth+"/logs/s.log", "START\n")
	w.write(w.berth+"/data/other/file", "other's")
	w.write(w.shared+"/readable", "public")
	w.socket, w.datagram, w.agent = dir+"/docker.sock", dir+"/log.sock", w.shared+"/agent.sock"
	w.abstract = "@" + filepath.Base(dir)
	w.tcp4 = w.accept("tcp4", "127.0.0.1:0")
	w.tcp6 = w.accept("tcp6", "[::1]:0")
	w.accept("unix", w.socket)
	w.accept("unix", w.agent)
	w.accept("unix", w.abstract)
	w.udp4 = w.receive("udp4", "127.0.0.1:0")
	w.receive("unixgram", w.datagram)
	return w
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// note puts down what came from inside.
func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = append(w.arrived, what)
}

func (w *world) accept(network, address string) string {
	l, err := net.Listen(network, address)
	if err != nil {
		if network == "tcp6" {
			return ""
		}
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// A connection is a hole, whether or not anything was said.
			c.SetDeadline(time.Now().Add(time.Second))
			text, _ := io.ReadAll(io.LimitReader(c, 100))
			w.note(network + " " + address + " " + string(text))
			c.Close()
		}
	})
	w.t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func (w *world) receive(network, address string) string {
	l, err := net.ListenPacket(network, address)
	if err != nil {
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 100)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			if network == "udp4" {
				_, _ = l.WriteTo(buf[:n], from)
			}
			w.note(network + " " + address + " " + string(buf[:n]))
		}
	})
	w.t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.LocalAddr().String()
}

// self is this test binary as a file that can be granted.
func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		t.Fatal(err)
	}
	return exe
}

// facts are those of a program in this world.
func (w *world) facts(ns Namespaces, path string, argv ...string) Facts {
	return Facts{
		Path: path, Argv: argv, Dir: w.data, Home: w.home, BerthHome: w.berth, Tmp: w.tmp,
		Env:        []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.home},
		Namespaces: ns, Landlock: landlockVersion(),
		Test: Test{Connect: w.tcp4, Unix: w.socket},
	}
}

func lines(s string) []string {
	return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return l == "" })
}
