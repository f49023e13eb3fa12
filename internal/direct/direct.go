// Package direct reads and writes sockets and pipes at less cost than package net
// and package os do.
//
// Those tell the Go scheduler of each system call, for it may block. One that
// comes after a time of idleness wakes the scheduler's monitor, a thread, which
// takes 10 µs of the processor that whoever waits for the message needs. The
// descriptors of a Stream are non-blocking, so that there is nothing to tell; a File
// is taken to be quick until it was not.
//
// Goroutines are preempted by that monitor, though. So a Stream on which there is
// always something to read goes the ordinary way now and then, as does much that is written at once.
package direct

import "io"

// Stream is a socket or a pipe. One goroutine may read it while another writes.
type Stream struct {
	rw   io.ReadWriter
	in   *half // nil: the ordinary way only
	out  *half
	many int // reads in a row that did not have to wait
}

const (
	// manyAtOnce is how many reads in a row may find something at once before the
	// monitor is woken.
	manyAtOnce = 8
	// muchAtOnce bounds what is written without it, in bytes.
	muchAtOnce = 256 << 10
)

// New returns a Stream of rw. What is not a descriptor of a system where that
// gains something works like rw itself.
func New(rw io.ReadWriter) *Stream {
	s := &Stream{rw: rw}
	s.in, s.out = halves(rw)
	return s
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	if s.in == nil || len(p) == 0 || s.many >= manyAtOnce {
		s.many = 0
		return s.rw.Read(p)
	}
	n, waited, err := s.in.read(p)
	if waited {
		s.many = 0
	} else {
		s.many++
	}
	return n, err
}

// Write implements io.Writer.
func (s *Stream) Write(p []byte) (int, error) {
	if s.out == nil || len(p) == 0 || len(p) > muchAtOnce {
		return s.rw.Write(p)
	}
	return s.out.write(p, nil)
}

// WriteTwo writes a, then b, if possible in one call of the system.
func (s *Stream) WriteTwo(a, b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return s.Write(a)
	case len(a) == 0:
		return s.Write(b)
	case s.out == nil || len(a)+len(b) > muchAtOnce:
		n, err := s.rw.Write(a)
		if err != nil {
			return n, err
		}
		m, err := s.rw.Write(b)
		return n + m, err
	}
	return s.out.write(a, b)
}
