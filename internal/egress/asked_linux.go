package egress

import (
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// askedAddr is the address that a datagram was sent to, and the control message that
// says so. One of IPv4 comes to a socket of IPv6 in its mapped form.
func askedAddr(control []byte) (netip.Addr, unix.SocketControlMessage) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, unix.SocketControlMessage{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data)), m
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(m.Data[8:])), m
		}
	}
	return netip.Addr{}, unix.SocketControlMessage{}
}

// fromAsked is the control message that has an answer come from the address that was
// asked.
func fromAsked(control []byte) []byte {
	addr, m := askedAddr(control)
	if !addr.IsValid() {
		return nil
	}
	data := slices.Clone(m.Data)
	if m.Header.Level == unix.IPPROTO_IPV6 {
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		info.Ifindex = 0
		return unix.PktInfo6(info)
	}
	info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: info.Addr})
}
