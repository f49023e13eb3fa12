package shim

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownExecutable is the path of this program; where its file was deleted (a
// binary of `go run`), Options.Executable has to name another.
func ownExecutable() (string, error) { return os.Executable() }

// checkOwn refuses what somebody else has put in the place of this program's file.
func checkOwn(path string) error { return checkExecutable(path) }

func socketPair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, os.NewSyscallError("socketpair", err)
}

func newSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, os.NewSyscallError("socket", err)
}

// acceptFrom takes a connection; EAGAIN: there is none.
func acceptFrom(listening int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for {
		fd, _, err := unix.Accept(listening)
		if err == nil {
			unix.CloseOnExec(fd)
		}
		if err != unix.EINTR && err != unix.ECONNABORTED {
			return fd, err
		}
	}
}

// closeInherited closes what /dev/fd lists from first on, except kqueues, which
// are the runtime's: fstat gives them no file type at all.
func closeInherited(first int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	for fd := first; fd < int(min(limit.Cur, 4096)); fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT != 0 {
			unix.Close(fd)
		}
	}
	return nil
}
