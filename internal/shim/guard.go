package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// guard binds the socket again whenever somebody removes it: a cleaner of old
// files, or a user who wanted to help. Without it a running server could not be
// reached, nor stopped.
func (s *shim) guard() {
	dir := filepath.Dir(s.socket.path)
	stop, err := watchDir(dir, filepath.Base(s.socket.path), func() {
		s.post(s.rebind)
	})
	if err == nil {
		s.socket.stop = stop
	}
	// Without a watch (the user's limit of inotify instances) the socket is
	// as safe as any other file.
}

// rebind puts the socket back if it is gone.
func (s *shim) rebind() {
	path := s.socket.path
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	os.MkdirAll(filepath.Dir(path), 0o700) // bindTo reports what is wrong
	fresh, err := bindTo(path)
	if err != nil {
		return // there is no one to tell; the next event tries again
	}
	old := s.socket
	s.socket = fresh
	old.stop()
	old.listener.Close()
	go s.accept(s.socket)
	s.guard()
}
