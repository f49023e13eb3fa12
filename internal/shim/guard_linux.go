package shim

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watchDir calls gone when the entry called name, or the directory itself,
// disappears from dir (inotify(7)). It costs nothing while nothing happens.
func watchDir(dir, name string, gone func()) (stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	const mask = unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		f.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if concerns(buf[:n], name) {
				gone()
			}
		}
	}()
	return sync.OnceFunc(func() { f.Close() }), nil
}

// concerns says whether one of the events is about name or the directory.
func concerns(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		n := min(int(binary.NativeEndian.Uint32(events[12:])), len(events)-unix.SizeofInotifyEvent)
		entry := events[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+n]
		if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_Q_OVERFLOW) != 0 || string(bytes.TrimRight(entry, "\x00")) == name {
			return true
		}
		events = events[unix.SizeofInotifyEvent+n:]
	}
	return false
}
