package shim

import (
	"errors"
	"io"
	"os"
	"sync"
)

// errSpoolFull: the reader was too slow for too long.
var errSpoolFull = errors.New("the client does not read: too many bytes wait for it")

// spool is a queue of bytes from one writer that must never wait to one reader
// that may be slow. The first spoolMemory bytes are held in memory, the rest in
// an unlinked file, up to a cap.
type spool struct {
	mu     sync.Mutex // guards the fields below
	more   chan struct{}
	mem    []byte // oldest bytes; never both growing and followed by file bytes
	start  int    // of the unread part of mem
	file   *os.File
	r, w   int64 // unread range of file, which is a ring: byte i is at i modulo most
	most   int64
	open   func() (*os.File, error)
	closed error

	buffers *buffers
	lent    *buffer // what mem is part of
}

const spoolMemory = bufferSize

// newSpool returns an empty spool whose overflow goes to the file that open
// makes and that holds at most most bytes there.
func newSpool(most int64, open func() (*os.File, error), b *buffers) *spool {
	return &spool{more: make(chan struct{}, 1), most: most, open: open, buffers: b}
}

// put appends the parts as one unit: all of them or, with an error, none. It
// never waits for the reader.
func (s *spool) put(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	if s.w == s.r && len(s.mem)-s.start+n <= spoolMemory {
		if s.lent == nil && n > 0 {
			s.lent = s.buffers.get()
			s.mem = s.lent[:0]
		}
		if len(s.mem)+n > cap(s.mem) {
			s.mem = s.mem[:copy(s.mem, s.mem[s.start:])]
			s.start = 0
		}
		for _, p := range parts {
			s.mem = append(s.mem, p...)
		}
	} else if err := s.spill(parts, n); err != nil {
		s.closed = err
		s.wake()
		return err
	}
	s.wake()
	return nil
}

func (s *spool) spill(parts [][]byte, n int) error {
	if s.w-s.r+int64(n) > s.most {
		return errSpoolFull
	}
	if s.file == nil {
		f, err := s.open()
		if err != nil {
			return err
		}
		s.file = f
	}
	w := s.w
	for _, p := range parts {
		for len(p) > 0 {
			at := w % s.most
			k := min(int64(len(p)), s.most-at)
			if _, err := s.file.WriteAt(p[:k], at); err != nil {
				return err
			}
			p, w = p[k:], w+k
		}
	}
	s.w = w
	return nil
}

func (s *spool) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// next fills b with the oldest bytes, waiting for some if there are none. It
// returns io.EOF after close once all bytes were read, or the error that
// closed the spool.
func (s *spool) next(b []byte) (int, error) {
	for {
		n, err := s.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		<-s.more
	}
}

func (s *spool) take(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start < len(s.mem) {
		n := copy(b, s.mem[s.start:])
		s.start += n
		if s.start == len(s.mem) {
			s.giveBack()
		}
		return n, nil
	}
	if s.r < s.w {
		at := s.r % s.most
		n, err := s.file.ReadAt(b[:min(int64(len(b)), s.w-s.r, s.most-at)], at)
		s.r += int64(n)
		if s.r == s.w {
			s.r, s.w = 0, 0
			err = s.file.Truncate(0)
		}
		if n > 0 {
			return n, nil
		}
		return 0, err
	}
	return 0, s.closed
}

// close ends the spool; bytes that are in it can still be read.
func (s *spool) close(err error) {
	if err == nil {
		err = io.EOF
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = err
	}
	s.wake()
}

// free closes the overflow file. The reader calls it when it has ended.
func (s *spool) free() {
	s.close(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.giveBack()
	s.r, s.w = 0, 0
}

// giveBack lets others have the memory: most servers are silent most of the
// time.
func (s *spool) giveBack() {
	s.buffers.put(s.lent)
	s.lent, s.mem, s.start = nil, nil, 0
}
