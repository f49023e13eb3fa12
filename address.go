package berth

import (
	"strconv"
	"strings"
)

// addressForm is the one form of an IP address, that of RFC 5952, and whether s is one.
// An IPv4 address that is mapped into IPv6 is that address. One with a zone, which is
// of one link, is none. Package net/netip knows all that, but what it needs would be
// initialised in each shim, with the rest of the program before it.
func addressForm(s string) (string, bool) {
	if a, ok := ipv4(s); ok {
		return ipv4Text(a), true
	}
	groups, ok := ipv6(s)
	if !ok {
		return "", false
	}
	if [6]uint16(groups[:6]) == [6]uint16{5: 0xffff} {
		return ipv4Text([4]byte{byte(groups[6] >> 8), byte(groups[6]), byte(groups[7] >> 8), byte(groups[7])}), true
	}
	return ipv6Text(groups), true
}

func ipv4(s string) (a [4]byte, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return a, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || part[0] == '+' || len(part) > 1 && part[0] == '0' {
			return a, false
		}
		a[i] = byte(n)
	}
	return a, true
}

func ipv4Text(a [4]byte) string {
	var b []byte
	for i, n := range a {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return string(b)
}

// ipv6 reads eight groups, of which a run of zeros may be "::" and the last two an IPv4
// address.
func ipv6(s string) (groups [8]uint16, ok bool) {
	if colon := strings.LastIndexByte(s, ':'); colon >= 0 && strings.Contains(s[colon:], ".") {
		a, ok := ipv4(s[colon+1:])
		if !ok {
			return groups, false
		}
		s = s[:colon+1] + strconv.FormatUint(uint64(a[0])<<8|uint64(a[1]), 16) + ":" + strconv.FormatUint(uint64(a[2])<<8|uint64(a[3]), 16)
	}
	head, tail, short := strings.Cut(s, "::")
	first, ok1 := hexGroups(head, short)
	last, ok2 := hexGroups(tail, true)
	n := len(first) + len(last)
	if !ok1 || !ok2 || short && n > 7 || !short && n != 8 {
		return groups, false
	}
	copy(groups[:], first)
	copy(groups[8-len(last):], last)
	return groups, true
}

func hexGroups(s string, mayBeEmpty bool) (groups []uint16, ok bool) {
	if s == "" {
		return nil, mayBeEmpty
	}
	for part := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseUint(part, 16, 16)
		if err != nil || len(part) > 4 || len(groups) == 8 {
			return nil, false
		}
		groups = append(groups, uint16(n))
	}
	return groups, true
}

// ipv6Text has "::" for the first of the longest runs of two zeros or more.
func ipv6Text(groups [8]uint16) string {
	from, length := 8, 1
	for i := 0; i < 8; {
		j := i
		for j < 8 && groups[j] == 0 {
			j++
		}
		if j-i > length {
			from, length = i, j-i
		}
		i = max(j, i+1)
	}
	var b []byte
	for i := 0; i < 8; i++ {
		if i == from {
			b = append(b, "::"...)
			i += length - 1
			continue
		}
		if len(b) > 0 && b[len(b)-1] != ':' {
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, uint64(groups[i]), 16)
	}
	return string(b)
}
