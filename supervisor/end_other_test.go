//go:build unix && !linux

package supervisor_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// end kills a process if it lives, and returns when it has ended. It is no
// child of the test's, so there is no event that would tell.
func end(t testing.TB, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); syscall.Kill(pid, syscall.SIGKILL) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pid %d does not end", pid)
		}
	}
}

// running says whether the process exists.
func running(pid int) bool { return syscall.Kill(pid, 0) == nil }

// hasNoProcess looks at the status alone: marks of other processes cannot be
// read here.
func (w *world) hasNoProcess(name, when string) {
	w.Helper()
	if st := w.status(name); st.Status != berth.Stopped || st.PID != 0 {
		w.Errorf("%s: %+v", when, st)
	}
}

// systemRoles are those that only this system has.
func systemRoles() map[string]func([]string) error { return nil }
