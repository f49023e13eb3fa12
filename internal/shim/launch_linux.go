package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth/internal/direct"
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
// own.
func closeInherited(first int) error {
	names, err := direct.Names("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the open descriptors: %w", err)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < first {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + name)
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue // gone already, or the runtime's poller
		}
		unix.Close(fd)
	}
	return nil
}
