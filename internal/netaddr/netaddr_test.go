package netaddr_test

import (
	"net/netip"
	"testing"

	"github.com/berth-run/berth/internal/netaddr"
)

func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		addr string
		ok   bool
	}{
		{"1.1.1.1", true},
		{"8.8.8.8", true},
		{"9.255.255.255", true},
		{"10.0.0.0", false},
		{"10.255.255.255", false},
		{"11.0.0.0", true},
		{"0.0.0.0", false},
		{"0.255.255.255", false},
		{"100.63.255.255", true},
		{"100.64.0.0", false},
		{"100.100.100.200", false}, // Alibaba's metadata
		{"100.127.255.255", false},
		{"100.128.0.0", true},
		{"127.0.0.1", false},
		{"127.255.255.255", false},
		{"168.63.129.15", true},
		{"168.63.129.16", false}, // Azure's
		{"169.254.169.254", false},
		{"169.253.255.255", true},
		{"172.15.255.255", true},
		{"172.16.0.0", false},
		{"172.31.255.255", false},
		{"172.32.0.0", true},
		{"192.0.0.192", false}, // Oracle's
		{"192.0.1.1", true},
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"192.168.0.1", false},
		{"192.169.0.1", true},
		{"198.17.255.255", true},
		{"198.18.0.1", false},
		{"198.19.255.255", false},
		{"198.51.100.1", false},
		{"203.0.113.1", false},
		{"223.255.255.255", true},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},

		{"2606:4700:4700::1111", true},
		{"2001:4860:4860::8888", true},
		{"::", false},
		{"::1", false},
		{"::8.8.8.8", false}, // IPv4-compatible
		{"::ffff:8.8.8.8", true},
		{"::ffff:127.0.0.1", false},
		{"::ffff:169.254.169.254", false},
		{"::ffff:0:8.8.8.8", false}, // SIIT
		{"64:ff9b::8.8.8.8", true},
		{"64:ff9b::10.0.0.1", false},
		{"64:ff9b::169.254.169.254", false},
		{"64:ff9b:1::8.8.8.8", false}, // a network's own NAT64
		{"100::1", false},
		{"2001::1", false}, // Teredo
		{"2001:1ff::1", false},
		{"2001:200::1", true},
		{"2001:db8::1", false},
		{"2002:808:808::1", false},
		{"2002:7f00:1::1", false},
		{"2003::1", true},
		{"3fff::1", false},
		{"3fff:1000::1", true},
		{"3ffe::1", true},
		{"4000::1", false},
		{"5f00::1", false},
		{"fc00::1", false},
		{"fd00:ec2::254", false}, // Amazon's metadata
		{"fe80::1", false},
		{"fe80::1%lo", false},
		{"fec0::1", false},
		{"ff02::1", false},
		{"2606:4700:4700::1111%eth0", false},
	} {
		why := netaddr.Refuse(netip.MustParseAddr(c.addr))
		if (why == "") != c.ok {
			t.Errorf("%s: %q", c.addr, why)
		}
	}
	if netaddr.Refuse(netip.Addr{}) == "" {
		t.Error("no address is an address of the internet")
	}
}

// FuzzRefuse holds the forms of an address against each other, and all against
// what package netip knows.
func FuzzRefuse(f *testing.F) {
	for _, s := range []string{"::", "::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "fe80::1", "2002:a00::", "2606:4700::1"} {
		a := netip.MustParseAddr(s).As16()
		f.Add(a[:])
	}
	f.Add([]byte{127, 0, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		why := netaddr.Refuse(addr)
		for what, is := range map[string]func(netip.Addr) bool{
			"loopback": netip.Addr.IsLoopback, "private": netip.Addr.IsPrivate, "unspecified": netip.Addr.IsUnspecified,
			"link-local": netip.Addr.IsLinkLocalUnicast, "multicast": netip.Addr.IsMulticast,
		} {
			if why == "" && (is(addr) || is(addr.Unmap())) {
				t.Fatalf("%v is %s, and not refused", addr, what)
			}
		}
		if !addr.Is4() {
			return
		}
		for prefix, decides := range map[string]bool{"::ffff:0:0": true, "64:ff9b::": true, "::": false, "64:ff9b:1::": false, "::ffff:0:0:0": false} {
			wide := netip.MustParseAddr(prefix).As16()
			copy(wide[12:], raw)
			form := netip.AddrFrom16(wide)
			if got := netaddr.Refuse(form); (got == "") != (decides && why == "") {
				t.Fatalf("%v is %q, and its form %v %q", addr, why, form, got)
			}
		}
		six := [16]byte{0x20, 0x02}
		copy(six[2:], raw)
		if netaddr.Refuse(netip.AddrFrom16(six)) == "" {
			t.Fatalf("6to4 of %v is not refused", addr)
		}
	})
}
