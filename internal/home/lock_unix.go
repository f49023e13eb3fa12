//go:build unix

package home

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// flock and not fcntl: fcntl's locks are dropped when any descriptor of the
// file in the process is closed, and are not inherited.

func lockFile(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	return flock(f, how)
}

func shareFile(f *os.File) error { return flock(f, unix.LOCK_SH|unix.LOCK_NB) }

func unlockFile(f *os.File) error { return flock(f, unix.LOCK_UN) }

// lock and unlock are lockFile, without waiting, and unlockFile.
func (r *relock) lock() error   { return locked(r.file.Flock(unix.LOCK_EX | unix.LOCK_NB)) }
func (r *relock) unlock() error { return r.file.Flock(unix.LOCK_UN) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return locked(err)
	}
}

// locked gives the error of a lock that another has its name.
func locked(err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
