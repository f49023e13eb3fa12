package catalog

import (
	"context"
	"os"
	"os/exec"
)

// inherit is a no-op: a lock on Windows is a process's, not a handle's. What a
// tool that outlived us writes into is left, since its files are open.
func inherit(*exec.Cmd, *os.File) {}

// runGroup runs a program, which is ended when ctx ends. Its children are not:
// npm has none while scripts are ignored.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	return cmd.Wait()
}

// settle is a no-op: Windows syncs files one by one, which takes minutes for a
// package. A copy that a power cut has damaged is told by its hashes.
func settle(string) error { return nil }
