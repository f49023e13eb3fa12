//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/released"
	"github.com/berth-run/berth/supervisor"
	"golang.org/x/sys/unix"
)

// opensVar has this binary be a server that measures what open(2) costs.
const opensVar = "BERTH_BENCH_OPENS"

const opens = 20_000

// timeOpens prints the nanoseconds of an open and a close, and stays until stdin ends.
func timeOpens() int {
	begun := time.Now()
	for range opens {
		fd, err := unix.Open("/etc/hosts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		unix.Close(fd)
	}
	fmt.Fprintln(os.Stderr, "an open takes", time.Since(begun).Nanoseconds()/opens)
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// BenchmarkStartConfined: what full confinement adds to a start, against what bubblewrap
// adds to an exec as sandbox-runtime runs it. With runtimeVar that is the command which
// sandbox-runtime itself makes, without it one of ours in its shape: a shell and two
// relays in namespaces of their own, its filter of system calls left out. Without bwrap,
// socat and bash only what Berth adds is measured.
func BenchmarkStartConfined(b *testing.B) {
	const rounds = 60
	m := openInMemory(b)
	begin := func(spec berth.ProcessSpec) time.Duration {
		// Each its own: that a server is confined otherwise than before is put on record.
		name := "plain"
		if spec.Confine != nil {
			name = "confined"
		}
		begun := time.Now()
		if _, err := m.Start(context.Background(), name, spec); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begun)
		if _, err := m.Stop(context.Background(), name); err != nil {
			b.Fatal(err)
		}
		return took
	}
	plain := berth.ProcessSpec{Command: "/bin/cat"}
	confined := plain
	confined.Confine = &berth.Confinement{Profile: berth.ProfileStandard, Allow: []string{"network:example.com:443"}}
	begin(plain)
	begin(confined) // what the system can do is found out once

	bareArgv, wrapped := bubblewrap(b)
	var one, two, bare, inside []time.Duration
	spent := processorTime(b)
	var cpu [4]time.Duration // of each of these, all its rounds
	timed := func(which int, do func() time.Duration) time.Duration {
		before := spent()
		took := do()
		cpu[which] += spent() - before
		return took
	}
	for range rounds {
		one = append(one, timed(0, func() time.Duration { return begin(plain) }))
		two = append(two, timed(1, func() time.Duration { return begin(confined) }))
		if wrapped != nil {
			bare = append(bare, timed(2, func() time.Duration { return firstByte(b, bareArgv) }))
			inside = append(inside, timed(3, func() time.Duration { return firstByte(b, wrapped) }))
		}
	}
	// What other programs take comes on top of each: the tenth part that had least of it
	// is compared.
	added := quantile(two, 10) - quantile(one, 10)
	ms := func(d time.Duration, unit string) { b.ReportMetric(float64(d.Microseconds())/1e3, unit) }
	ms(quantile(one, 10), "ms-plain")
	ms(quantile(two, 10), "ms-confined")
	ms(added, "ms-added")
	ms((cpu[1]-cpu[0])/rounds, "ms-cpu-added") // of start and stop
	if wrapped != nil {
		others := quantile(inside, 10) - quantile(bare, 10)
		ms(quantile(inside, 10), "ms-bubblewrap")
		ms(others, "ms-added-by-bubblewrap")
		b.ReportMetric(ratio(added, others), "of-bubblewrap")
		ms((cpu[3]-cpu[2])/rounds, "ms-cpu-added-by-bubblewrap")
	}
	b.ReportMetric(0, "ns/op")
}

// processorTime returns what tells how much of the processors' time this process and all
// that come from it have spent, whoever their parents are by then. It needs a cpuacct
// hierarchy of cgroup version 1 that may be written, and tells of nothing without.
func processorTime(b *testing.B) func() time.Duration {
	b.Helper()
	const root = "/sys/fs/cgroup/cpuacct"
	group := filepath.Join(root, fmt.Sprintf("berth-bench-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		b.Logf("no processor time is told: %v", err)
		return func() time.Duration { return 0 }
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte("0"), 0); err != nil {
			b.Error(err)
		}
		_ = os.Remove(group) // of a process that is just ending, with the machine
	})
	return func() time.Duration {
		text, err := os.ReadFile(filepath.Join(group, "cpuacct.usage"))
		if err != nil {
			b.Fatal(err)
		}
		ns, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(ns)
	}
}

