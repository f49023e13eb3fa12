package proc

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const rootDir = "/"

// executable returns the binary for our own roles: this very program, also
// after its file was replaced or deleted.
func executable(path string) string {
	if path == "" {
		return "/proc/self/exe"
	}
	return path
}

func pipe() ([2]int, error) {
	var p [2]int
	err := unix.Pipe2(p[:], unix.O_CLOEXEC)
	return p, err
}

// closeOnExecFrom makes sure that a child gets what it is given and no more: no
// descriptor from first on. What Go opens is close-on-exec anyway; what this
// process inherited may not be.
func closeOnExecFrom(first int) {
	if unix.CloseRange(uint(first), 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	// Linux before 5.11.
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}
