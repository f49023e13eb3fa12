package shim

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerOf returns the user and the process at the other end (unix(7),
// SO_PEERCRED).
func peerOf(c syscall.Conn) (uid, pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return 0, 0, cerr
	}
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt", err)
	}
	return int(cred.Uid), int(cred.Pid), nil
}

// CheckPeer refuses the other end unless it is our own user's, or root's.
func CheckPeer(c syscall.Conn) error {
	uid, _, err := peerOf(c)
	if err != nil {
		return err
	}
	if uid != os.Getuid() && uid != 0 {
		return fmt.Errorf("the other end of the socket belongs to user %d: %w", uid, os.ErrPermission)
	}
	return nil
}

func peerPID(c syscall.Conn) int {
	_, pid, _ := peerOf(c) // 0: unknown
	return pid
}
