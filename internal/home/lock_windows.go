package home

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockRange is the byte that is locked: far behind anything that a lock file
// may ever hold, since other handles cannot read a locked byte.
func lockRange() *windows.Overlapped {
	return &windows.Overlapped{Offset: 0xffffffff, OffsetHigh: 0x7fffffff}
}

func lockFile(f *os.File, wait bool) error {
	flags := uint32(windows.LOCKFILE_EXCLUSIVE_LOCK)
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	return lockFileEx(f, flags)
}

func shareFile(f *os.File) error { return lockFileEx(f, windows.LOCKFILE_FAIL_IMMEDIATELY) }

func lockFileEx(f *os.File, flags uint32) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, lockRange())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

func unlockFile(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockRange())
}

// lock and unlock are lockFile, without waiting, and unlockFile.
func (r *relock) lock() error   { return lockFile(r.held.f, false) }
func (r *relock) unlock() error { return unlockFile(r.held.f) }
