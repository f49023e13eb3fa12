package egress

import (
	"net"
	"os"
	"sync"
)

// inward are the sockets within for connections to what the server listens on. One
// that was used is made unconnected, and used again.
type inward struct {
	mu   sync.Mutex // guards the fields below
	free []*os.File
	done bool
}

func (i *inward) put(f *os.File) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done {
		f.Close()
		return
	}
	i.free = append(i.free, f)
}

// get takes one of a family out, nil if there is none.
func (i *inward) get(six bool) *os.File {
	i.mu.Lock()
	defer i.mu.Unlock()
	for at, f := range i.free {
		if isSix(f) == six {
			i.free = append(i.free[:at], i.free[at+1:]...)
			return f
		}
	}
	return nil
}

func (i *inward) any() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.free) > 0 || i.done
}

func (i *inward) over() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

func (i *inward) close() { closeAll(i.handover()) }

// handover returns what is free; what is not is closed when it is.
func (i *inward) handover() []*os.File {
	i.mu.Lock()
	defer i.mu.Unlock()
	free := i.free
	i.free, i.done = nil, true
	return free
}

// inwardConn gives its socket back when it is closed.
type inwardConn struct {
	*net.TCPConn
	once sync.Once
	back func()
}

func (c *inwardConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.back)
	return err
}
