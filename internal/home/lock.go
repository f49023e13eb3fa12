package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
)

// ErrLocked: another holder has the lock.
var ErrLocked = errors.New("locked")

// Lock is a held lock on a file. It belongs to the open file description, not
// to the process: a child that inherits File holds it too, and it is free when
// the last of them closed it or died. Lock files are never removed: whoever
// unlinks one lets two processes hold "the" lock.
type Lock struct {
	f *os.File
}

// ShimLock returns the path of the lock that a server's shim holds while it
// lives. Only its holder may start the server.
func (h *Home) ShimLock(name string) (string, error) { return h.serverLock(name, "shim") }

// TreeLock returns the path of the lock that a server inherits. Busy proves
// that a process of it lives; free proves nothing.
func (h *Home) TreeLock(name string) (string, error) { return h.serverLock(name, "tree") }

func (h *Home) serverLock(name, kind string) (string, error) {
	if err := berth.CheckInstance(name); err != nil {
		return "", err
	}
	return h.path(locksDir, name+"."+kind), nil
}

// RunLock returns the path of a lock of the home itself, such as that of its
// keeper. The word must not have a dot: those are servers' locks.
func (h *Home) RunLock(word string) string { return h.path(locksDir, filepath.Base(word)) }

// TryLock takes the lock at path, whose file it creates. It returns an error
// that wraps ErrLocked if somebody has it.
func TryLock(path string) (*Lock, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	return takeLock(context.Background(), f, path, func(f *os.File) error { return lockFile(f, false) })
}

// WaitLock takes the lock at path as soon as it is free. Where ctx can end, the
// wait is a goroutine that outlives an ended ctx until the lock is free, and
// then frees it at once: ErrLocked may be seen by others for that moment.
func WaitLock(ctx context.Context, path string) (*Lock, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
	}
	l, err := TryLock(path)
	if !errors.Is(err, ErrLocked) {
		return l, err
	}
	// It is opened here: a wait that was given up must not make the directory
	// of a home again that was removed meanwhile.
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	wait := func(f *os.File) error { return lockFile(f, true) }
	if ctx.Done() == nil {
		return takeLock(ctx, f, path, wait)
	}
	type taken struct {
		l   *Lock
		err error
	}
	got := make(chan taken)
	go func() {
		l, err := takeLock(ctx, f, path, wait)
		select {
		case got <- taken{l, err}:
		case <-ctx.Done():
			if err == nil {
				_ = l.Unlock()
			}
		}
	}()
	select {
	case t := <-got:
		return t.l, t.err
	case <-ctx.Done():
		return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
	}
}

// takeLock locks f, which is the file at path and is closed unless it becomes
// the lock. The file may have been replaced (the home removed and made anew)
// before that: then it is opened again, unless ctx has ended.
func takeLock(ctx context.Context, f *os.File, path string, lock func(*os.File) error) (*Lock, error) {
	for {
		if err := lock(f); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		same, err := stillAt(f, path)
		if same {
			return &Lock{f}, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
		}
		if f, err = openLock(path); err != nil {
			return nil, err
		}
	}
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

func stillAt(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, now), err
}

// InheritLock returns the lock whose file another process has passed on, which
// holds it until all who have it have let go. The file is closed on an error.
func InheritLock(f *os.File, path string) (*Lock, error) {
	same, err := stillAt(f, path)
	if err == nil && !same {
		err = fmt.Errorf("what was passed on is not the file %s", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("inherit a lock: %w", err)
	}
	if l, err := TryLock(path); !errors.Is(err, ErrLocked) {
		if err == nil {
			_ = l.Unlock()
			err = fmt.Errorf("nobody holds %s", path)
		}
		_ = f.Close()
		return nil, fmt.Errorf("inherit a lock: %w", err)
	}
	return &Lock{f}, nil
}

// Locked reports whether somebody holds the lock at path. It creates nothing,
// and two that ask do not see each other; but one that takes the lock in the
// same moment may be refused.
func Locked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("probe a lock: %w", err)
	}
	defer f.Close()
	if err = shareFile(f); errors.Is(err, ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("probe the lock %s: %w", path, err)
	}
	_ = unlockFile(f)
	return false, nil
}

// File returns the open file for a child to inherit. It must not be closed.
func (l *Lock) File() *os.File { return l.f }

// Unlock frees the lock, for those who inherited it too.
func (l *Lock) Unlock() error {
	return errors.Join(unlockFile(l.f), l.f.Close())
}

// Close closes this process's descriptor. The lock stays with those who
// inherited it.
func (l *Lock) Close() error { return l.f.Close() }

// proveLocks locks a file through one descriptor and expects another to be
// refused. Whoever reads a home that was never written has no file to try, and
// nothing to lose by it.
func (h *Home) proveLocks() error {
	path := h.path(locksDir, "probe")
	open := func() (*os.File, error) {
		if !h.readOnly {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if err == nil || !cannotWrite(err) {
				return f, err
			}
		}
		return os.Open(path)
	}
	one, err := open()
	if errors.Is(err, fs.ErrNotExist) || err != nil && cannotWrite(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("try the locks of the home directory: %w", err)
	}
	defer one.Close()
	other, err := open()
	if err != nil {
		return fmt.Errorf("try the locks of the home directory: %w", err)
	}
	defer other.Close()

	const hint = "set BERTH_HOME to a directory on a local disk"
	err = lockFile(one, false)
	if errors.Is(err, ErrLocked) {
		return nil // by another process that tries: they work
	}
	if err != nil {
		return unfit(hint, "locks do not work in %s: %w", h.dir, err)
	}
	err = lockFile(other, false)
	_ = unlockFile(one)
	if err == nil {
		_ = unlockFile(other)
		return unfit(hint, "locks do not work in %s: one was given twice", h.dir)
	}
	if !errors.Is(err, ErrLocked) {
		return unfit(hint, "locks do not work in %s: %w", h.dir, err)
	}
	return nil
}

// relock is a lock that is taken again and again: its file stays open.
type relock struct {
	path string
	held *Lock // nil before the first time
	file *direct.File
}

// take takes the lock, waiting for others.
func (r *relock) take(wait time.Duration) error {
	if r.held != nil {
		err := r.lock()
		if err == nil {
			if _, ok := r.file.InPlace(); ok {
				return nil
			}
			err = r.unlock()
		}
		if err != nil && !errors.Is(err, ErrLocked) {
			return err
		}
		r.close()
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), wait,
		fmt.Errorf("another process has held it for %v", wait))
	defer cancel()
	l, err := WaitLock(ctx, r.path)
	if err != nil {
		return err
	}
	if r.file, err = direct.NewFile(l.f, r.path); err != nil {
		return errors.Join(err, l.Unlock())
	}
	r.held = l
	return nil
}

// release frees the lock.
func (r *relock) release() { _ = r.unlock() }

// close closes the lock's file.
func (r *relock) close() {
	if r.held != nil {
		_ = r.held.Close()
		r.held = nil
	}
}
