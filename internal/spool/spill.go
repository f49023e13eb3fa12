package spool

import (
	"errors"
	"io"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Spill takes one long message, in pieces, to a file.
type Spill struct {
	store   *Store
	outline *jsonrpc.Outline
	numbers []uint64 // of the marks
	in      *file    // nil once there was an error
	size    int64
	lost    bool // see Lost
	err     error
}

// Begin returns a Spill of nothing yet.
func (s *Store) Begin() *Spill {
	l := &Spill{store: s}
	l.outline = jsonrpc.NewOutline(func(int) []byte {
		n := s.number()
		l.numbers = append(l.numbers, n)
		return s.text(n)
	})
	l.in, l.err = s.make()
	return l
}

// Write takes the next bytes. It never fails: what is wrong Finish says, for the
// rest of the message has to be read all the same.
func (l *Spill) Write(p []byte) (int, error) {
	l.size += int64(len(p))
	_, bad := l.outline.Write(p)
	l.lost = bad != nil && l.size > wholeMost
	if l.in == nil {
		return len(p), nil
	}
	err := l.in.reserve(int64(len(p)))
	if err == nil {
		_, err = l.in.Write(p)
	}
	if err != nil {
		l.err = err
		l.Abort()
	}
	return len(p), nil
}

// Abort forgets the message.
func (l *Spill) Abort() {
	if l.in != nil {
		l.in.drop()
		l.in = nil
	}
}

// Lost says that the message will not be kept, whatever follows: it has no outline,
// and is too long to be taken into memory.
func (l *Spill) Lost() bool { return l.lost }

// Size is how many bytes the message has.
func (l *Spill) Size() int64 { return l.size }

// Finish returns the outline of the message. If it has none, the message itself.
// With an error, which says why the message could not be kept, the outline can
// still be read for what the message is; it is nil if that is not known.
func (l *Spill) Finish() ([]byte, error) {
	defer l.Abort()
	line, holes, err := l.outline.Finish()
	switch {
	case err != nil && l.err != nil:
		return nil, l.err
	case err != nil:
		// It is a batch, or not JSON, or has too many members.
		if l.size > wholeMost {
			return nil, errors.Join(ErrFull, err)
		}
		whole := make([]byte, l.size)
		_, err := l.in.ReadAt(whole, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		return whole, nil
	case l.err != nil:
		return line, l.err
	}
	for i, h := range holes {
		l.store.add(l.numbers[i], &value{in: l.in, from: h.From, to: h.To})
	}
	return line, nil
}

// wholeMost bounds a message that has no outline and is taken into memory.
const wholeMost = 16 << 20
