package main

import (
	"fmt"
	"io"
	"net"
)

// canPass says that open files cannot be passed by a socket here: Windows has no
// SCM_RIGHTS. The address is free for a moment between two gateways.
const canPass = false

// passable is never used: canPass is false.
type passable any

func sendFiles(conn *net.UnixConn, line []byte, _ []passable) error {
	if _, err := conn.Write(line); err != nil {
		return fmt.Errorf("tell the other gateway: %w", err)
	}
	return nil
}

// fill reads more.
func (c *handoverConn) fill() error {
	buf := make([]byte, 4096)
	n, err := c.conn.Read(buf)
	if n == 0 && err == nil {
		err = io.EOF
	}
	c.in = append(c.in, buf[:n]...)
	return err
}
