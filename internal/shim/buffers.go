package shim

import "sync"

// bufferSize is that of every buffer through which lines pass.
const bufferSize = 8 << 10

type buffer [bufferSize]byte

// buffers lends them. A shim that made new ones for each client would have to
// collect the old ones. The zero value is ready; a nil one keeps nothing.
type buffers struct {
	mu   sync.Mutex // guards free
	free []*buffer
}

// buffersKept is how many are kept: what one client and the server need.
const buffersKept = 8

func (b *buffers) get() *buffer {
	if b == nil {
		return new(buffer)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.free)
	if n == 0 {
		return new(buffer)
	}
	buf := b.free[n-1]
	b.free = b.free[:n-1]
	return buf
}

// empty gives the system the memory of those that nobody has.
func (b *buffers) empty() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, buf := range b.free {
		forget(buf[:])
	}
}

// put takes one back; nil is none.
func (b *buffers) put(buf *buffer) {
	if b == nil || buf == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) < buffersKept {
		b.free = append(b.free, buf)
	}
}
