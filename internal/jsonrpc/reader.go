package jsonrpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine is the longest line that a Reader accepts by default, in bytes.
const MaxLine = 128 << 20

// keepBuffer is the size from which the buffer of a long line is let go.
const keepBuffer = 1 << 20

// ErrTooLong reports a line above the Reader's cap. The line is skipped; the
// Reader goes on behind it.
var ErrTooLong = errors.New("line too long")

// Reader reads lines: messages that end in LF or CRLF. It is not for use by
// several goroutines.
type Reader struct {
	r    *bufio.Reader
	max  int
	long []byte // of a line that exceeds the bufio.Reader's buffer

	spill     func() Spill // nil: all lines are read into memory
	spillFrom int
}

// Spill takes a long line in pieces. Its writes do not fail.
type Spill interface {
	io.Writer
	// Finish returns what Next is to return for the line; what is empty is no line.
	Finish() []byte
	// Abort is called instead if the line is too long or has no end.
	Abort()
}

// SpillTo has lines of more than n bytes, at least 64 KiB, go to what begin returns
// while they are read.
func (r *Reader) SpillTo(n int, begin func() Spill) { r.spillFrom, r.spill = n, begin }

// NewReader returns a Reader of r that accepts lines of at most max bytes
// without their end; 0 means MaxLine.
func NewReader(r io.Reader, max int) *Reader {
	if max <= 0 {
		max = MaxLine
	}
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// Next returns the next line that is not blank, without its end. The bytes are
// valid until the call after. At the end of the stream an unfinished line is
// returned like a finished one, then io.EOF. An error that wraps ErrTooLong
// concerns one line; any other is final.
func (r *Reader) Next() ([]byte, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimLeft(line, " \t\r")) > 0 {
			return line, nil
		}
	}
}

// line returns the next line, blank or not.
func (r *Reader) line() ([]byte, error) {
	if cap(r.long) > keepBuffer {
		r.long = nil
	}
	r.long = r.long[:0]
	for {
		part, err := r.r.ReadSlice('\n')
		ended := err == nil || err == io.EOF
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		if err == io.EOF && len(part) == 0 && len(r.long) == 0 {
			return nil, io.EOF
		}
		line := part
		if r.spill != nil && len(r.long)+len(part) > r.spillFrom+2 {
			return r.spilled(part, err)
		}
		if len(r.long) > 0 || !ended {
			r.grow(len(part))
			r.long = append(r.long, part...)
			line = r.long
		}
		if ended {
			line = bytes.TrimSuffix(line, []byte("\n"))
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		// An unfinished line may still lose its CR.
		if n := len(line); n > r.max && (ended || n > r.max+1) {
			return nil, r.skip(n, ended)
		}
		if ended {
			return line, nil
		}
	}
}

// spilled reads a line of which r.long and part were read, with the error of that.
func (r *Reader) spilled(part []byte, err error) ([]byte, error) {
	to := r.spill()
	_, _ = to.Write(r.long)
	n := len(r.long)
	for cr := false; ; part, err = r.r.ReadSlice('\n') {
		ended := err == nil || err == io.EOF
		if !ended && err != bufio.ErrBufferFull {
			to.Abort()
			return nil, err
		}
		if cr && len(part) > 0 && part[0] != '\n' { // it was not part of the end
			_, _ = to.Write([]byte{'\r'})
			n++
		}
		if ended {
			part = bytes.TrimSuffix(part, []byte("\n"))
		}
		// Of a CR at the end of a piece it is not known yet what it is.
		part, cr = bytes.CutSuffix(part, []byte("\r"))
		if n += len(part); n > r.max {
			to.Abort()
			return nil, r.skip(n, ended)
		}
		_, _ = to.Write(part)
		if ended {
			return to.Finish(), nil
		}
	}
}

// grow makes room for n more bytes: it doubles the buffer, but never to more
// than the longest line needs.
func (r *Reader) grow(n int) {
	need := len(r.long) + n
	if need <= cap(r.long) {
		return
	}
	size := max(need, min(2*cap(r.long), r.max+2+r.r.Size()))
	r.long = append(make([]byte, 0, size), r.long...)
}

// skip reads up to the end of a line of which n bytes were seen.
func (r *Reader) skip(n int, ended bool) error {
	for !ended {
		part, err := r.r.ReadSlice('\n')
		n += len(part)
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return err
		}
		ended = err != bufio.ErrBufferFull
	}
	return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLong, n, r.max)
}
