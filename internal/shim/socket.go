package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
)

// connection is one end of a connection by a Unix socket: a net.Conn, as far as it is
// needed here. Package net itself is not used where the system's calls do. What
// it imports is initialised late, and by then a process that is to be a shim
// would have initialised most of the program.
type connection interface {
	io.ReadWriteCloser
	syscall.Conn
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

type listener interface {
	// Accept waits for a connection. Once the listener was closed the error is
	// os.ErrClosed.
	Accept() (connection, error)
	Close() error
	// file is the socket, for an exec that keeps it open.
	file() (*os.File, error)
}

// socket is the shim's listening socket. It is put in place by rename, so that
// a client finds either the last one or this one, and put there again when
// someone removes it.
type socket struct {
	listener
	path string
	stop func()
}

// listen opens the server's socket, elsewhere if the home cannot hold one.
func listen(h *home.Home, name string) (*socket, error) {
	path, err := h.SocketPath(name)
	if err != nil {
		return nil, err
	}
	s, err := bindTo(path)
	if err == nil {
		return s, nil
	}
	// The filesystem has no sockets; those that have are tried elsewhere.
	path, ferr := h.FallbackSocket(name)
	if ferr == nil {
		s, ferr = bindTo(path)
	}
	if ferr != nil {
		return nil, errors.Join(err, ferr)
	}
	return s, nil
}

func bindTo(path string) (*socket, error) {
	var l listener
	err := Place(path, func(beside string) (err error) {
		l, err = listenAt(beside)
		return err
	})
	if err == nil {
		return &socket{listener: l, path: path, stop: func() {}}, nil
	}
	if l != nil {
		l.Close()
	}
	return nil, err
}

// Place has bind open a Unix socket that only this user can connect to. It is
// bound beside the path and renamed over it: no moment without a socket, no
// "address in use" from one that a dead process left. If it fails, closing what
// bind opened is left to the caller.
func Place(path string, bind func(path string) error) error {
	beside := filepath.Join(filepath.Dir(path), fmt.Sprintf("%s.%x", filepath.Base(path)[:4], os.Getpid()))
	os.Remove(beside)
	if err := bind(beside); err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	fail.Point("shim.socket.bound")
	err := os.Chmod(beside, 0o600)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		os.Remove(beside)
		return fmt.Errorf("put the socket in place: %w", err)
	}
	fail.Point("shim.socket.placed")
	return nil
}

// close removes the socket: only the holder of shim.lock may, and it still
// does hold it.
func (s *socket) close() {
	s.stop()
	os.Remove(s.path)
	s.listener.Close()
}
