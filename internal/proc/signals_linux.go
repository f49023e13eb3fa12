package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct for rt_sigaction. Package os/signal is not
// used for this: it cannot ask, cannot restore a default, and its Notify holds
// a thread.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	sigDefault = 0
	sigIgnore  = 1
	sigsetSize = 8
)

// disposition returns sigDefault, sigIgnore, or the address of a handler.
func disposition(sig syscall.Signal) uintptr {
	var old sigaction
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&old)), sigsetSize, 0, 0)
	if errno != 0 {
		return sigDefault
	}
	return old.handler
}

// setDisposition sets sigDefault or sigIgnore. It fails for SIGKILL and SIGSTOP
// only, which have no other.
func setDisposition(sig syscall.Signal, handler uintptr) {
	action := sigaction{handler: handler}
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, sigsetSize, 0, 0)
}

// unblockSignals empties the signal mask of this thread.
func unblockSignals() {
	var none unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
}

// cleanSignals says whether a child of this thread would have the default
// disposition of every signal and none blocked. Those that the runtime handles
// become default by exec; what it found ignored stays ignored.
func cleanSignals() bool {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if disposition(sig) == sigIgnore {
			return false
		}
	}
	var mask unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &mask); err != nil {
		return false
	}
	return mask == unix.Sigset_t{}
}

// ResetSignals gives every signal that is ignored its default disposition, and
// blocks none. A supervisor that begins with it can start servers without the
// stage ExecName, whatever its own caller ignores.
func ResetSignals() {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if disposition(sig) == sigIgnore {
			setDisposition(sig, sigDefault)
		}
	}
	unblockSignals()
}
