//go:build linux

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/released"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/supervisor"
)

// BenchmarkFetched: the everything server from a copy of its package, against the
// same by npx with its cache full, and against node on the same file by hand: start
// to its first answer, and the memory of its processes.
func BenchmarkFetched(b *testing.B) {
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
		b.Skip("needs BERTH_TEST_REGISTRIES=1, and registry.npmjs.org")
	}
	for _, program := range []string{"npm", "npx", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("%s is not in the PATH", program)
		}
	}
	const rounds = 7
	bin := released.Build(b)
	dir := filepath.Join(b.TempDir(), "home")
	ctx := context.Background()
	add := func(name string, flags ...string) {
		args := append([]string{"--home", dir, "add", name, "--no-run"}, flags...)
		out, err := exec.CommandContext(ctx, bin, append(args, "--", "npx", "-y", "@modelcontextprotocol/server-everything")...).CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	add("copy")
	add("npx", "--no-fetch")
	h, err := home.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	m, err := supervisor.Open(&supervisor.Options{Home: dir, Executable: bin, GreetTimeout: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	specs := map[string]berth.ProcessSpec{}
	for _, name := range []string{"copy", "npx"} {
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
		id, err := proc.Identify(st.PID)
		if err != nil {
			b.Fatal(err)
		}
		tree, err := proc.Descendants(id)
		if err != nil {
			b.Fatal(err)
		}
		memory[name], processes[name] = pss(b, st.PID), 1+len(tree)
		for _, p := range tree {
			memory[name] += pss(b, p.PID)
		}
		if _, err := m.Stop(ctx, name); err != nil {
			b.Fatal(err)
		}
		return took
	}
	byHand := func() time.Duration {
		spec := specs["copy"]
		cmd := exec.CommandContext(ctx, spec.Command, spec.Args...)
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
	var direct, npx, node []time.Duration
	round("npx") // fills its cache
	for range rounds {
		direct = append(direct, round("copy"))
		npx = append(npx, round("npx"))
		node = append(node, byHand())
	}
	b.Logf("copy %v, npx %v, node by hand %v; %.1f, %.1f and %.1f MiB PSS; %d and %d processes", median(direct), median(npx), median(node),
		memory["copy"], memory["npx"], memory["node"], processes["copy"], processes["npx"])
	b.ReportMetric(ratio(median(direct), median(node)), "start/node")
	b.ReportMetric(ratio(median(npx), median(node)), "npx-start/node")
	b.ReportMetric(memory["copy"]/memory["node"], "PSS/node")
	b.ReportMetric(memory["npx"]/memory["node"], "npx-PSS/node")
	b.ReportMetric(0, "ns/op")
}
