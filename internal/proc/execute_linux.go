package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepareExec makes all that execve(2) gets, for a process that can allocate nothing by
// the time that it executes. What it returns comes back only if that failed.
func prepareExec(path string, argv, env []string) (func() syscall.Errno, error) {
	at, err := syscall.BytePtrFromString(path)
	if err != nil {
		return nil, err
	}
	argp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return nil, err
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return nil, err
	}
	// The runtime has raised the limit of open files for itself. What it was, package
	// syscall alone knows, and restores before it executes: also nothing.
	_ = syscall.Exec("", nil, nil)
	return func() syscall.Errno {
		_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(at)), uintptr(unsafe.Pointer(&argp[0])), uintptr(unsafe.Pointer(&envp[0])))
		return errno
	}, nil
}
