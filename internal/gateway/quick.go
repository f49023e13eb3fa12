package gateway

import (
	"net"
	"sync"

	"github.com/berth-run/berth/internal/direct"
)

// quickListener has package direct read and write what comes.
type quickListener struct{ net.Listener }

// Accept implements net.Listener.
func (l quickListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &quickConn{Conn: c, stream: direct.New(c)}, nil
}

// quickConn is a connection of a client's. As of any net.Conn, several goroutines
// may call its methods at once.
type quickConn struct {
	net.Conn
	stream  *direct.Stream
	in, out sync.Mutex // held while the stream is read, and written
}

// Read implements net.Conn.
func (c *quickConn) Read(p []byte) (int, error) {
	c.in.Lock()
	defer c.in.Unlock()
	return c.stream.Read(p)
}

// Write implements net.Conn.
func (c *quickConn) Write(p []byte) (int, error) {
	c.out.Lock()
	defer c.out.Unlock()
	return c.stream.Write(p)
}

// CloseWrite ends what is written, where the connection has that: package net/http does
// so before it lets a client that still sends go.
func (c *quickConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// plain is the connection itself, as its listener made it.
func plain(c net.Conn) net.Conn {
	if q, ok := c.(*quickConn); ok {
		return q.Conn
	}
	return c
}
