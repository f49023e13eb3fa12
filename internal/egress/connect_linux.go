package egress

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectRaw is connect(2) with an address that package unix has no type for.
func connectRaw(fd uintptr, to *unix.RawSockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to))
	if errno != 0 {
		return errno
	}
	return nil
}
