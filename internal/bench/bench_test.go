//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/released"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/supervisor"
)

// generous is a restart policy under which a benchmark may kill as often as it
// likes, and every restart is the first one: at once.
func generous() *berth.RestartPolicy {
	return &berth.RestartPolicy{Enabled: true, MaxRestarts: 1 << 20, Healthy: berth.Duration(time.Nanosecond)}
}

// open returns a manager whose shims are the released binary.
func open(b *testing.B) *supervisor.Manager {
	b.Helper()
	m, err := supervisor.Open(&supervisor.Options{
		Home: filepath.Join(b.TempDir(), "home"), Executable: released.Build(b), GreetTimeout: 10 * time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func start(b *testing.B, m *supervisor.Manager, n int, spec berth.ProcessSpec) []berth.Status {
	b.Helper()
	ctx := context.Background()
	var all []berth.Status
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		if _, err := m.Start(ctx, name, spec); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if _, err := m.Stop(context.Background(), name); err != nil {
				b.Error(err)
			}
		})
		st, err := m.Status(ctx, name)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, st)
	}
	return all
}

func median(d []time.Duration) time.Duration { return quantile(d, 50) }

func quantile(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)*percent/100, len(d)-1)]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// BenchmarkRestart: SIGKILL of a server to its replacement running, which the
// program itself tells through a named pipe, against a bare fork and exec of the
// same program.
func BenchmarkRestart(b *testing.B) {
	const rounds = 300
	m := open(b)
	fifo := filepath.Join(b.TempDir(), "running")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		b.Fatal(err)
	}
	told, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer told.Close()
	running := func() int {
		var pid int
		if _, err := fmt.Fscanln(told, &pid); err != nil {
			b.Fatal(err)
		}
		return pid
	}
	args := []string{"-c", `echo $$ >"$0"; exec cat`, fifo}
	start(b, m, 1, berth.ProcessSpec{Command: "/bin/sh", Args: args, AutoRestart: generous()})
	pid := running()
	var restarts, bare []time.Duration
	for range rounds {
		begun := time.Now()
		syscall.Kill(pid, syscall.SIGKILL) // ours, and watched: it cannot be another's
		pid = running()
		restarts = append(restarts, time.Since(begun))

		cmd := exec.Command("/bin/sh", args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		running()
		bare = append(bare, time.Since(begun))
		in.Close()
		cmd.Wait()
		time.Sleep(5 * time.Millisecond) // the last round's records are written
	}
	b.ReportMetric(float64(median(restarts).Microseconds()), "µs/restart")
	b.ReportMetric(float64(median(bare).Microseconds()), "µs/exec")
	b.ReportMetric(ratio(median(restarts), median(bare)), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkExitNoticed: kill to notice, against os/exec's Wait.
func BenchmarkExitNoticed(b *testing.B) {
	const rounds = 2000
	h, err := home.Open(filepath.Join(b.TempDir(), "home"), nil)
	if err != nil {
		b.Fatal(err)
	}
	key := h.Key("bench")
	mechanism, _ := (&proc.Prober{Key: key}).Choose()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	var ours, theirs []time.Duration
	for i := range rounds {
		t, err := proc.Start(proc.Spec{
			Path: "/bin/sleep", Argv: []string{"sleep", "1000"}, Stdin: null, Stdout: null, Stderr: null,
			Key: key, Incarnation: fmt.Sprintf("%s.%016x", key, i), Mechanism: mechanism,
		})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		syscall.Kill(t.PID(), syscall.SIGKILL)
		<-t.Exited()
		ours = append(ours, time.Since(begun))
		if _, err := t.Kill(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := t.Close(); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		cmd.Process.Kill()
		cmd.Wait()
		theirs = append(theirs, time.Since(begun))
	}
	b.ReportMetric(float64(quantile(ours, 99).Microseconds()), "µs-p99")
	b.ReportMetric(ratio(quantile(ours, 99), quantile(theirs, 99)), "ratio-p99")
	b.ReportMetric(ratio(median(ours), median(theirs)), "ratio-p50")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdle: 50 idle servers for 30 s; the processor time and the context
// switches of all their shims.
func BenchmarkIdle(b *testing.B) {
	const n, span = 50, 30 * time.Second
	m := open(b)
	all := start(b, m, n, berth.ProcessSpec{Command: "/bin/cat"})
	time.Sleep(2 * time.Second) // until the shims have tidied up
	cpu, switches := usage(b, all)
	time.Sleep(span)
	cpuAfter, switchesAfter := usage(b, all)
	b.ReportMetric(float64(cpuAfter-cpu)/float64(span)*100, "%core")
	b.ReportMetric(float64(switchesAfter-switches), "switches")
	b.ReportMetric(0, "ns/op")
}

// usage sums /proc/PID/task/*/schedstat and the context switches of shims.
func usage(b *testing.B, all []berth.Status) (cpu time.Duration, switches int) {
	b.Helper()
	for _, st := range all {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", st.ShimPID))
		for _, task := range tasks {
			var ran int64
			fmt.Sscan(read(b, task+"/schedstat"), &ran)
			cpu += time.Duration(ran)
			for line := range strings.Lines(read(b, task+"/status")) {
				if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
					var k int
					fmt.Sscan(value, &k)
					switches += k
				}
			}
		}
	}
	return cpu, switches
}

func read(b *testing.B, path string) string {
	b.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

// BenchmarkMemory: the proportional set size of 20 shims, after 200 round trips
// and one line of 1 MiB through each.
func BenchmarkMemory(b *testing.B) {
	b.ReportMetric(shimMemory(b, 20, berth.ProcessSpec{Command: "/bin/cat"}), "MiB-PSS")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMemoryConfined: the same of a shim whose server is confined, the mean of 10.
func BenchmarkMemoryConfined(b *testing.B) {
	const n = 10
	spec := berth.ProcessSpec{Command: "/bin/cat", Confine: &berth.Confinement{Profile: berth.ProfileStandard}}
	b.ReportMetric(shimMemory(b, n, spec)/n, "MiB-PSS/shim")
	b.ReportMetric(0, "ns/op")
}

// shimMemory is the proportional set size of n shims in MiB.
func shimMemory(b *testing.B, n int, spec berth.ProcessSpec) (total float64) {
	b.Helper()
	m := open(b)
	all := start(b, m, n, spec)
	h, err := home.Open(m.Dir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	long := []byte(`{"x":"` + strings.Repeat("x", 1<<20) + `"}`)
	for _, st := range all {
		a, err := shim.Attach(ctx, h, st.Name, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 201 {
			line := []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
			if i == 200 {
				line = long
			}
			if err := a.Write(ctx, line, nil); err != nil {
				b.Fatal(err)
			}
			if got, err := a.Read(ctx); err != nil || !bytes.Equal(got, line) {
				b.Fatalf("%d bytes came back as %d: %v", len(line), len(got), err)
			}
		}
		a.Close()
	}
	time.Sleep(2 * time.Second) // until the shims have tidied up
	for _, st := range all {
		total += pss(b, st.ShimPID)
	}
	return total
}

// pss is the proportional set size of a process in MiB.
func pss(b *testing.B, pid int) float64 {
	b.Helper()
	for line := range strings.Lines(read(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			var kib float64
			fmt.Sscan(value, &kib)
			return kib / 1024
		}
	}
	b.Fatalf("process %d has no PSS", pid)
	return 0
}

// helloWorld builds a hello-world in Go: what starting a process costs at least.
func helloWorld(b *testing.B) string {
	hello := filepath.Join(b.TempDir(), "hello")
	source := hello + ".go"
	if err := os.WriteFile(source, []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", hello, source).CombinedOutput(); err != nil {
		b.Fatalf("build hello: %v\n%s", err, out)
	}
	return hello
}

// BenchmarkCommand: the status of 21 servers and the version, against a
// hello-world in Go; and the size of the binary.
func BenchmarkCommand(b *testing.B) {
	const rounds = 40
	m := open(b)
	start(b, m, 21, berth.ProcessSpec{Command: "/bin/cat"})
	bin, hello := released.Build(b), helloWorld(b)
	run := func(path string, args ...string) time.Duration {
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "BERTH_HOME="+m.Dir())
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatalf("%s %v: %v", path, args, err)
		}
		return time.Since(begun)
	}
	var status, version, base []time.Duration
	for range rounds {
		status = append(status, run(bin, "status"))
		version = append(version, run(bin, "version"))
		base = append(base, run(hello))
	}
	info, err := os.Stat(bin)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(ratio(median(status), median(base)), "status-ratio")
	b.ReportMetric(ratio(median(version), median(base)), "version-ratio")
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB-binary")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLogs: the command that prints the last 50 lines of a log of 200 MB,
// against the same of 1 KB: time, and the largest memory of the process.
func BenchmarkLogs(b *testing.B) {
	const rounds = 20
	bin, dir := released.Build(b), filepath.Join(b.TempDir(), "home")
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		b.Fatal(err)
	}
	line := []byte("a line of an ordinary length\n")
	for name, size := range map[string]int{"small": 1 << 10, "big": 200 << 20} {
		if err := os.WriteFile(filepath.Join(dir, "logs", name+".log"), bytes.Repeat(line, size/len(line)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	took, most := map[string][]time.Duration{}, map[string]int64{}
	for range rounds {
		for _, name := range []string{"small", "big"} {
			cmd := exec.Command(bin, "--home", dir, "logs", name, "--tail", "50")
			begun := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			took[name] = append(took[name], time.Since(begun))
			most[name] = max(most[name], cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
		}
	}
	b.ReportMetric(ratio(median(took["big"]), median(took["small"])), "time-ratio")
	b.ReportMetric(float64(most["big"]-most["small"]), "KiB-more")
	b.ReportMetric(0, "ns/op")
}
