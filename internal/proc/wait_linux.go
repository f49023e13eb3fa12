package proc

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// newPidfd puts a pidfd into the runtime's poller, so that waiting for an exit
// costs a parked goroutine and no thread.
func newPidfd(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("set a pidfd non-blocking", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// waitReady blocks until ready returns true, asking again whenever the poller
// reports an event on f, or until ctx ends. One call at a time for each file.
func waitReady(ctx context.Context, f *os.File, ready func(fd int) (bool, error)) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		// An error means that f was closed, which ends the wait as well.
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	var readyErr error
	err = rc.Read(func(fd uintptr) bool {
		var ok bool
		ok, readyErr = ready(int(fd))
		return ok || readyErr != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return readyErr
}

// hasExited says whether the process of a pidfd has ended, reaped or not.
func hasExited(pidfd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return n > 0, err
	}
}

// siginfo is the kernel's siginfo_t as waitid fills it. The union is aligned to
// a pointer.
type siginfo struct {
	signo, errno, code int32
	child              struct {
		_      [0]uintptr
		pid    int32
		uid    uint32
		status int32
	}
	_ [128]byte
}

// The values of siginfo.code for a child that ended.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// waitid returns the zero siginfo if no child matched with WNOHANG.
func waitid(idType, id, options int) (siginfo, error) {
	var info siginfo
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id), uintptr(unsafe.Pointer(&info)), uintptr(options), 0, 0)
		switch errno {
		case 0:
			return info, nil
		case unix.EINTR:
		default:
			return siginfo{}, errno
		}
	}
}

// exit translates what waitid said.
func (i *siginfo) exit() berth.Exit {
	e := berth.Exit{At: time.Now()}
	switch i.code {
	case cldExited:
		code := int(i.child.status)
		e.Code = &code
	case cldKilled, cldDumped:
		e.Signal = signalName(syscall.Signal(i.child.status))
	}
	return e
}

// exitOf translates what wait4 said.
func exitOf(status syscall.WaitStatus) berth.Exit {
	e := berth.Exit{At: time.Now()}
	switch {
	case status.Exited():
		code := status.ExitStatus()
		e.Code = &code
	case status.Signaled():
		e.Signal = signalName(status.Signal())
	}
	return e
}

// signalName returns "SIGKILL". Real-time signals have a number only.
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return "SIG" + strconv.Itoa(int(s))
}
