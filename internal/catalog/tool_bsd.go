//go:build unix && !linux

package catalog

import "golang.org/x/sys/unix"

// awaitExit returns when a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	kq, err := unix.Kqueue()
	if err != nil {
		return // then ctx cannot end it early, and its group is ended at once
	}
	defer unix.Close(kq)
	var ev unix.Kevent_t
	unix.SetKevent(&ev, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	ev.Fflags = unix.NOTE_EXIT
	got := make([]unix.Kevent_t, 1)
	for {
		_, err := unix.Kevent(kq, []unix.Kevent_t{ev}, got, nil)
		if err != unix.EINTR {
			return // it has ended, or had before
		}
	}
}

// settle asks for what was written to reach the disk. There is no call that waits
// for a file system; a copy that a power cut has damaged is told by its hashes.
func settle(string) error {
	unix.Sync()
	return nil
}
