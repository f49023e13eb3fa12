//go:build linux

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
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

// BenchmarkInstalled: the everything server as berth install has it, confined and not,
// against the same by npx with its cache full, and against node on the same file by hand:
// start to its first answer, and the memory of its processes and of its shim.
func BenchmarkInstalled(b *testing.B) {
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
		b.Skip("needs BERTH_TEST_REGISTRIES=1, and registry.npmjs.org")
	}
	for _, program := range []string{"npm", "npx", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("%s is not in the PATH", program)
		}
	}
	const rounds = 9
	bin := released.Build(b)
	dir := filepath.Join(b.TempDir(), "home")
	ctx := context.Background()
	do := func(args ...string) {
		if out, err := exec.CommandContext(ctx, bin, append([]string{"--home", dir}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	do("install", "everything", "--as", "confined", "--yes")
	do("install", "everything", "--as", "open", "--yes", "--profile", "off")
	do("add", "npx", "--no-run", "--no-fetch", "--profile", "off", "--", "npx", "-y", "@modelcontextprotocol/server-everything")
	h, err := home.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	m, err := supervisor.Open(&supervisor.Options{Home: dir, Executable: bin, GreetTimeout: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	specs := map[string]berth.ProcessSpec{}
	for _, name := range []string{"confined", "open", "npx"} {
		s, err := h.ReadServer(name)
		if err != nil {
			b.Fatal(err)
		}
		if specs[name], _, err = s.Spec(os.Environ(), home.Permissions{}); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _, _ = m.Stop(context.Background(), name) })
	}
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`
	memory := map[string]float64{}
	processes := map[string]int{}
	round := func(name string) time.Duration {
		begun := time.Now()
		if _, err := m.Start(ctx, name, specs[name]); err != nil {
			b.Fatal(err)
		}
		a, err := shim.Attach(ctx, h, name, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer a.Close()
		if err := a.Write(ctx, []byte(hello), nil); err != nil {
			b.Fatal(err)
		}
		if _, err := a.Read(ctx); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begun)
		st, err := m.Status(ctx, name)
		if err != nil {
			b.Fatal(err)
		}
		memory[name], processes[name] = tree(b, st.PID)
		memory["shim of "+name] = pss(b, st.ShimPID)
		if _, err := m.Stop(ctx, name); err != nil {
			b.Fatal(err)
		}
		return took
	}
	byHand := func() time.Duration {
		spec := specs["open"]
		cmd := exec.CommandContext(ctx, spec.Command, spec.Args...)
		// A session of its own, as a shim is: the scheduler shares out among sessions.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := in.Write([]byte(hello + "\n")); err != nil {
			b.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begun)
		memory["node"] = pss(b, cmd.Process.Pid)
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return took
	}
	took := map[string][]time.Duration{}
	round("npx") // fills its cache
	for i := range rounds {
		for _, name := range []string{"confined", "open", "npx"} {
			if name != "npx" || i%3 == 0 {
				took[name] = append(took[name], round(name))
			}
		}
		took["node"] = append(took["node"], byHand())
	}
	// What other programs take comes on top of each: the tenth part that had least of it
	// is compared as well.
	for _, name := range []string{"confined", "open", "npx"} {
		b.Logf("%s: %v, at best %v, %.1f MiB PSS in %d processes, %.1f of its shim; node by hand %v, at best %v, %.1f MiB", name, median(took[name]), quantile(took[name], 10),
			memory[name], processes[name], memory["shim of "+name], median(took["node"]), quantile(took["node"], 10), memory["node"])
		b.ReportMetric(ratio(median(took[name]), median(took["node"])), name+"/node")
		b.ReportMetric(ratio(quantile(took[name], 10), quantile(took["node"], 10)), name+"/node-at-best")
		b.ReportMetric(memory[name]/memory["node"], name+"-PSS/node")
	}
	b.ReportMetric(0, "ns/op")
}

// tree is the proportional set size of a process and its descendants in MiB, and how many
// they are.
func tree(b *testing.B, pid int) (mib float64, n int) {
	b.Helper()
	id, err := proc.Identify(pid)
	if err != nil {
		b.Fatal(err)
	}
	all, err := proc.Descendants(id)
	if err != nil {
		b.Fatal(err)
	}
	mib = pss(b, pid)
	for _, p := range all {
		mib += pss(b, p.PID)
	}
	return mib, 1 + len(all)
}
