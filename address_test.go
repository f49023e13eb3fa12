package berth

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// asNetip is what package net/netip says.
func asNetip(s string) (string, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return "", false
	}
	return addr.Unmap().String(), true
}

func TestAddressForm(t *testing.T) {
	for _, s := range []string{
		"", "1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1", "+1.2.3.4", "::", "::1", "1::", ":::", ":", "1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
		"::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:0:0:4:0:0:7:8", "1:0:0:0:5:0:0:0", "1:0:3:4:5:6:7:8", "0:0:0:0:0:0:0:0", "2001:DB8::A",
		"::ffff:10.1.2.3", "::10.1.2.3", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::1.2.3.4:5", "fe80::1%eth0", "12345::", "g::", "1::2::3", "::+1", "::-1", "::0x1", "64:ff9b::1.2.3.4",
	} {
		got, ok := addressForm(s)
		want, wantOK := asNetip(s)
		if got != want || ok != wantOK {
			t.Errorf("%q: %q, %v, not %q, %v", s, got, ok, want, wantOK)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`[0-9a-f]{0,3}(:[0-9a-f]{0,2}){2,8}(:[0-9]{1,3}(\.[0-9]{1,3}){3})?`), rapid.StringMatching(`[0-9]{1,3}(\.[0-9]{1,3}){2,4}`),
			rapid.StringMatching(`(0:|[1-3]:){7}[0-3]`), rapid.StringMatching(`::(ffff:)?[0-9]{1,2}(\.[0-9]{1,2}){3}`)).Draw(t, "address")
		got, ok := addressForm(s)
		want, wantOK := asNetip(s)
		if got != want || ok != wantOK {
			t.Fatalf("%q: %q, %v, not %q, %v", s, got, ok, want, wantOK)
		}
	})
}

func FuzzAddressForm(f *testing.F) {
	for _, seed := range []string{"::ffff:1.2.3.4", "1:0:0:4::", "10.0.0.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := addressForm(s)
		if want, wantOK := asNetip(s); got != want || ok != wantOK {
			t.Fatalf("%q: %q, %v, not %q, %v", s, got, ok, want, wantOK)
		}
	})
}
