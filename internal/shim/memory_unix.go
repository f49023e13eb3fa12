//go:build unix && !linux

package shim

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory returns a descriptor from which text is read, and which is on no disk: the
// end of a pair of sockets whose buffers hold it.
func inMemory(text []byte) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, len(text)+4<<10) // what does not fit is seen below
		}
	}
	defer unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "handover")
	if err = unix.SetNonblock(fds[1], true); err == nil {
		for rest := text; len(rest) > 0 && err == nil; {
			var n int
			n, err = unix.Write(fds[1], rest)
			rest = rest[max(n, 0):]
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("hold %d bytes in memory: %w", len(text), err)
	}
	return f, nil
}
