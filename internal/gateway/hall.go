package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Whoever can reach a listener can open connections to it, and each takes a descriptor
// and some memory. So there are so many in all; so many of one principal; and those
// that have not shown who they are are strangers, of whom the one that has been there
// for the longest makes room for who comes.

const (
	// connsMost is how many connections there are by one listener, of which half can be
	// one principal's. There are fewer where the limit on open files is low.
	connsMost = 4096
	// strangersMost is how many strangers there are from one address of another machine.
	strangersMost = 256
	// turnedMost is how many connections are kept to be told that there is no room;
	// further ones are closed.
	turnedMost = 64
)

// noRoom is why a connection was closed, or refused.
type noRoom int

const (
	noRoomAtAll    noRoom = iota // there are too many
	noRoomForOne                 // its principal has too many
	noRoomStranger               // it made room: nobody had shown a token on it
	noRooms
)

func (n noRoom) String() string { return [...]string{"full", "principal", "stranger"}[n] }

// hall is who is connected by one listener.
type hall struct {
	most   int
	turned *[noRooms]atomic.Uint64

	mu         sync.Mutex // guards the fields below
	guests     map[net.Conn]*guest
	came       uint64
	full       int // of the guests, how many are only to be told that there is no room
	strangers  map[*guest]struct{}
	from       map[netip.Prefix]int // how many of the strangers, by machine
	principals map[string]int
}

// guest is one connection. What is not guarded by the mutex of the hall is the serving
// goroutine's.
type guest struct {
	hall      *hall
	conn      net.Conn
	came      uint64       // in which order
	from      netip.Prefix // of a stranger from another machine
	full      bool
	principal string // "" until it is known
}

func newHall(most int, turned *[noRooms]atomic.Uint64) *hall {
	return &hall{most: most, turned: turned, guests: map[net.Conn]*guest{}, strangers: map[*guest]struct{}{}, from: map[netip.Prefix]int{}, principals: map[string]int{}}
}

// enter takes a connection in, as a stranger's where its requests are to show who they
// are from. Nil refuses it.
func (c *hall) enter(conn net.Conn, stranger bool) *guest {
	c.mu.Lock()
	c.came++
	g := &guest{hall: c, conn: conn, came: c.came}
	var leaves *guest
	if stranger {
		if g.from = elsewhere(conn.RemoteAddr()); g.from.IsValid() && c.from[g.from] >= strangersMost {
			leaves = c.first(func(s *guest) bool { return s.from == g.from })
		}
	}
	if leaves == nil && len(c.guests)-c.full >= c.most {
		leaves = c.first(func(*guest) bool { return true })
		g.full = leaves == nil
	}
	if leaves != nil {
		c.remove(leaves)
	}
	switch {
	case g.full && c.full >= turnedMost:
		c.mu.Unlock()
		c.turned[noRoomAtAll].Add(1)
		return nil
	case g.full:
		c.full++
	case stranger:
		c.strangers[g] = struct{}{}
		if g.from.IsValid() {
			c.from[g.from]++
		}
	}
	c.guests[conn] = g
	c.mu.Unlock()
	if leaves != nil {
		c.turned[noRoomStranger].Add(1)
		shut(leaves.conn)
	}
	return g
}

// leave is the end of a connection, if it has not been forgotten before.
func (c *hall) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.guests[conn]; g != nil {
		c.remove(g)
	}
}

// remove forgets a connection. The caller holds the mutex.
func (c *hall) remove(g *guest) {
	delete(c.guests, g.conn)
	c.know(g)
	if g.full {
		c.full--
	}
	if g.principal != "" {
		take(c.principals, g.principal)
	}
}

// know has a connection be a stranger's no more. The caller holds the mutex.
func (c *hall) know(g *guest) {
	_, stranger := c.strangers[g]
	delete(c.strangers, g)
	if stranger && g.from.IsValid() {
		take(c.from, g.from)
	}
}

func take[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// first is that of some strangers who came first, nil if there is none. The caller
// holds the mutex.
func (c *hall) first(among func(*guest) bool) (first *guest) {
	for g := range c.strangers {
		if among(g) && (first == nil || g.came < first.came) {
			first = g
		}
	}
	return first
}

// room says why there is no room for the connection; nil if there is. A nil guest is
// one that nobody counts.
func (g *guest) room() error {
	if g == nil || !g.full {
		return nil
	}
	g.hall.turned[noRoomAtAll].Add(1)
	return busy("%d connections are open, and further ones are not taken; close some", g.hall.most)
}

// is notes whose the connection is, or says why that one has too many. The last who
// sends a request by it is whom it counts for.
func (g *guest) is(principal string) error {
	if g == nil || g.principal == principal {
		return nil
	}
	c := g.hall
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests[g.conn] != g {
		return nil // it made room in this moment
	}
	if most := max(1, c.most/2); c.principals[principal] >= most {
		c.turned[noRoomForOne].Add(1)
		return busy("this client has %d connections open, and further ones are not taken; close some", most)
	}
	c.know(g)
	if g.principal != "" {
		take(c.principals, g.principal)
	}
	g.principal = principal
	c.principals[principal]++
	return nil
}

// leave is the end of a connection that was taken over from package net/http.
func (g *guest) leave() {
	if g != nil {
		g.hall.leave(g.conn)
	}
}

// elsewhere is which other machine a connection comes from: its address, of IPv6 the
// network. It is not valid for one of this machine.
func elsewhere(a net.Addr) (from netip.Prefix) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return from
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if !ip.IsValid() || ip.IsLoopback() {
		return from
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	from, _ = ip.Prefix(bits) // there are as many
	return from
}

// shut closes a connection without a word: TLS would wait to say goodbye.
func shut(conn net.Conn) {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	_ = plain(conn).Close()
}

// turnAway answers a request whose connection there is no room for, and ends that.
func turnAway(w http.ResponseWriter, r *http.Request, status int, why error) {
	unread(w, r)
	w.Header().Set("Connection", "close")
	w.Header().Set("Retry-After", "1")
	refuse(w, status, fmt.Sprint(why))
}

// connsFor is how many connections one listener has where so many files may be open; 0
// is any number. The rest is for what serves them.
func connsFor(files uint64) int {
	if files == 0 || files >= 4*connsMost {
		return connsMost
	}
	return max(16, int(files/4))
}
