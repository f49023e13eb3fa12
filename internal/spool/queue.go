package spool

import "sync"

// Queue is lines that wait for who reads them slowly: in memory while they are
// few, in a file beyond that. Its methods never wait for the reader.
type Queue struct {
	store  *Store // nil: all is in memory
	memory int
	most   int64

	mu     sync.Mutex // guards the fields below
	items  []item
	inMem  int
	waits  int64 // bytes of all items
	in     *file // nil: there is none
	end    int64 // of what is in the file
	filed  int   // items in the file
	closed bool
}

type item struct {
	line     []byte
	from, to int64 // in the file if line is nil
}

// NewQueue returns a Queue of at most most bytes, besides the last line, of which
// memory are in memory.
func (s *Store) NewQueue(memory int, most int64) *Queue {
	return &Queue{store: s, memory: memory, most: most}
}

// Put adds a line, which the queue keeps. It returns ErrFull, or why there is no
// file, if the line was not added.
func (q *Queue) Put(line []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil
	case q.waits > q.most:
		return ErrFull
	case q.store != nil && len(q.items) > 0 && q.inMem+len(line) > q.memory:
		if err := q.file(line); err != nil {
			return err
		}
	default:
		q.items = append(q.items, item{line: line})
		q.inMem += len(line)
	}
	q.waits += int64(len(line))
	return nil
}

// file puts a line into the file. The caller holds the mutex.
func (q *Queue) file(line []byte) error {
	if q.in == nil {
		in, err := q.store.make()
		if err != nil {
			return err
		}
		q.in = in
	}
	n := int64(len(line))
	if err := q.in.reserve(n); err != nil {
		return err
	}
	if _, err := q.in.WriteAt(line, q.end); err != nil {
		return err
	}
	q.items = append(q.items, item{from: q.end, to: q.end + n})
	q.end += n
	q.filed++
	return nil
}

// Take returns the oldest line; ok is false if there is none.
func (q *Queue) Take() (line []byte, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, false, nil
	}
	e := q.items[0]
	q.items[0] = item{}
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	if e.line != nil {
		q.inMem -= len(e.line)
		q.waits -= int64(len(e.line))
		return e.line, true, nil
	}
	q.waits -= e.to - e.from
	line = make([]byte, e.to-e.from)
	if _, err := q.in.ReadAt(line, e.from); err != nil {
		return nil, false, err
	}
	if q.filed--; q.filed == 0 {
		q.in.drop() // the next time that the reader is slow gets another
		q.in, q.end = nil, 0
	}
	return line, true, nil
}

// Close forgets all that waits; what is put then is forgotten, too.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.items = true, nil
	if q.in != nil {
		q.in.drop()
		q.in = nil
	}
}
