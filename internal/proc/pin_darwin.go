package proc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pinned is a process that is told apart from others by its start time, which
// is compared again right before each signal: macOS has no handle that would
// exclude the moment in between.
type Pinned struct {
	id     ID
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu   sync.Mutex // guards done
	done chan struct{}
}

// Pin verifies that the process is the one meant. ErrGone: it has ended.
func Pin(id ID) (*Pinned, error) {
	alive, err := id.Alive()
	if err == nil && !alive {
		err = ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("pin %v: %w", id, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Pinned{id: id, ctx: ctx, cancel: cancel}, nil
}

// ID returns the process that was pinned.
func (p *Pinned) ID() ID { return p.id }

// Signal sends a signal. ErrGone: it has ended. A refusal by the system is of
// kind fs.ErrPermission and names the pid.
func (p *Pinned) Signal(sig syscall.Signal) error {
	alive, err := p.id.Alive()
	if err == nil && !alive {
		err = ErrGone
	}
	if err == nil {
		err = syscall.Kill(p.id.PID, sig)
	}
	if err == syscall.ESRCH {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("signal %v with %s: %w", p.id, unix.SignalName(sig), err)
	}
	return nil
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
			if p.await(p.ctx) == nil {
				close(done)
			}
		}()
	}
	return p.done
}

// await asks for the exit of whatever has the pid, then makes sure that this
// was the process meant: if it is not there any more, it has ended.
func (p *Pinned) await(ctx context.Context) error {
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, err := awaitExit(ctx, p.id.PID)
		ended <- err
	}()
	if alive, err := p.id.Alive(); err == nil && !alive {
		cancel()
		<-ended
		return nil
	}
	err := <-ended
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Close ends the watch; it does nothing to the process.
func (p *Pinned) Close() error {
	p.cancel()
	return nil
}

// signalIf signals the process if it belongs to the tree. One that is gone is
// no error.
func signalIf(pid int, sig syscall.Signal, belongs func() (bool, error)) error {
	id, err := Identify(pid)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	yes, err := belongs()
	if err != nil || !yes {
		return err
	}
	p, err := Pin(id)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Signal(sig); !isGone(err) {
		return err
	}
	return nil
}

// awaitAll waits until the processes have ended, or ctx ends.
func awaitAll(ctx context.Context, list []stat) error {
	w, err := thisWorld()
	if err != nil {
		return err
	}
	for _, m := range list {
		p, err := Pin(w.id(m))
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = p.Wait(ctx)
		p.Close()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
