package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/berth-run/berth/internal/netns"
)

// headerTime is how long a client of the proxy may take for its header.
const headerTime = 30 * time.Second

// serveProxy serves one request of a client that asks an HTTP proxy. What goes to
// where it is allowed to go, goes nowhere else: there is no second request.
func (s *Server) serveProxy(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(headerTime))
	header, rest, err := readHeader(c)
	if err != nil {
		if bad, ok := err.(badRequest); ok {
			say(c, "400 Bad Request", bad.Error())
		}
		c.Close()
		return
	}
	r, err := parseRequest(header)
	if err != nil {
		own := proxyAddr()
		s.violation(Violation{Host: own.Addr().String(), Port: own.Port(), Why: "a request to the proxy that is none: " + err.Error()})
		say(c, "400 Bad Request", err.Error())
		c.Close()
		return
	}
	if s.stopped() {
		reset(c)
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	out, err := s.connect(s.meant(r))
	if err != nil {
		status := "502 Bad Gateway"
		var refused *refusedError
		if errors.As(err, &refused) {
			status = "403 Forbidden"
			err = fmt.Errorf("%w\nberth: hint: berth permissions shows what is granted, and grants network:%v", err, refused.to)
		}
		say(c, status, err.Error())
		c.Close()
		return
	}
	if r.connect {
		_, err = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		if err == nil && len(rest) > 0 {
			_, err = out.Write(rest)
		}
		if err != nil {
			reset(c)
			reset(out)
			return
		}
		s.relay(c, out)
		return
	}
	s.forward(c, out, r, rest)
}

func proxyAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(netns.ProxyHost()), netns.ProxyPort)
}

// meant is the destination of a request. An address may be one of those that names
// have within.
func (s *Server) meant(r request) destination {
	if r.name == "" {
		return s.destinationOf(netip.AddrPortFrom(r.addr, r.port))
	}
	return s.destinationFor(r.name, r.port)
}

// forward sends one request on, and the answer back until its end, which is that of
// the connection.
func (s *Server) forward(c, out net.Conn, r request, rest []byte) {
	defer c.Close()
	if !s.hold(out) {
		reset(out)
		return
	}
	defer s.release(out)
	defer out.Close()
	if _, err := out.Write(r.header); err != nil {
		return
	}
	// The client may send more than its body: that is not passed on, and ends the
	// connection, lest it waits for an answer.
	go func() {
		body := io.MultiReader(bytes.NewReader(rest), c)
		more, err := r.pass(out, body)
		if err != nil {
			reset(out)
			reset(c)
			return
		}
		if len(more) == 0 {
			var b [1]byte
			if n, _ := body.Read(b[:]); n == 0 {
				return // it sends no more, and may still read
			}
		}
		reset(c)
		out.Close()
	}()
	for {
		_ = out.SetReadDeadline(time.Now().Add(s.config.Idle))
		if n, err := io.Copy(c, out); err == nil || n == 0 || s.stopped() {
			return
		}
	}
}

// pass sends the body of a request, and returns what was read beyond it.
func (r request) pass(out io.Writer, body io.Reader) (more []byte, err error) {
	if !r.chunked {
		_, err := io.CopyN(out, body, r.length)
		return nil, err
	}
	var follow chunks
	buf := make([]byte, 4096)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			of, end, cerr := follow.advance(buf[:n])
			if cerr != nil {
				return nil, cerr
			}
			if _, err := out.Write(buf[:of]); err != nil {
				return nil, err
			}
			if end {
				return buf[of:n], nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// readHeader reads up to an empty line, and returns what came after it as well.
func readHeader(c net.Conn) (header, rest []byte, err error) {
	buf := make([]byte, 0, 2048)
	for {
		if len(buf) == cap(buf) {
			if cap(buf) >= maxHeader {
				return nil, nil, badRequest("a header of more than 64 KiB")
			}
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		from := max(0, len(buf)-3)
		buf = buf[:len(buf)+n]
		if end := headerEnd(buf[from:]); end > 0 {
			return buf[:from+end], buf[from+end:], nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// say answers a request that is not passed on.
func say(c net.Conn, status, text string) {
	text = "berth: " + text + "\n"
	_ = c.SetWriteDeadline(time.Now().Add(headerTime))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(text), text)
}
