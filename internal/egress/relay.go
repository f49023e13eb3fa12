package egress

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// halfIdle bounds a connection of which one side has said that it sends no more: it
// may as well be gone.
const halfIdle = 10 * time.Minute

// pair is a connection within and the one outside that it became. Package net moves
// what goes between two TCP connections by splice(2), so that it stays in the kernel,
// and no further than the receiver takes it.
type pair struct {
	ends [2]net.Conn // within, outside

	mu     sync.Mutex // guards the fields below
	ended  [2]bool    // ends[i] sends no more, and the other was told
	idle   time.Duration
	moved  time.Time // when something last did, as far as is known
	paused bool
}

// errPaused is what ends a copy in the middle, with nothing in between.
var errPaused = errors.New("paused")

// relay passes what either end sends to the other until both have ended, or one is
// broken, and closes both.
func (s *Server) relay(in, out net.Conn) { s.run(&pair{ends: [2]net.Conn{in, out}}) }

func (s *Server) run(p *pair) {
	p.idle, p.moved = s.config.Idle, time.Now()
	if p.ended[0] || p.ended[1] {
		p.idle = min(p.idle, halfIdle)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		p.reset()
		return
	}
	s.pairs[p] = struct{}{}
	if s.pausing.Load() {
		p.pause()
	}
	s.mu.Unlock()

	other := make(chan error, 1)
	go func() { other <- p.copy(1) }()
	errs := [2]error{p.copy(0), <-other}

	s.mu.Lock()
	delete(s.pairs, p)
	s.mu.Unlock()
	switch {
	case errs[0] == nil && errs[1] == nil:
		p.close()
	case whole(errs[0]) && whole(errs[1]) && s.keep(p):
	default:
		p.reset()
	}
}

// whole says of how a copy ended whether nothing was lost by it.
func whole(err error) bool { return err == nil || err == errPaused }

// copy passes on what ends[from] sends until it ends.
func (p *pair) copy(from int) error {
	src, dst := p.ends[from], p.ends[1-from]
	for {
		if goOn, err := p.await(from); !goOn {
			return err
		}
		n, err := io.Copy(dst, src)
		if err == nil {
			p.end(from)
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !p.timeLeft(n) {
			p.reset() // so that the other direction ends as well
			return err
		}
	}
}

// await bounds how long ends[from] may be silent, and says whether there is anything
// to wait for.
func (p *pair) await(from int) (goOn bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended[from]:
		return false, nil
	case p.paused:
		return false, errPaused
	}
	// Twice within the bound: what moved in the other direction is known by then.
	return true, p.ends[from].SetReadDeadline(time.Now().Add(p.idle / 2))
}

// timeLeft says whether a silence may go on, before which n bytes came.
func (p *pair) timeLeft(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if n > 0 {
		p.moved = now
	}
	return p.paused || now.Sub(p.moved) < p.idle
}

// end passes on that ends[from] sends no more.
func (p *pair) end(from int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[from] = true
	if w, ok := p.ends[1-from].(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	p.idle, p.moved = min(p.idle, halfIdle), time.Now()
	if !p.ended[1-from] && !p.paused {
		_ = p.ends[1-from].SetReadDeadline(time.Now().Add(p.idle / 2))
	}
}

// pause ends the copies where nothing is on its way between the ends.
func (p *pair) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = true
	for _, c := range p.ends {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (p *pair) close() {
	p.ends[0].Close()
	p.ends[1].Close()
}

func (p *pair) reset() {
	reset(p.ends[0])
	reset(p.ends[1])
}
