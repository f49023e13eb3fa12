package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// children is the one variable of the package: a process has one set of
// children, whatever number of trees it starts, and whoever reaps orphans must
// know which of its children somebody else waits for.
var children = registry{owned: map[int]chan struct{}{}}

type registry struct {
	// mu is held while forking and reaping, so that neither sees half of the
	// other; it guards the fields below.
	mu sync.Mutex
	// owned are the unreaped children that a *child waits for, each with a
	// channel that is closed when it is reaped.
	owned map[int]chan struct{}
	// orphanages counts the reasons for being a subreaper, and burying says
	// whether a goroutine reaps what falls to one.
	orphanages int
	burying    bool
}

// own adds a child. mu is held.
func (r *registry) own(pid int) {
	if r.owned[pid] == nil {
		r.owned[pid] = make(chan struct{})
	}
	if r.orphanages > 0 && !r.burying {
		r.burying = true
		go r.bury()
	}
}

// disown removes a child that is being reaped. mu is held.
func (r *registry) disown(pid int) {
	if reaped := r.owned[pid]; reaped != nil {
		close(reaped)
		delete(r.owned, pid)
	}
}

// child is a child of this process, until it is reaped.
type child struct {
	pid   int
	pidfd *os.File
}

// fork starts a program; see syscall.ForkExec. It returns after exec succeeded.
func fork(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	children.mu.Lock()
	defer children.mu.Unlock()
	closeOnExecFrom(3)
	fd := -1
	attr.Sys.PidFD = &fd
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	if fd < 0 {
		// The child is unreaped, so its pid cannot be another's.
		fd, err = unix.PidfdOpen(pid, 0)
	}
	var f *os.File
	if err == nil {
		f, err = newPidfd(fd)
	}
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = waitid(unix.P_PID, pid, unix.WEXITED)
		return nil, fmt.Errorf("a handle of a process (pidfd, Linux 5.4 or newer): %w", err)
	}
	children.own(pid)
	return &child{pid: pid, pidfd: f}, nil
}

// adoptChild takes over a child of an earlier image of this process.
func adoptChild(pid, fd int) (*child, error) {
	f, err := newPidfd(fd)
	if err != nil {
		return nil, err
	}
	children.mu.Lock()
	defer children.mu.Unlock()
	children.own(pid)
	return &child{pid: pid, pidfd: f}, nil
}

// waitExit blocks until the child has exited, without reaping it.
func (c *child) waitExit(ctx context.Context) error {
	return waitReady(ctx, c.pidfd, hasExited)
}

// status returns how the exited child ended, without reaping it.
func (c *child) status() berth.Exit { return c.wait(unix.WNOWAIT) }

// reap takes the exited child out of the process table.
func (c *child) reap() berth.Exit {
	children.mu.Lock()
	defer children.mu.Unlock()
	defer children.disown(c.pid)
	return c.wait(0)
}

func (c *child) wait(options int) berth.Exit {
	var e berth.Exit
	_ = c.control(func(fd int) error {
		info, err := waitid(unix.P_PIDFD, fd, unix.WEXITED|unix.WNOHANG|options)
		// On an error somebody else has reaped it: an exit that nobody saw.
		if err != nil {
			info = siginfo{}
		}
		e = info.exit()
		return nil
	})
	return e
}

// signal sends a signal to the child. One that has ended is no error.
func (c *child) signal(sig syscall.Signal) error {
	return c.control(func(fd int) error {
		err := unix.PidfdSendSignal(fd, sig, nil, 0)
		if err == unix.ESRCH {
			return nil
		}
		if err != nil {
			return fmt.Errorf("signal pid %d: %w", c.pid, err)
		}
		return nil
	})
}

// end kills the child and reaps it: for a start that failed half way.
func (c *child) end() berth.Exit {
	_ = c.signal(syscall.SIGKILL)
	_ = c.waitExit(context.Background())
	e := c.reap()
	c.release()
	return e
}

// release closes the handle of a child that was reaped.
func (c *child) release() { c.pidfd.Close() }

// handover writes the handle into h: a copy that package os does not close.
func (c *child) handover(h *Handover, name string) error { return keep(h, name, c.pidfd) }

func keep(h *Handover, name string, f *os.File) error {
	return control(f, func(fd int) error {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return os.NewSyscallError("dup", err)
		}
		h.Handles[name] = dup
		return nil
	})
}

// control calls f with the pidfd, which stays in the poller.
func (c *child) control(f func(fd int) error) error {
	return control(c.pidfd, f)
}

func control(file *os.File, f func(fd int) error) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// isClosed says whether an error means that the file was closed meanwhile.
func isClosed(err error) bool { return errors.Is(err, os.ErrClosed) }
