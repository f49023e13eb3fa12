package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// runStage runs a program by the stage, which sets a limit on data that is less than it
// has itself. It returns what the stage reported and what the program printed.
func runStage(t *testing.T, path string, argv, env []string) (report, output, talk string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := program{channel: absent, path: path, argv: argv, limits: limits{data: 8 << 20}}
	var out, errs bytes.Buffer
	cmd := &exec.Cmd{Path: exe, Args: p.stageArgs(3), Env: env, ExtraFiles: []*os.File{w}, Stdout: &out, Stderr: &errs}
	_ = cmd.Run() // the report says more
	w.Close()
	var buf [64]byte
	n, _ := r.Read(buf[:])
	return string(buf[:n]), out.String(), errs.String()
}

// TestStageUnderItsLimit: the stage can allocate nothing any more under the limit that
// it sets, and has much to hand to exec(2).
func TestStageUnderItsLimit(t *testing.T) {
	checkLeaks(t)
	var env []string
	for i := range 14 {
		env = append(env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", 100<<10)))
	}
	for _, c := range []struct{ path, report, out string }{
		{"/bin/echo", "!", "up\n"},
		{"/bin/nothing", "!exec 2", ""},
	} {
		report, out, talk := runStage(t, c.path, []string{"echo", "up"}, env)
		if report != c.report || out != c.out {
			t.Errorf("%s: report %q, output %q\n%.600s", c.path, report, out, talk)
		}
	}
}

// TestStageLeavesOpenFiles: the runtime of the stage raises the limit of open files for
// itself. The program has the one that there was.
func TestStageLeavesOpenFiles(t *testing.T) {
	checkLeaks(t)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 99, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	_, out, talk := runStage(t, "/bin/sh", []string{"sh", "-c", "ulimit -Sn"}, nil)
	mustBe(t, "soft limit of open files; "+talk, out, "99\n")
}
