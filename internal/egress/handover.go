package egress

import (
	"encoding/json"
	"net"
	"os"
	"syscall"
	"time"
)

// kept is what a Handover says of its files.
type kept struct {
	Names []nameAt `json:"names,omitempty"`
	Next  uint32   `json:"next"`
	// Notify: the first file is design B's.
	Notify bool `json:"notify,omitempty"`
	// Ended are the connections, of which the last files are, two by two. It says which
	// of their ends have said all that they had to.
	Ended [][2]bool `json:"ended,omitempty"`
	// Publish are the ports within of the listeners outside, which are the files
	// before those.
	Publish []uint16 `json:"publish,omitempty"`
}

// pauseTime is how long a Handover waits for what is on its way between two ends to
// arrive.
const pauseTime = time.Second

// take begins to serve files that netns.Prepare or Handover returned.
func (s *Server) take(files []*os.File, state []byte) error {
	defer func() { closeAll(files) }()
	var k kept
	if len(state) > 0 {
		if err := json.Unmarshal(state, &k); err != nil {
			return err
		}
	}
	least := 2*len(k.Ended) + len(k.Publish)
	if k.Notify {
		least++
	}
	if len(files) < least {
		return errFile("fewer files than the state tells of")
	}
	s.names.restore(k.Names, k.Next)
	if k.Notify {
		f := files[0]
		files = files[1:]
		if err := s.startNotify(f); err != nil {
			return err
		}
	}
	pairs := len(files) - 2*len(k.Ended)
	published := pairs - len(k.Publish)
	for i, f := range files[:published] {
		taken, err := s.takeOne(f)
		if err != nil {
			return err
		}
		if taken {
			files[i] = nil
		}
	}
	for i, port := range k.Publish {
		l, err := net.FileListener(files[published+i])
		if err != nil {
			return err
		}
		if err := s.Publish(l, port); err != nil {
			return err
		}
	}
	for i, ended := range k.Ended {
		var p pair
		p.ended = ended
		for j := range p.ends {
			c, err := net.FileConn(files[pairs+2*i+j])
			if err != nil {
				return err
			}
			p.ends[j] = c
		}
		s.running.Go(func() {
			select {
			case s.slots <- struct{}{}:
				defer func() { <-s.slots }()
			case <-s.ctx.Done():
			}
			s.run(&p)
		})
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// Handover stops without ending what is under way: what it returns is for the Config
// of the Start of the next image of this process (or of this one, if that one does
// not come to be). Connections that have not been made yet, or whose receiver does
// not read, are ended. The files are close-on-exec as any.
func (s *Server) Handover() (state []byte, files []*os.File, err error) {
	var k kept
	s.pausing.Store(true)
	s.wanted.close()
	s.mu.Lock()
	var outside []*os.File
	for _, one := range s.sockets {
		f, ferr := one.File()
		one.Close()
		if ferr != nil {
			err = ferr
			continue
		}
		switch one := one.(type) {
		case *publication:
			outside, k.Publish = append(outside, f), append(k.Publish, one.port)
		case notifyFile:
			files, k.Notify = append([]*os.File{f}, files...), true
		case private:
			f.Close()
		default:
			files = append(files, f)
		}
	}
	s.sockets = nil
	for c := range s.conns {
		// Those of a pair are not looked at by who holds them until that ends.
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	for p := range s.pairs {
		p.pause()
	}
	s.mu.Unlock()
	s.cancel() // what is about to connect

	all := make(chan struct{})
	go func() { s.running.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(pauseTime):
		s.mu.Lock()
		s.closed = true
		for p := range s.pairs {
			p.reset()
		}
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		<-all
	}
	files = append(files, s.inward.handover()...)
	files = append(files, outside...)
	s.mu.Lock()
	s.closed = true
	for _, p := range s.keptPairs {
		ends, ferr := p.files()
		p.close()
		if ferr != nil {
			continue // its ends see that it is closed
		}
		files, k.Ended = append(files, ends[0], ends[1]), append(k.Ended, p.ended)
	}
	s.mu.Unlock()
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	k.Names, k.Next = s.names.snapshot()
	state, err = json.Marshal(k)
	return state, files, err
}

// keep has a paused pair for Handover, if there is one.
func (s *Server) keep(p *pair) bool {
	if !s.pausing.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.keptPairs = append(s.keptPairs, p)
	return true
}

// files are the ends of a pair that is to go on.
func (p *pair) files() (ends [2]*os.File, err error) {
	for i, c := range p.ends {
		f, ok := c.(interface{ File() (*os.File, error) })
		if !ok {
			err = syscall.EINVAL
		} else if ends[i], err = f.File(); err == nil {
			continue
		}
		closeAll(ends[:])
		return ends, err
	}
	return ends, nil
}
