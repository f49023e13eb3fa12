//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canPass says that this system passes open files to another process.
const canPass = true

// passable is an open file or socket, of which nothing is changed by passing it on:
// (*os.File).Fd would make a socket block.
type passable interface {
	SyscallConn() (syscall.RawConn, error)
}

// sendFiles writes a line with open files (unix(7), SCM_RIGHTS).
func sendFiles(conn *net.UnixConn, line []byte, pass []passable) error {
	var rights []int
	for _, p := range pass {
		raw, err := p.SyscallConn()
		if err != nil {
			return fmt.Errorf("pass a file on: %w", err)
		}
		// A copy: whoever closes the original does so at any time.
		var fd int
		var dupErr error
		if err := raw.Control(func(from uintptr) {
			fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
		}); err != nil {
			return fmt.Errorf("pass a file on: %w", err)
		}
		if dupErr != nil {
			return fmt.Errorf("pass a file on: %w", dupErr)
		}
		defer unix.Close(fd)
		rights = append(rights, fd)
	}
	var oob []byte
	if len(rights) > 0 {
		oob = unix.UnixRights(rights...)
	}
	// A message is far less than the buffer of a socket, and goes in one piece.
	n, _, err := conn.WriteMsgUnix(line, oob, nil)
	if err == nil && n < len(line) {
		_, err = conn.Write(line[n:])
	}
	if err != nil {
		return fmt.Errorf("tell the other gateway: %w", err)
	}
	return nil
}

// fill reads more.
func (c *handoverConn) fill() error {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(8*4))
	n, oobn, _, _, err := c.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fmt.Errorf("read what another gateway passes on: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // nothing of ours
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd) // package net asks the kernel for it where that can be asked
			c.files = append(c.files, os.NewFile(uintptr(fd), "inherited"))
		}
	}
	if n == 0 {
		return io.EOF
	}
	c.in = append(c.in, buf[:n]...)
	return nil
}
