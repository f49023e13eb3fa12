package supervisor_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// end kills a process if it lives, and returns when it has ended.
func end(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		t.Fatal(err)
	}
	awaitEnd(t, fd)
}

// awaitEnd returns when the process of a pidfd has ended.
func awaitEnd(t testing.TB, pidfd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatalf("a killed process does not end")
		}
		return
	}
}

// running says whether the process lives; a zombie does not.
func running(pid int) bool {
	f := statOf(pid)
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}
