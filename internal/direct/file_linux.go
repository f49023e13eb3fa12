//go:build amd64 || arm64

package direct

import (
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is what a File needs for its calls, none of which makes garbage.
type system struct {
	name []byte // the path, with its end
	now  unix.Stat_t
	was  unix.Stat_t
	slow time.Time // until then it is the ordinary way
}

const (
	// slowAfter is more than a call takes that waits for no disk, but where others want
	// the processor. Which it was nobody knows, so a call that took as long has others go
	// the ordinary way for slowTimes as long, slowMost at most: on a slow disk one of
	// them takes as long in that time, and on a busy machine few do.
	slowAfter = 10 * time.Millisecond
	slowTimes = 10
	slowMost  = 10 * time.Second
)

// slowFor is how long calls go the ordinary way after one that took this long.
func slowFor(took time.Duration) time.Duration {
	if took <= slowAfter {
		return 0
	}
	return min(slowTimes*took, slowMost)
}

func (f *File) begin() error {
	var err error
	if f.name, err = unix.ByteSliceFromString(f.path); err == nil {
		err = unix.Fstat(int(f.f.Fd()), &f.was)
	}
	if err != nil {
		return &fs.PathError{Op: "stat", Path: f.path, Err: err}
	}
	return nil
}

// call makes one call of the system. Pointers among its arguments stay valid.
//
//go:uintptrescapes
func (f *File) call(trap, a, b, c uintptr) (n uintptr, errno syscall.Errno) {
	begun := time.Now()
	for {
		if begun.Before(f.slow) {
			n, _, errno = syscall.Syscall6(trap, a, b, c, 0, 0, 0)
		} else {
			n, _, errno = syscall.RawSyscall6(trap, a, b, c, 0, 0, 0)
		}
		if errno != syscall.EINTR {
			break
		}
	}
	now := time.Now()
	if long := slowFor(now.Sub(begun)); long > 0 {
		f.slow = now.Add(long)
	}
	return n, errno
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (done int, err error) {
	willWrite()
	for len(p) > 0 {
		n, errno := f.call(unix.SYS_WRITE, f.f.Fd(), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if errno != 0 {
			return done, &fs.PathError{Op: "write", Path: f.path, Err: errno}
		}
		done, p = done+int(n), p[n:]
	}
	return done, nil
}

// InPlace says whether this file is the one at its path, and how long it is.
func (f *File) InPlace() (size int64, ok bool) {
	here := unix.AT_FDCWD
	_, errno := f.call(unix.SYS_NEWFSTATAT, uintptr(here), uintptr(unsafe.Pointer(unsafe.SliceData(f.name))), uintptr(unsafe.Pointer(&f.now)))
	return f.now.Size, errno == 0 && f.now.Dev == f.was.Dev && f.now.Ino == f.was.Ino
}

// Flock is flock(2). A LOCK_EX or LOCK_SH is to be a LOCK_NB as well.
func (f *File) Flock(how int) error {
	if _, errno := f.call(unix.SYS_FLOCK, f.f.Fd(), uintptr(how), 0); errno != 0 {
		return os.NewSyscallError("flock", errno)
	}
	return nil
}
