// Package spool keeps what is too long for memory in unlinked files.
//
// A long message becomes its outline ([jsonrpc.Outline]): a short line in which
// marks stand for the long values. Whoever relays messages reads and rewrites the
// outline as if it were the message; who writes it at last has the marks replaced
// by what they stand for:
//
//	Begin ─▶ Spill ─Finish─▶ outline ─▶ … ─▶ Store.Parts ─▶ WriteTo ─▶ Release
//
// A mark holds a secret of this process, so nobody else can write one.
package spool

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrFull: the files hold as much as they may.
	ErrFull = errors.New("too many bytes wait in files")
	// ErrGone: what a mark stands for was released.
	ErrGone = errors.New("the message is not kept any more")
)

// keptFor is how long what nobody reads or releases is kept.
const keptFor = 5 * time.Minute

// Store is the long values that wait to be written, and the files that they are in.
type Store struct {
	open func() (*os.File, error)
	most int64
	mark []byte // what each mark begins with, without its quote
	used atomic.Int64
	live atomic.Int64

	mu     sync.Mutex // guards the fields below
	last   uint64
	values map[uint64]*value
	sweeps *time.Timer // nil: none will come
	closed bool
}

// value is one long value in a file.
type value struct {
	in       *file
	from, to int64
	touched  time.Time // guarded by Store.mu
	held     bool      // it is kept until it is released; guarded by Store.mu
}

// file is closed when its last user lets it go.
type file struct {
	*os.File
	store *Store
	size  atomic.Int64
	users atomic.Int64
}

// New returns a Store whose files, which open makes, hold at most most bytes.
func New(most int64, open func() (*os.File, error)) *Store {
	return &Store{open: open, most: most, mark: []byte("berth-spool-" + rand.Text() + "-"), values: map[uint64]*value{}}
}

// Used is how many bytes there are in files.
func (s *Store) Used() int64 { return s.used.Load() }

// Close forgets all. What is being written goes on.
func (s *Store) Close() {
	s.mu.Lock()
	values := s.values
	s.values, s.closed = nil, true
	if s.sweeps != nil {
		s.sweeps.Stop()
	}
	s.mu.Unlock()
	for _, v := range values {
		s.live.Add(-1)
		v.in.drop()
	}
}

// make returns a new file with one user.
func (s *Store) make() (*file, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	in := &file{File: f, store: s}
	in.users.Add(1)
	return in, nil
}

// reserve counts n more bytes of the file.
func (f *file) reserve(n int64) error {
	if f.store.used.Add(n) > f.store.most {
		f.store.used.Add(-n)
		return ErrFull
	}
	f.size.Add(n)
	return nil
}

func (f *file) drop() {
	if f.users.Add(-1) == 0 {
		f.store.used.Add(-f.size.Load())
		f.Close()
	}
}

// sweep drops what was left: by a client that never came back, by an answer that
// nobody waited for any more.
func (s *Store) sweep() {
	var old []*value
	s.mu.Lock()
	for n, v := range s.values {
		if !v.held && time.Since(v.touched) >= keptFor {
			old = append(old, v)
			delete(s.values, n)
		}
	}
	s.sweeps = nil
	if !s.closed {
		s.sweepLater()
	}
	s.mu.Unlock()
	for _, v := range old {
		s.live.Add(-1)
		v.in.drop()
	}
}

// sweepLater has sweep come. The caller holds the mutex.
func (s *Store) sweepLater() {
	if s.sweeps == nil && len(s.values) > 0 {
		s.sweeps = time.AfterFunc(keptFor/5, s.sweep)
	}
}

// number takes a number for a mark.
func (s *Store) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last
}

// text is a mark, a JSON string.
func (s *Store) text(n uint64) []byte { return fmt.Appendf(nil, `"%s%d"`, s.mark, n) }

// add registers a value; it uses its file.
func (s *Store) add(n uint64, v *value) {
	v.touched = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	v.in.users.Add(1)
	s.live.Add(1)
	s.values[n] = v
	s.sweepLater()
}

// borrow returns a value with a use of its file.
func (s *Store) borrow(n uint64) *value {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.values[n]
	if v != nil {
		v.touched = time.Now()
		v.in.users.Add(1)
	}
	return v
}

// find returns where the next mark in line is, and its number.
func (s *Store) find(line []byte) (from, to int, n uint64, ok bool) {
	for base := 0; ; {
		i := bytes.Index(line[base:], s.mark)
		if i < 0 {
			return 0, 0, 0, false
		}
		from = base + i - 1
		base += i + len(s.mark)
		end := bytes.IndexByte(line[base:], '"')
		if end < 0 || from < 0 || line[from] != '"' {
			continue
		}
		n, err := strconv.ParseUint(string(line[base:base+end]), 10, 64)
		if err == nil {
			return from, base + end + 1, n, true
		}
	}
}

// Any says whether there is anything that a mark can stand for.
func (s *Store) Any() bool { return s != nil && s.live.Load() > 0 }

