package egress

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// watch is one of the raw sockets by which it is seen what is tried within: each packet
// of it begins a connection, or is a datagram.
type watch struct {
	family   int // AF_INET or AF_INET6
	protocol int // IPPROTO_TCP or IPPROTO_UDP
}

// target is where a packet that a watch received was sent to.
func (w watch) target(packet, control []byte) (netip.AddrPort, bool) {
	if w.family == unix.AF_INET {
		if len(packet) < 20 {
			return netip.AddrPort{}, false
		}
		header := int(packet[0]&15) * 4
		if header < 20 || len(packet) < header+4 {
			return netip.AddrPort{}, false
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:20])), binary.BigEndian.Uint16(packet[header+2:])), true
	}
	to, _ := askedAddr(control)
	if !to.IsValid() || len(packet) < 4 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(to, binary.BigEndian.Uint16(packet[2:])), true
}