// openInMemory is open of a home that no disk is waited for in, if there is such a place.
func openInMemory(b *testing.B) *supervisor.Manager {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "berth-")
	if err != nil {
		return open(b)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	m, err := supervisor.Open(&supervisor.Options{Home: filepath.Join(dir, "home"), Executable: released.Build(b), GreetTimeout: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

const greetAndStay = "echo; exec cat"

// runtimeVar names a directory in which sandbox-runtime was installed, by
// `npm install @anthropic-ai/sandbox-runtime`. It needs node, bwrap, socat and ripgrep.
const runtimeVar = "BERTH_BENCH_SANDBOX_RUNTIME"

// bubblewrap is its command line as sandbox-runtime makes it, and what is run in it as it
// is without; nil if something of that is not installed.
func bubblewrap(b *testing.B) (bare, wrapped []string) {
	for _, program := range []string{"bwrap", "socat", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Logf("%s is not installed: nothing is compared with bubblewrap", program)
			return nil, nil
		}
	}
	bare = []string{"bash", "-c", greetAndStay}
	if dir := os.Getenv(runtimeVar); dir != "" {
		return bare, []string{"sh", "-c", sandboxRuntime(b, dir)} // as node's spawn has it
	}
	b.Logf("%s is not set: bubblewrap runs without the filter of system calls", runtimeVar)
	dir := b.TempDir()
	var sockets []string
	for _, name := range []string{"http", "socks"} {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		sockets = append(sockets, path)
	}
	script := fmt.Sprintf("socat TCP-LISTEN:3128,fork,reuseaddr UNIX-CONNECT:%s >/dev/null 2>&1 &\nsocat TCP-LISTEN:1080,fork,reuseaddr UNIX-CONNECT:%s >/dev/null 2>&1 &\nexec bash -c '%s'",
		sockets[0], sockets[1], greetAndStay)
	return bare, []string{
		"bwrap", "--new-session", "--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-user", "--proc", "/proc", "--dev", "/dev",
		"--ro-bind", "/", "/", "--bind", dir, dir, "--tmpfs", "/root", "--", "bash", "-c", script,
	}
}

// sandboxRuntime is the line for a shell that the package in dir makes of a command. The
// proxies of the package serve it until the benchmark ends.
func sandboxRuntime(b *testing.B, dir string) string {
	b.Helper()
	const program = `import { SandboxManager as s } from '@anthropic-ai/sandbox-runtime'
await s.initialize({ network: { allowedDomains: ['example.com'], deniedDomains: [] }, filesystem: { denyRead: [], allowWrite: [], denyWrite: [] } })
process.stdout.write(JSON.stringify(await s.wrapWithSandbox(process.argv[1])) + '\n')
process.stdin.on('end', async () => { await s.reset(); process.exit(0) }).resume()`
	cmd := exec.Command("node", "--input-type=module", "-e", program, greetAndStay)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	var line string
	if err := json.NewDecoder(out).Decode(&line); err != nil {
		b.Fatalf("%s: it makes no command: %v", runtimeVar, err)
	}
	return line
}

// firstByte is how long a program takes until it says something.
func firstByte(b *testing.B, argv []string) time.Duration {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	var talk strings.Builder
	cmd.Stderr = &talk
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_, err = io.ReadFull(out, make([]byte, 1))
	took := time.Since(begun)
	if err != nil {
		b.Fatalf("%v: %s", err, &talk)
	}
	in.Close()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ours, unreaped
	_ = cmd.Wait()                                      // it was killed, or ended with its input
	return took
}

// BenchmarkOpenConfined: open(2) and close(2) of a file that may be read, inside against
// outside.
func BenchmarkOpenConfined(b *testing.B) {
	const rounds = 7
	m := open(b)
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	measure := func(spec berth.ProcessSpec) time.Duration {
		if _, err := m.Start(context.Background(), "s", spec); err != nil {
			b.Fatal(err)
		}
		defer m.Stop(context.Background(), "s")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			lines, err := m.Logs("s", 20)
			if err != nil {
				b.Fatal(err)
			}
			for i := len(lines) - 1; i >= 0 && !strings.Contains(string(lines[i]), "START"); i-- {
				var n int64
				if _, err := fmt.Sscanf(string(lines[i]), "an open takes %d", &n); err == nil {
					return time.Duration(n)
				}
			}
		}
		b.Fatal("it says nothing")
		return 0
	}
	plain := berth.ProcessSpec{Command: exe, Env: map[string]string{opensVar: "1"}}
	confined := plain
	confined.Confine = &berth.Confinement{Profile: berth.ProfileStandard}
	var outside, inside []time.Duration
	for range rounds {
		outside, inside = append(outside, measure(plain)), append(inside, measure(confined))
	}
	b.ReportMetric(float64(median(outside).Nanoseconds())/1e3, "µs-outside")
	b.ReportMetric(float64(median(inside).Nanoseconds())/1e3, "µs-inside")
	b.ReportMetric(ratio(median(inside), median(outside)), "inside/outside")
	b.ReportMetric(0, "ns/op")
}
