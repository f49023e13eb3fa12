package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The bounds of a Config that does not say others.
const (
	defaultConnect = 10 * time.Second
	defaultIdle    = time.Hour
	defaultConns   = 256
)

// Server serves what the listeners of one server's world are asked.
type Server struct {
	rules   *Rules
	names   *names
	config  Config
	slots   chan struct{} // one for each connection
	inward  *inward
	wanted  *wanted
	notify  *notify
	ctx     context.Context // ends with the Server; what it begins has no other caller
	cancel  context.CancelFunc
	running sync.WaitGroup
	pausing atomic.Bool // of a Handover

	mu        sync.Mutex // guards the fields below
	closed    bool
	sockets   []socket
	conns     map[net.Conn]struct{} // not yet, or never, of a pair
	pairs     map[*pair]struct{}
	listening map[uint16]bool
	keptPairs []*pair // paused ones, for Handover
}

// socket is one of those that the Server was given, or made.
type socket interface {
	Close() error
	File() (*os.File, error)
}

// private is a socket that a Handover does not give away: the next Server makes one
// of its own.
type private struct{ socket }

// Start serves until Close or Handover. It returns at once.
func Start(c Config) (*Server, error) {
	if c.Connect == 0 {
		c.Connect = defaultConnect
	}
	if c.Idle == 0 {
		c.Idle = defaultIdle
	}
	if c.Conns == 0 {
		c.Conns = defaultConns
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			// A dot at the end keeps the resolver from trying its search list.
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name+".")
		}
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", to.String())
		}
	}
	if c.Violation == nil {
		c.Violation = func(Violation) {}
	}
	if c.Lookup == 0 {
		c.Lookup = defaultLookup
	}
	if c.Search == nil {
		c.Search = searchList()
	}
	s := &Server{
		rules: c.Rules, names: newNames(), config: c,
		slots:     make(chan struct{}, c.Conns),
		conns:     map[net.Conn]struct{}{},
		pairs:     map[*pair]struct{}{},
		listening: map[uint16]bool{},
		inward:    &inward{},
		wanted: newWanted(c.Lookup, func(name string) {
			c.Violation(Violation{Host: name, Why: notGranted})
		}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	err := s.take(c.Files, c.State)
	if err == nil && c.Notify != nil {
		err = s.startNotify(c.Notify)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// add takes a socket over, and says whether the Server still runs.
func (s *Server) add(k socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		k.Close()
		return false
	}
	s.sockets = append(s.sockets, k)
	return true
}

// stopped says whether Close or Handover was called.
func (s *Server) stopped() bool { return s.ctx.Err() != nil || s.pausing.Load() }

// Close ends all connections and waits for what Start began.
func (s *Server) Close() error {
	s.cancel()
	s.wanted.close()
	s.mu.Lock()
	s.closed = true
	for _, k := range s.sockets {
		k.Close()
	}
	for c := range s.conns {
		c.Close()
	}
	for p := range s.pairs {
		p.close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.inward.close()
	return nil
}

// accept serves what comes to a listener, until it is closed.
func (s *Server) accept(l *net.TCPListener, serve func(net.Conn)) {
	for {
		c, err := l.AcceptTCP()
		if s.stopped() {
			if err == nil {
				reset(c)
			}
			return
		}
		if err != nil {
			if !temporary(err) {
				return
			}
			// Out of descriptors, most likely: those who wait are heard when some
			// have gone.
			select {
			case <-s.ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			reset(c)
			return
		}
		if !s.hold(c) {
			reset(c)
			<-s.slots
			return
		}
		s.running.Go(func() {
			defer func() { <-s.slots }()
			defer s.release(c)
			serve(c)
		})
	}
}

// hold has Close end c as well.
func (s *Server) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) release(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// violation tells of what was refused.
func (s *Server) violation(v Violation) {
	s.wanted.reach(v.Host)
	s.config.Violation(v)
}

// temporary says whether a listener is of use after an error.
func temporary(err error) bool {
	return !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EBADF) && !errors.Is(err, syscall.EINVAL)
}

// reset ends a connection so that the other side sees that it was refused.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// Environ are the variables that a server gets for what serves it: the proxy's, where
// that reaches more than connecting does, which is every port of a host in design A
// and, in design B, names for programs that do not ask the system's resolver. With
// design B the system's own is told to ask by TCP. The caller leaves those alone that
// the user has set.
func Environ(r *Rules, notify bool) []string {
	if r.Open || len(r.list) == 0 || !notify && !r.anyPort() {
		return nil
	}
	env := []string{
		"HTTP_PROXY=http://" + ProxyAddr, "http_proxy=http://" + ProxyAddr,
		"HTTPS_PROXY=http://" + ProxyAddr, "https_proxy=http://" + ProxyAddr,
		"NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1",
	}
	if notify {
		env = append(env, "RES_OPTIONS=use-vc")
	}
	return env
}

// errFile is a file of Config.Files that is none of those.
func errFile(what any) error { return fmt.Errorf("egress: a file that is of no use: %v", what) }
