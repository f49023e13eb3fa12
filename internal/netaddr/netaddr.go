// Package netaddr says which addresses are those of the public internet.
package netaddr

import (
	"encoding/binary"
	"net/netip"
)

// network is the addresses whose first 32 bits begin with some bits of prefix.
type network struct {
	prefix uint32
	bits   int
	what   string
}

// refusedV4 are the IPv4 networks that are not the public internet's: IANA's
// special-purpose registry, and the address at which Azure's hosts serve
// their machines, which lies in a public block.
var refusedV4 = [...]network{
	{0, 8, "of this network"},
	{10 << 24, 8, "private"},
	{100<<24 | 64<<16, 10, "shared by a provider's customers (CGNAT)"},
	{127 << 24, 8, "loopback"},
	{168<<24 | 63<<16 | 129<<8 | 16, 32, "a cloud's metadata service"},
	{169<<24 | 254<<16, 16, "link-local, where clouds serve metadata"},
	{172<<24 | 16<<16, 12, "private"},
	{192 << 24, 24, "reserved for protocols"},
	{192<<24 | 2<<8, 24, "for documentation"},
	{192<<24 | 88<<16 | 99<<8, 24, "of 6to4 relays"},
	{192<<24 | 168<<16, 16, "private"},
	{198<<24 | 18<<16, 15, "for benchmarks"},
	{198<<24 | 51<<16 | 100<<8, 24, "for documentation"},
	{203<<24 | 113<<8, 24, "for documentation"},
	{224 << 24, 4, "multicast"},
	{240 << 24, 4, "reserved"},
}

// refusedV6 are what of 2000::/3 is not the public internet's. Teredo and 6to4
// hold IPv4 addresses that a tunnel would go to; nobody serves MCP there.
var refusedV6 = [...]network{
	{0x2001_0000, 23, "reserved for protocols (Teredo among them)"},
	{0x2001_0db8, 32, "for documentation"},
	{0x2002_0000, 16, "a 6to4 form of an IPv4 address"},
	{0x3fff_0000, 20, "for documentation"},
}

// nat64 begins the addresses by which a network without IPv4 finds the IPv4
// internet (RFC 6052), so that the address within decides: 64:ff9b::/96.
var nat64 = [12]byte{0x00, 0x64, 0xff, 0x9b}

// Refuse says why nothing at addr may be connected to unless the user named it,
// or "" if it is an address of the public internet. What is not known to be one
// is refused.
func Refuse(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "no address"
	case addr.Zone() != "":
		return "of one link"
	case addr.Is4():
		return refuseV4(addr)
	case addr.Is4In6():
		return refuseV4(addr.Unmap())
	}
	b := addr.As16()
	switch {
	case [12]byte(b[:12]) == nat64:
		return refuseV4(netip.AddrFrom4([4]byte(b[12:])))
	case b[0]>>5 != 1: // 2000::/3 is all that was given out
		return refuseOutside(addr)
	}
	return in(refusedV6[:], b[:])
}

func refuseV4(addr netip.Addr) string {
	b := addr.As4()
	return in(refusedV4[:], b[:])
}

// refuseOutside names what is no global unicast of IPv6.
func refuseOutside(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "unspecified"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsMulticast():
		return "multicast"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsPrivate():
		return "private"
	}
	return "not of the public internet"
}

func in(networks []network, addr []byte) string {
	first := binary.BigEndian.Uint32(addr)
	for _, n := range networks {
		if (first^n.prefix)>>(32-n.bits) == 0 {
			return n.what
		}
	}
	return ""
}
