package shim

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The disk becomes full between the parts of a put: here, a file in memory that
// may not grow (memfd_create(2), F_SEAL_GROW).
func TestSpoolPutsAllOrNoneOnAFullDisk(t *testing.T) {
	s := newSpool(1<<20, func() (*os.File, error) {
		fd, err := unix.MemfdCreate("scratch", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "scratch")
		if err := f.Truncate(4096); err != nil { // seals count pages
			return nil, err
		}
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW)
		return f, err
	}, &buffers{})
	defer s.free()
	first := make([]byte, spoolMemory)
	s.put(first)
	if err := s.put([]byte("head"), make([]byte, 8192)); err == nil {
		t.Fatal("put to a disk that is full")
	}
	if all, _ := readSpool(s, 1000); len(all) != len(first) {
		t.Errorf("%d bytes of a put that failed", len(all)-len(first))
	}
}
