//go:build unix

package shim

import (
	"os"

	"golang.org/x/sys/unix"
)

// connOf makes a connection of a socket, which the poller then waits for.
func connOf(fd int) (connection, error) {
	f, err := pollable(fd)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func pollable(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// dialSocket connects to whoever listens at a path, at once or not at all.
func dialSocket(path string) (connection, error) {
	fd, err := newSocket()
	if err != nil {
		return nil, err
	}
	c, err := connOf(fd)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		c.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	return c, nil
}

// unixListener is a listening socket in the poller.
type unixListener struct{ f *os.File }

func listenAt(path string) (listener, error) {
	fd, err := newSocket()
	if err != nil {
		return nil, err
	}
	f, err := pollable(fd)
	if err != nil {
		return nil, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return unixListener{f}, nil
}

// adoptSocket continues with a socket that the image before this one opened.
func adoptSocket(f *os.File, path string) *socket {
	return &socket{listener: unixListener{f}, path: path, stop: func() {}}
}

func (l unixListener) Accept() (connection, error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return nil, os.ErrClosed
	}
	var fd int
	var acceptErr error
	if raw.Read(func(s uintptr) bool {
		fd, acceptErr = acceptFrom(int(s))
		return acceptErr != unix.EAGAIN
	}) != nil {
		return nil, os.ErrClosed
	}
	if acceptErr != nil {
		return nil, os.NewSyscallError("accept", acceptErr)
	}
	return connOf(fd)
}

func (l unixListener) Close() error { return l.f.Close() }

func (l unixListener) file() (*os.File, error) { return l.f, nil }
