package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	r, err := ParseRules([]string{
		"env:HOME", "exec:git", "network:api.Example.com.:443", "network:*.cdn.example.net:443", "network:db.internal:5432",
		"network:*.corp.internal:80", "network:localhost:3000", "network:10.1.2.3:8443", "network:[fd00::1]:443",
		"network:::1:9000", "network:any.example.com:*", "network:*:8080",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host string
		port uint16
		want verdict
	}{
		{"api.example.com", 443, public},
		{"api.example.com", 80, denied},
		{"xapi.example.com", 443, denied},
		{"x.api.example.com", 443, denied},
		{"example.com", 443, denied},
		{"a.cdn.example.net", 443, public},
		{"a.b.cdn.example.net", 443, public},
		{"cdn.example.net", 443, denied},
		{"evilcdn.example.net", 443, denied},
		{"db.internal", 5432, asNamed},
		{"db.internal", 8080, public}, // by *, which does not name it
		{"a.corp.internal", 80, asNamed},
		{"localhost", 3000, asNamed},
		{"localhost", 8080, denied}, // * is every name of the internet
		{"any.example.com", 1, public},
		{"any.example.com", 65535, public},
		{"whatever.org", 8080, public},
		{"whatever.org", 8081, denied},
	} {
		if got := r.forName(c.host, c.port); got != c.want {
			t.Errorf("%s:%d: %v, not %v", c.host, c.port, got, c.want)
		}
	}
	for _, c := range []struct {
		at   string
		want verdict
	}{
		{"10.1.2.3:8443", asNamed},
		{"10.1.2.3:8444", denied},
		{"10.1.2.4:8443", denied},
		{"[fd00::1]:443", asNamed},
		{"[::1]:9000", asNamed},
		{"[::1]:3000", asNamed},
		{"127.0.0.1:3000", asNamed},
		{"127.0.0.2:3000", denied},
		{"8.8.8.8:8080", denied}, // * is every name, and this is none
		{"[::ffff:10.1.2.3]:8443", asNamed},
	} {
		to := netip.MustParseAddrPort(c.at)
		if got := r.forAddr(to.Addr(), to.Port()); got != c.want {
			t.Errorf("%s: %v, not %v", c.at, got, c.want)
		}
	}
	ports := r.Ports()
	for _, p := range []uint16{80, 443, 5432, 3000, 8443, 9000, 8080, 22} {
		if !slices.Contains(ports, p) {
			t.Errorf("nobody listens on port %d: %v", p, ports)
		}
	}
	if none, err := ParseRules(nil); err != nil || !slices.Equal(none.Ports(), []uint16{80, 443}) || none.knowsName("example.com") {
		t.Errorf("%v, %v", none, err)
	}
	if open, err := ParseRules([]string{"network:*"}); err != nil || !open.Open {
		t.Errorf("%v, %v", open, err)
	}
}

func TestRulesThatAreNone(t *testing.T) {
	for _, p := range []string{
		"network:", "network::443", "network:example.com", "network:example.com:0", "network:example.com:65536",
		"network:example.com:0443", "network:example.com:+1", "network:exa mple.com:443", "network:b\u00fccher.example:443",
		"network:*.*:443", "network:a.*.b:443", "network:*.:443", "network:fe80::1%eth0:443", "network:127.1:80",
		"network:2130706433:80", "network:0x7f.0x1:80", "network:[::1:80", "network:a..b:80", "network:http://example.com:80",
	} {
		if r, err := ParseRules([]string{p}); err == nil {
			t.Errorf("%q is a permission: %+v", p, r.list)
		}
	}
}

func FuzzRules(f *testing.F) {
	for _, s := range []string{"example.com:443", "*.example.com:*", "[::1]:80", "::1:80", "10.0.0.1:1", "*:*", "127.1:80"} {
		f.Add(s, "www.example.com", uint16(443))
	}
	f.Fuzz(func(t *testing.T, endpoint, host string, port uint16) {
		r, err := ParseRules([]string{"network:" + endpoint})
		if err != nil || r.Open {
			return
		}
		name, ok := hostname(host)
		if !ok || r.forName(name, port) == denied {
			return
		}
		// What allows it says so.
		colon := strings.LastIndexByte(endpoint, ':')
		rule, rulePort := strings.ToLower(strings.TrimSuffix(endpoint[:colon], ".")), endpoint[colon+1:]
		below, wild := strings.CutPrefix(rule, "*")
		if !(rule == name || wild && strings.HasSuffix(name, below)) {
			t.Fatalf("%q allows %q", endpoint, name)
		}
		if n, ok := parsePort(rulePort); rulePort != "*" && (!ok || n != port) {
			t.Fatalf("%q allows port %d", endpoint, port)
		}
	})
}
