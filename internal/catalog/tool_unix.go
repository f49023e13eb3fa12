//go:build unix

package catalog

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

func inherit(cmd *exec.Cmd, f *os.File) { cmd.ExtraFiles = append(cmd.ExtraFiles, f) }

// runGroup runs a program in a process group of its own, which is ended with it:
// when ctx ends, and when the program does. The group is signalled only while its
// leader is not yet reaped, so that its number cannot be another's.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	group := cmd.Process.Pid
	var (
		mu     sync.Mutex // guards reaped
		reaped bool
	)
	end := func() {
		mu.Lock()
		defer mu.Unlock()
		if !reaped {
			_ = unix.Kill(-group, unix.SIGKILL)
		}
	}
	stop := context.AfterFunc(ctx, end)
	awaitExit(group)
	end()
	mu.Lock()
	reaped = true
	mu.Unlock()
	stop()
	return cmd.Wait()
}
