package spool

// Shelf is lines in files, each of which can be read again until it is dropped. Its
// methods, and those of its places, are not for several goroutines at once.
type Shelf struct {
	store *Store
	in    *file // nil: the next line gets a new one
	end   int64
}

// shelfMost is how long a file of a shelf becomes, but for its last line: what was
// dropped takes up space until all of its file was.
const shelfMost = 4 << 20

// Place is where a line is on a shelf.
type Place struct {
	in       *file
	from, to int64
}

// NewShelf returns an empty Shelf.
func (s *Store) NewShelf() *Shelf { return &Shelf{store: s} }

// Put keeps a line.
func (s *Shelf) Put(line []byte) (*Place, error) {
	if s.in == nil {
		in, err := s.store.make()
		if err != nil {
			return nil, err
		}
		s.in, s.end = in, 0
	}
	n := int64(len(line))
	if err := s.in.reserve(n); err != nil {
		return nil, err
	}
	if _, err := s.in.WriteAt(line, s.end); err != nil {
		return nil, err
	}
	p := &Place{s.in, s.end, s.end + n}
	s.in.users.Add(1)
	if s.end += n; s.end >= shelfMost {
		s.Rest()
	}
	return p, nil
}

// Rest says that nothing is put for now: the file goes with its last line.
func (s *Shelf) Rest() {
	if s.in != nil {
		s.in.drop()
		s.in = nil
	}
}

// Size is the length of the line.
func (p *Place) Size() int { return int(p.to - p.from) }

// Read returns the line.
func (p *Place) Read() ([]byte, error) {
	line := make([]byte, p.to-p.from)
	_, err := p.in.ReadAt(line, p.from)
	return line, err
}

// Drop lets the line go.
func (p *Place) Drop() { p.in.drop() }
