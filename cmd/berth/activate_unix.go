//go:build unix

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openPassed takes a descriptor that was passed on, if it is a socket that listens.
func openPassed(fd int, name string) (*os.File, error) {
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("systemd says that descriptor %d is a socket, and it is none: %w", fd, err)
	}
	if listens == 0 {
		return nil, fmt.Errorf("the socket that systemd passes on as descriptor %d does not listen", fd)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}
