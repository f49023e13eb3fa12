package shim

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// cloexecPipe holds the fork lock, since macOS has no pipe2: a child forked
// between the two calls would inherit the ends.
func cloexecPipe(fds *[2]int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(fds[:]); err != nil {
		return err
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return nil
}

// growPipe is a no-op: macOS grows a pipe's buffer by itself, to 64 KiB, and
// has no call to set it.
func growPipe(*os.File) {}
