package egress

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// The addresses by which names are known within are those of 198.18.0.0/15, which
// the internet has none of (RFC 2544). The first is the proxy's.
const (
	fakeBase  = 198<<24 | 18<<16
	fakeCount = 1 << 17
	fakeFirst = 2
)

// maxNames bounds what a server can have remembered. An address is not given out
// again before all others were, so a name that was forgotten leads nowhere rather
// than to another host.
const maxNames = 4096

// names gives each name that was asked for an address, and knows whose it is.
type names struct {
	mu     sync.Mutex // guards the fields below
	byName map[string]uint32
	byAddr map[uint32]string
	order  []uint32 // as they were given out; the oldest is forgotten first
	next   uint32
}

func newNames() *names {
	return &names{byName: map[string]uint32{}, byAddr: map[uint32]string{}, next: fakeFirst}
}

// addr returns the address of a name.
func (n *names) addr(name string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok := n.byName[name]
	if !ok {
		if len(n.order) >= maxNames {
			n.forget()
		}
		for at = n.next; n.byAddr[at] != ""; at = after(at) {
		}
		n.next = after(at)
		n.byName[name], n.byAddr[at] = at, name
		n.order = append(n.order, at)
	}
	return fakeAddr(at)
}

func (n *names) forget() {
	oldest := n.order[0]
	n.order = n.order[1:]
	delete(n.byName, n.byAddr[oldest])
	delete(n.byAddr, oldest)
}

func after(at uint32) uint32 {
	if at+1 == fakeCount {
		return fakeFirst
	}
	return at + 1
}

func fakeAddr(at uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], fakeBase+at)
	return netip.AddrFrom4(b)
}

// fake says which of the addresses of names addr is.
func fake(addr netip.Addr) (at uint32, ok bool) {
	addr = addr.Unmap()
	if !addr.Is4() {
		return 0, false
	}
	b := addr.As4()
	at = binary.BigEndian.Uint32(b[:]) - fakeBase
	return at, at < fakeCount
}

// name returns the name whose address this is, "" if it is nobody's.
func (n *names) name(addr netip.Addr) string {
	at, ok := fake(addr)
	if !ok {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byAddr[at]
}

// nameAt is one of a snapshot.
type nameAt struct {
	Name string `json:"n"`
	At   uint32 `json:"a"`
}

// snapshot returns all, oldest first, and next.
func (n *names) snapshot() (all []nameAt, next uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.order {
		all = append(all, nameAt{n.byAddr[at], at})
	}
	return all, n.next
}

// restore continues from a snapshot of the same program's.
func (n *names) restore(all []nameAt, next uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range all {
		if one.At >= fakeCount || n.byAddr[one.At] != "" || len(n.order) >= maxNames {
			continue
		}
		n.byName[one.Name], n.byAddr[one.At] = one.At, one.Name
		n.order = append(n.order, one.At)
	}
	if next >= fakeFirst && next < fakeCount {
		n.next = next
	}
}
