//go:build unix

package supervisor_test

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/berth-run/berth"
)

// awaitShimEnd returns when no shim of the server is alive: each holds its lock
// as long as it is.
func (w *world) awaitShimEnd(name string) {
	w.Helper()
	f, err := os.OpenFile(w.path("locks", name+".shim"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() {
		defer f.Close()
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			w.Fatal(err)
		}
	case <-time.After(patience):
		w.Fatalf("the shim of %q does not end", name)
	}
}

// signal sends a signal to a process that the caller knows to be of its own
// making and alive.
func (w *world) signal(pid int, sig syscall.Signal) {
	w.Helper()
	if pid <= 1 {
		w.Fatalf("signal pid %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		w.Fatalf("signal pid %d: %v", pid, err)
	}
}

// kill ends a process as nothing can prevent.
func (w *world) kill(pid int) {
	w.Helper()
	w.signal(pid, syscall.SIGKILL)
}

// orphan starts a server whose shim is then killed. Whether the server goes on
// depends on it; see outliving.
func (w *world) orphan(name string, s berth.ProcessSpec) berth.Status {
	w.Helper()
	st := w.start(name, s)
	w.kill(st.ShimPID)
	w.awaitShimEnd(name)
	return st
}