// Marked says whether there is a mark in the line.
func (s *Store) Marked(line []byte) bool {
	return s.Any() && bytes.Contains(line, s.mark)
}

// Hold keeps what the marks in the line stand for until it is released, however long
// that takes.
func (s *Store) Hold(line []byte) {
	for {
		_, to, n, ok := s.find(line)
		if !ok {
			return
		}
		line = line[to:]
		s.mu.Lock()
		if v := s.values[n]; v != nil {
			v.held = true
		}
		s.mu.Unlock()
	}
}

// Release forgets what the marks in the line stand for.
func (s *Store) Release(line []byte) {
	if !s.Any() {
		return
	}
	for {
		_, to, n, ok := s.find(line)
		if !ok {
			return
		}
		line = line[to:]
		s.mu.Lock()
		v := s.values[n]
		delete(s.values, n)
		s.mu.Unlock()
		if v != nil {
			s.live.Add(-1)
			v.in.drop()
		}
	}
}

// Parts is a message that can be written: text, and parts of files between.
type Parts struct {
	pieces []piece
	size   int64
}

type piece struct {
	text  []byte
	value *value
}

// Parts returns what the line, which has marks, stands for. Its end must be told
// by Close.
func (s *Store) Parts(line []byte) (*Parts, error) {
	p := &Parts{}
	for {
		from, to, n, ok := s.find(line)
		if !ok {
			break
		}
		v := s.borrow(n)
		if v == nil {
			p.Close()
			return nil, ErrGone
		}
		p.pieces = append(p.pieces, piece{text: line[:from]}, piece{value: v})
		p.size += int64(from) + v.to - v.from
		line = line[to:]
	}
	p.pieces = append(p.pieces, piece{text: line})
	p.size += int64(len(line))
	return p, nil
}

// Size is how many bytes there are.
func (p *Parts) Size() int64 { return p.size }

// copySize is how much is in memory of what is written.
const copySize = 64 << 10

// WriteTo writes all. If one is set, line breaks between tokens become blanks.
func (p *Parts) WriteTo(w io.Writer) (int64, error) { return p.write(w, false) }

// WriteLine is WriteTo with blanks for the line breaks between tokens.
func (p *Parts) WriteLine(w io.Writer) (int64, error) { return p.write(w, true) }

func (p *Parts) write(w io.Writer, one bool) (int64, error) {
	var (
		done int64
		buf  []byte
	)
	put := func(b []byte) error {
		n, err := w.Write(b)
		done += int64(n)
		return err
	}
	for _, e := range p.pieces {
		if e.value == nil {
			text := e.text
			if one && bytes.ContainsAny(text, "\r\n") {
				text = blanked(bytes.Clone(text))
			}
			if err := put(text); err != nil {
				return done, err
			}
			continue
		}
		if buf == nil {
			buf = make([]byte, copySize)
		}
		for at := e.value.from; at < e.value.to; {
			n, err := e.value.in.ReadAt(buf[:min(copySize, e.value.to-at)], at)
			if n == 0 {
				return done, err
			}
			at += int64(n)
			if one {
				blanked(buf[:n])
			}
			if err := put(buf[:n]); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// blanked makes blanks of line breaks: in JSON they stand between tokens only.
func blanked(b []byte) []byte {
	for i := range b {
		if b[i] == '\n' || b[i] == '\r' {
			b[i] = ' '
		}
	}
	return b
}

// Reader reads all, before Close.
func (p *Parts) Reader() io.Reader {
	var all []io.Reader
	for _, e := range p.pieces {
		if e.value == nil {
			all = append(all, bytes.NewReader(e.text))
		} else {
			all = append(all, io.NewSectionReader(e.value.in, e.value.from, e.value.to-e.value.from))
		}
	}
	return io.MultiReader(all...)
}

// Close lets the files go.
func (p *Parts) Close() {
	for _, e := range p.pieces {
		if e.value != nil {
			e.value.in.drop()
		}
	}
	p.pieces = nil
}

// Size is how many bytes the message has that the line stands for.
func (s *Store) Size(line []byte) int64 {
	if s.Marked(line) {
		if p, err := s.Parts(line); err == nil {
			defer p.Close()
			return p.Size()
		}
	}
	return int64(len(line))
}

// Whole returns the message that the line stands for, in memory, and releases it.
func (s *Store) Whole(line []byte) ([]byte, error) {
	defer s.Release(line)
	return s.Copy(line)
}

// Copy is Whole without the release.
func (s *Store) Copy(line []byte) ([]byte, error) {
	if !s.Marked(line) {
		return line, nil
	}
	p, err := s.Parts(line)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	b := bytes.NewBuffer(make([]byte, 0, p.Size()))
	_, err = p.WriteTo(b)
	return b.Bytes(), err
}

// WriteTo writes what the line stands for to w.
func (s *Store) WriteTo(w io.Writer, line []byte) error {
	if !s.Marked(line) {
		_, err := w.Write(line)
		return err
	}
	p, err := s.Parts(line)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.WriteTo(w)
	return err
}
