package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pinned is a process that cannot be mistaken for another: whatever happens to
// its pid, a signal reaches it or nobody.
type Pinned struct {
	id    ID
	pidfd *os.File

	mu   sync.Mutex // guards done
	done chan struct{}
}

// Pin opens the process, then verifies that it is the one meant. ErrGone: it
// has ended. ErrForeign: it is of another PID namespace.
func Pin(id ID) (*Pinned, error) {
	same, err := here(id)
	if err == nil && !same {
		err = ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("pin %v: %w", id, err)
	}
	p, s, err := pinPID(id.PID)
	if err != nil {
		return nil, fmt.Errorf("pin %v: %w", id, err)
	}
	if s.start != id.Start || s.zombie() {
		p.Close()
		return nil, fmt.Errorf("pin %v: %w", id, ErrGone)
	}
	p.id = id
	return p, nil
}

// pinPID opens whatever process has the pid now, and returns its state.
func pinPID(pid int) (*Pinned, stat, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		// The pid is that of a thread now: EINVAL, since Linux 6.9 ENOENT.
		if err == unix.ESRCH || err == unix.EINVAL || err == unix.ENOENT {
			err = ErrGone
		}
		return nil, stat{}, err
	}
	f, err := newPidfd(fd)
	if err != nil {
		return nil, stat{}, err
	}
	p := &Pinned{pidfd: f}
	s, err := readStat(pid)
	if err == nil {
		// The state is that of the pinned process only if that one was not
		// reaped before the state was read: then the pid was still its own.
		err = p.unreaped()
	}
	if err != nil {
		p.Close()
		return nil, stat{}, err
	}
	return p, s, nil
}

// unreaped returns ErrGone once the process has been reaped. A signal may be
// "sent" to a zombie, and that nobody may send one says that it exists.
func (p *Pinned) unreaped() error {
	err := control(p.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) })
	switch {
	case err == nil, errors.Is(err, unix.EPERM):
		return nil
	case errors.Is(err, unix.ESRCH):
		return ErrGone
	}
	return err
}

// ID returns the process that was pinned.
func (p *Pinned) ID() ID { return p.id }

// Signal sends a signal. ErrGone: it has ended. A refusal by the system is of
// kind fs.ErrPermission and names the pid.
func (p *Pinned) Signal(sig syscall.Signal) error {
	err := control(p.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return fmt.Errorf("signal %v with %s: %w", p.id, signalName(sig), err)
}

// Kill sends SIGKILL.
func (p *Pinned) Kill() error { return p.Signal(syscall.SIGKILL) }

// Done is closed when the process has ended, and never if p is closed before.
func (p *Pinned) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		done := make(chan struct{})
		p.done = done
		go func() {
			if waitReady(context.Background(), p.pidfd, hasExited) == nil {
				close(done)
			}
		}()
	}
	return p.done
}

// Close releases the handle; it does nothing to the process.
func (p *Pinned) Close() error { return p.pidfd.Close() }

// awaitAll waits until the processes have ended, or ctx ends.
func awaitAll(ctx context.Context, list []stat) error {
	for _, m := range list {
		p, s, err := pinPID(m.pid)
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if s.start == m.start {
			err = waitReady(ctx, p.pidfd, hasExited)
		}
		p.Close()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// signalIf opens the process, asks whether it belongs to the tree, and signals
// it if so. What was asked was of the opened process if it is still unreaped
// afterwards. A process that is gone is no error.
func signalIf(pid int, sig syscall.Signal, belongs func() (bool, error)) error {
	p, s, err := pinPID(pid)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pid %d: %w", pid, err)
	}
	defer p.Close()
	p.id = ID{PID: pid, Start: s.start}
	yes, err := belongs()
	if err != nil {
		return err
	}
	if !yes || s.zombie() || p.unreaped() != nil {
		return nil
	}
	if err := p.Signal(sig); !isGone(err) {
		return err
	}
	return nil
}
