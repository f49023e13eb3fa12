package supervisor_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// hostProgram is a program of another module that uses the library.
const hostProgram = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string) error {
	m, err := supervisor.Open(&supervisor.Options{Executable: os.Getenv("HOST_EXECUTABLE")})
	if err != nil {
		return err
	}
	ctx := context.Background()
	spec := berth.ProcessSpec{
		Command: "cat", MaxFileDescriptors: 64,
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 3},
	}
	switch verb {
	case "start":
		outcome, err := m.Start(ctx, "a", spec)
		fmt.Println(outcome)
		return err
	case "stop":
		outcome, err := m.Stop(ctx, "a")
		fmt.Println(outcome)
		return err
	}
	return fmt.Errorf("no verb %q", verb)
}
`

// hostTest is a test of another module: its binary knows nothing of shims.
const hostTest = `package main

import "testing"

func TestHost(t *testing.T) {
	for _, verb := range []string{"start", "start", "stop", "stop"} {
		if err := run(verb); err != nil {
			t.Fatal(err)
		}
	}
}
`

// hostThatCannot has an init function that the language orders before the
// library's, and that ends a process which is to be a shim.
const hostThatCannot = `package aaa

import "os"

func init() {
	if os.Args[0] == "berth-shim" {
		os.Exit(0)
	}
}
`

// newModule writes a module that requires this one as it is.
func newModule(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const ours = "module github.com/berth-run/berth\n"
	text := strings.Replace(string(mod), ours, "module example.org/host\n\nrequire github.com/berth-run/berth v0.0.0\n\nreplace github.com/berth-run/berth => "+root+"\n", 1)
	if text == string(mod) {
		t.Fatalf("go.mod does not begin with %q", ours)
	}
	dir = shortDir(t)
	files["go.mod"], files["go.sum"] = text, string(sum)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inModule runs a command in a module and returns what it printed. Nothing is
// fetched: what this module needs is there.
func (w *world) inModule(dir string, env []string, name string, args ...string) (string, error) {
	w.Helper()
	cmd := exec.CommandContext(w.ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=-mod=readonly", "BERTH_HOME="+w.dir)
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		w.Logf("%s %q: %v\n%s", name, args, err, &stderr)
	}
	return stdout.String() + stderr.String(), err
}

// TestAnotherModule: the library works in a program of another module, under
// go run, whose binary is deleted when it ends, and in a test binary; a program
// that cannot become a shim names one that can.
func TestAnotherModule(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles three programs: not with -short")
	}
	_, err := exec.LookPath("go")
	needs(t, err == nil, "the go command")
	dir := newModule(t, map[string]string{"main.go": hostProgram, "main_test.go": hostTest})

	t.Run("go run", func(t *testing.T) {
		w := newWorld(t)
		if out, err := w.inModule(dir, nil, "go", "run", ".", "start"); err != nil || out != "started\n" {
			t.Fatalf("it printed %q", out)
		}
		st := w.status("a")
		if exe := programOf(t, st.ShimPID); !strings.HasSuffix(exe, " (deleted)") {
			t.Errorf("the shim's program is there: %s", exe)
		}
		w.kill(st.PID)
		w.awaitNext("a", st.Generation)
		if out, err := w.inModule(dir, nil, "go", "run", ".", "start"); err != nil || out != "already running\n" {
			t.Errorf("it printed %q", out)
		}
		if out, err := w.inModule(dir, nil, "go", "run", ".", "stop"); err != nil || out != "stopped\n" {
			t.Errorf("it printed %q", out)
		}
	})

	t.Run("go test", func(t *testing.T) {
		w := newWorld(t)
		if out, err := w.inModule(dir, nil, "go", "test", "-count=1", "."); err != nil {
			t.Fatal(out)
		}
		w.hasActions("a", "start", "stop")
	})

	t.Run("cannot be a shim", func(t *testing.T) {
		w := newWorld(t)
		can := filepath.Join(dir, "can")
		if out, err := w.inModule(dir, nil, "go", "build", "-o", can, "."); err != nil {
			t.Fatal(out)
		}
		dir := newModule(t, map[string]string{
			"main.go": strings.Replace(hostProgram, "import (\n", "import (\n\t_ \"example.org/host/aaa\"\n", 1), "aaa/aaa.go": hostThatCannot,
		})
		if out, err := w.inModule(dir, nil, "go", "build", "."); err != nil {
			t.Fatal(out)
		}
		if out, err := w.inModule(dir, nil, "./host", "start"); err == nil || !strings.Contains(out, berth.ErrNoShim.Error()) {
			t.Fatalf("by itself it printed %q", out)
		}
		if out, err := w.inModule(dir, []string{"HOST_EXECUTABLE=" + can}, "./host", "start"); err != nil || out != "started\n" {
			t.Fatalf("it printed %q", out)
		}
		equal(t, "the shim's program", programOf(t, w.status("a").ShimPID), can)
		if out, err := w.inModule(dir, nil, "./host", "stop"); err != nil || out != "stopped\n" {
			t.Errorf("it printed %q", out)
		}
	})
}
