//go:build unix

package shim

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// canTurn: a shim can become one that confines.
const canTurn = true

// checkExecutable refuses a binary that somebody else could have put there, and
// one that does not become a shim.
func checkExecutable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not an executable file: %w", path, os.ErrPermission)
	case !ok || st.Uid != 0 && int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to another user: %w", path, os.ErrPermission)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by other users (mode %v): %w", path, info.Mode().Perm(), os.ErrPermission)
	}
	return greets(path)
}

// execInPlace replaces the program of this process, the descriptors keep open.
// It must run on the main thread: from any other one the
// kernel would signal children that asked for their parent's death.
func execInPlace(path string, argv, environ []string, keep []int) error {
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	err := syscall.Exec(path, argv, environ)
	for _, fd := range keep {
		unix.CloseOnExec(fd)
	}
	return os.NewSyscallError("execve", err)
}

// closeOnExec makes an inherited descriptor private again.
func closeOnExec(fd int) { unix.CloseOnExec(fd) }

// greets says whether a binary becomes a shim, by trying: one that is hung up
// on after its greeting starts nothing.
func greets(executable string) error {
	cmd := &exec.Cmd{Path: executable, Args: []string{ShimName, "greeting-test"}, Dir: rootDir(), Env: shimEnviron(os.Environ())}
	conn, err := startShim(cmd)
	if err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	line := make([]byte, len(greeting))
	_, err = io.ReadFull(conn, line)
	conn.Close()
	if err != nil || string(line) != greeting {
		cmd.Process.Kill()
		err = fmt.Errorf("%w: %s does not greet", berth.ErrNoShim, executable)
	}
	cmd.Wait()
	return err
}
