package proc

import (
	"errors"
	"syscall"
)

// prepareExec prepares nothing: here system calls go through the C library, by package
// syscall alone, and no limit on data is set that would stand in its way.
func prepareExec(path string, argv, env []string) (func() syscall.Errno, error) {
	return func() (errno syscall.Errno) {
		errors.As(syscall.Exec(path, argv, env), &errno)
		return errno
	}, nil
}
