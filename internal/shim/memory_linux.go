package shim

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory returns a descriptor from which text is read, and which is on no disk.
func inMemory(text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("berth", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	if _, err = f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write to memory: %w", err)
	}
	return f, nil
}
