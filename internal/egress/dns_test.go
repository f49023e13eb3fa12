package egress

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// query is a message that asks for a name.
func query(name string, kind uint16) []byte {
	m := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		m = append(append(m, byte(len(label))), label...)
	}
	m = append(m, 0)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(m, kind), classIN)
}

func TestReply(t *testing.T) {
	var asked []string
	lookup := func(name string, six bool) (netip.Addr, bool) {
		asked = append(asked, name)
		switch {
		case name != "api.example.com":
			return netip.Addr{}, false
		case six:
			return netip.Addr{}, true
		}
		return netip.MustParseAddr("198.18.0.2"), true
	}
	for _, c := range []struct {
		what    string
		message []byte
		rcode   uint16
		answers int
	}{
		{"A", query("api.example.com", typeA), rcodeOK, 1},
		{"A in capitals", query("aPi.EXAMPLE.com", typeA), rcodeOK, 1},
		{"AAAA", query("api.example.com", typeAAAA), rcodeOK, 0},
		{"HTTPS", query("api.example.com", 65), rcodeOK, 0},
		{"TXT", query("api.example.com", 16), rcodeOK, 0},
		{"another", query("example.org", typeA), rcodeName, 0},
		{"what carries something out", query("c2VjcmV0.example.org", 16), rcodeName, 0},
		{"no host", query("a b.example.com", typeA), rcodeName, 0},
		{"a dot in a label", append(append([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 15}, "api.example.com"...), 0, 0, 1, 0, 1), rcodeName, 0},
		{"the root", []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}, rcodeName, 0},
		{"cut off", query("api.example.com", typeA)[:20], rcodeFormat, 0},
		{"a pointer", []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}, rcodeFormat, 0},
		{"an update", append([]byte{0, 0, 5 << 3, 0}, query("api.example.com", typeA)[4:]...), rcodeNotImpl, 0},
		{"two questions", append([]byte{0, 0, 1, 0, 0, 2}, query("api.example.com", typeA)[6:]...), rcodeFormat, 0},
		{"no question", []byte{0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, rcodeFormat, 0},
		{"EDNS", append(append([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}, query("api.example.com", typeA)[12:]...), 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0), rcodeOK, 1},
		{"class CH", append(query("api.example.com", typeA)[:31], 0, 3), rcodeRefused, 0},
	} {
		out := reply(c.message, lookup)
		if len(out) < dnsHeader {
			t.Errorf("%s: no answer", c.what)
			continue
		}
		flags := binary.BigEndian.Uint16(out[2:])
		if !bytes.Equal(out[:2], c.message[:2]) || flags&flagResponse == 0 || flags&15 != c.rcode || int(out[7]) != c.answers {
			t.Errorf("%s: %x", c.what, out)
		}
		if c.answers > 0 && !bytes.HasSuffix(out, []byte{0, 4, 198, 18, 0, 2}) {
			t.Errorf("%s: %x", c.what, out)
		}
	}
	if reply(append([]byte{0, 0, 0x80, 0}, query("api.example.com", typeA)[4:]...), lookup) != nil {
		t.Error("an answer is answered")
	}
	if reply([]byte{1, 2, 3}, lookup) != nil {
		t.Error("nothing is answered")
	}
}

func FuzzReply(f *testing.F) {
	f.Add(query("api.example.com", typeA))
	f.Add(query("x", typeAAAA))
	f.Add([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, m []byte) {
		if len(m) > maxQuery {
			return
		}
		out := reply(m, func(name string, six bool) (netip.Addr, bool) {
			if again, ok := hostname(name); !ok || again != name {
				t.Fatalf("%q was looked up", name)
			}
			return netip.MustParseAddr("198.18.0.2"), len(name)%2 == 0
		})
		if out == nil {
			return
		}
		if len(out) < dnsHeader || len(out) > maxQuery+28 || out[2]&0x80 == 0 {
			t.Fatalf("%x is answered %x", m, out)
		}
		if out[5] == 1 && !bytes.HasPrefix(out[dnsHeader:], m[dnsHeader:dnsHeader+1]) {
			t.Fatalf("%x is answered about something else: %x", m, out)
		}
	})
}

// TestNames: an address is one name's only, for as long as addresses last.
func TestNames(t *testing.T) {
	n := newNames()
	first := n.addr("first.example.com")
	if first.String() != "198.18.0.2" || n.addr("first.example.com") != first || n.name(first) != "first.example.com" {
		t.Fatal(first)
	}
	if n.name(netip.MustParseAddr("::ffff:198.18.0.2")) != "first.example.com" {
		t.Error("its mapped form is another")
	}
	for i := range maxNames {
		n.addr(strings.Repeat("x", i%60+1) + "." + strings.Repeat("y", i/60+1)[:i/60%60+1] + "." + string(rune('a'+i/3600)))
	}
	if got := n.name(first); got != "" {
		t.Errorf("an address that was forgotten is %q's", got)
	}
	if again := n.addr("first.example.com"); again == first {
		t.Error("it has the address that it had")
	}
	all, next := n.snapshot()
	m := newNames()
	m.restore(all, next)
	if m.name(n.addr("first.example.com")) != "first.example.com" || len(m.order) != maxNames || m.next != n.next {
		t.Error("a snapshot is something else")
	}
	m.next = fakeCount - 1
	m.addr("last")
	if got := m.addr("after.the.last"); !got.IsValid() || m.name(got) != "after.the.last" {
		t.Error(got)
	}
}
