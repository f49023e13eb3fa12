package proc

import (
	"context"
	"syscall"
	"time"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// child is a child of this process, until it is reaped. There are no handles of
// processes on macOS: the pid is the child's own as long as it is unreaped.
type child struct {
	pid int
	// exit is what the kernel told of the end, before the child was reaped.
	exit   berth.Exit
	reaped bool
}

// fork starts a program; see syscall.ForkExec. It returns after exec succeeded.
func fork(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	closeOnExecFrom(3)
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid}, nil
}

// waitExit blocks until the child has exited, without reaping it.
func (c *child) waitExit(ctx context.Context) error {
	status, err := awaitExit(ctx, c.pid)
	if err == unix.ESRCH {
		// It had exited before the kernel could be asked to tell.
		c.exit, c.reaped = c.wait(), true
		return nil
	}
	c.exit = exitOf(status)
	return err
}

// status returns how the exited child ended.
func (c *child) status() berth.Exit { return c.exit }

// reap takes the exited child out of the process table.
func (c *child) reap() berth.Exit {
	if !c.reaped {
		c.exit, c.reaped = c.wait(), true
	}
	return c.exit
}

func (c *child) wait() berth.Exit {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.pid, &status, 0, nil)
		switch err {
		case nil:
			return exitOf(status)
		case syscall.EINTR:
		default:
			return berth.Exit{At: time.Now()} // an exit that nobody saw
		}
	}
}

// end kills the child and reaps it: for a start that failed half way.
func (c *child) end() berth.Exit {
	_ = syscall.Kill(c.pid, syscall.SIGKILL)
	return c.reap()
}

func (c *child) release() {}

// handover: the next image of this process is still the parent of the pid.
func (c *child) handover(*Handover, string) error { return nil }

// exitOf translates what wait4 said.
func exitOf(status syscall.WaitStatus) berth.Exit {
	e := berth.Exit{At: time.Now()}
	switch {
	case status.Exited():
		code := status.ExitStatus()
		e.Code = &code
	case status.Signaled():
		e.Signal = unix.SignalName(status.Signal())
	}
	return e
}

// awaitExit blocks until the process has exited, or ctx ends. ESRCH: it had
// exited already. The status is the child's; that of others is not told.
func awaitExit(ctx context.Context, pid int) (syscall.WaitStatus, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return 0, err
	}
	defer unix.Close(kq)
	unix.CloseOnExec(kq)
	const wake = 1
	changes := make([]unix.Kevent_t, 2)
	unix.SetKevent(&changes[0], pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	changes[0].Fflags = unix.NOTE_EXIT | unix.NOTE_EXITSTATUS
	unix.SetKevent(&changes[1], wake, unix.EVFILT_USER, unix.EV_ADD)
	// Registered one by one, so that an error is about the process.
	for i := range changes {
		if _, err := unix.Kevent(kq, changes[i:i+1], nil, nil); err != nil {
			return 0, err
		}
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		var trigger [1]unix.Kevent_t
		unix.SetKevent(&trigger[0], wake, unix.EVFILT_USER, 0)
		trigger[0].Fflags = unix.NOTE_TRIGGER
		_, _ = unix.Kevent(kq, trigger[:], nil, nil)
	})
	defer func() {
		if !stop() {
			<-woken // it uses kq
		}
	}()
	var events [1]unix.Kevent_t
	for {
		n, err := unix.Kevent(kq, nil, events[:], nil)
		switch {
		case err == unix.EINTR, err == nil && n == 0:
		case err != nil:
			return 0, err
		case events[0].Filter == unix.EVFILT_USER:
			return 0, context.Cause(ctx)
		default:
			return syscall.WaitStatus(events[0].Data), nil
		}
	}
}
