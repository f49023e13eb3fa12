package gateway

import (
	"io"
	"net/http"
	"time"
)

// Who sends a request slowly holds a connection, and what there is of the request in
// memory. So each part of it has its time.

const (
	// headerWait is how long the header of a request may take.
	headerWait = 10 * time.Second
	// bodyWait is how long its body may take, with a second more for each bodyPace
	// bytes of it.
	bodyWait = 30 * time.Second
	bodyPace = 64 << 10
	// lingerFor is how long a connection is kept for the body of a request that was
	// refused.
	lingerFor = 2 * time.Second
)

// pacedBody is a body that is to come at that pace.
type pacedBody struct {
	io.ReadCloser
	conn  http.ResponseController
	until time.Time
}

func (g *Gateway) paced(w http.ResponseWriter, body io.ReadCloser) io.ReadCloser {
	b := &pacedBody{body, *http.NewResponseController(w), time.Now().Add(g.o.BodyWait)}
	_ = b.conn.SetReadDeadline(b.until) // a writer that has none is a test's
	return b
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF: // what is awaited from now on is the end of the connection
		_ = b.conn.SetReadDeadline(time.Time{})
	case n > 0:
		b.until = b.until.Add(time.Duration(n) * time.Second / bodyPace)
		_ = b.conn.SetReadDeadline(b.until)
	}
	return n, err
}

// unread has the connection of a request whose body nobody is going to read end
// after the answer: package net/http would wait for the body otherwise.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerFor))
}
