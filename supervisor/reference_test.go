//go:build unix

package supervisor_test

import (
	"os/exec"
	"runtime"
	"syscall"

	"github.com/berth-run/berth"
	identity "github.com/berth-run/berth/internal/proc"
)

// refServer is a server that the reference started and that still runs, with
// its record. The test is its parent, and reaps it at the end.
type refServer struct {
	pid  int
	spec berth.ProcessSpec
}

// reference starts a server as the reference does and writes its record. It is
// no shell, whose argv another program would replace.
func (w *world) reference(name string) refServer {
	w.Helper()
	s := berth.ProcessSpec{Command: "sleep", Args: []string{"1000"}}
	pid := w.process(s.Command, s.Args...)
	// Linux closes the descriptor by which exec is known to have succeeded
	// before it has put the new argv in place.
	for info, err := identity.Describe(pid); len(info.Argv) == 0; info, err = identity.Describe(pid) {
		if err != nil || w.ctx.Err() != nil {
			w.Fatalf("process %d has no argv: %v", pid, err)
		}
		runtime.Gosched()
	}
	w.writeRef(name, refOf(uint32(pid), s))
	return refServer{pid: pid, spec: s}
}

// process starts a process that has nothing to do with Berth. It is killed and
// reaped when the test ends, not before.
func (w *world) process(command string, args ...string) int {
	w.Helper()
	cmd := exec.Command(command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
