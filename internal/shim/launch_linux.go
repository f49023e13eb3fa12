package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownExecutable is this very program, also when its file was replaced or, as
// `go run` and `go test` do, deleted.
func ownExecutable() (string, error) { return "/proc/self/exe", nil }

// checkOwn is for a file that may be executed in the place of this program. It is this
// program already, and nobody can write to it while it runs.
func checkOwn(string) error { return nil }

func socketPair() ([2]int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return fds, os.NewSyscallError("socketpair", err)
}

func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}

// acceptFrom takes a connection; EAGAIN: there is none.
func acceptFrom(listening int) (int, error) {
	for {
		fd, _, err := unix.Accept4(listening, unix.SOCK_CLOEXEC)
		if err != unix.EINTR && err != unix.ECONNABORTED {
			return fd, err
		}
	}
}

// closeInherited closes the descriptors from first on, but for the runtime's
// own. It reads the directory itself: package os would keep a buffer of 8 KiB for
// the next, which does not come.
func closeInherited(first int) error {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("list the open descriptors: %w", err)
	}
	defer unix.Close(dir)
	var fds []int
	var buf [1024]byte
	for {
		n, err := unix.Getdents(dir, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("list the open descriptors: %w", err)
		}
		if n <= 0 {
			break
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil && fd >= first && fd != dir {
				fds = append(fds, fd)
			}
		}
	}
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue // gone already, or the runtime's poller
		}
		unix.Close(fd)
	}
	return nil
}
