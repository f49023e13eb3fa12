package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rules are the hosts and ports that a server may reach.
type Rules struct {
	// Open: network:* was granted. There is no network namespace then and nothing for
	// this package to do.
	Open bool
	list []rule
}

// rule is one permission. One of addr, name, suffix and anyHost says which host.
type rule struct {
	addr    netip.Addr
	name    string // of lower case, without the dot at its end
	suffix  string // of *.example.com: ".example.com"
	anyHost bool
	port    uint16 // 0: any
}

// ParseRules takes the permissions of a server and returns those for the network:
//
//	network:HOST:PORT
//
// where HOST is a name, *.SUFFIX for all names below SUFFIX, a literal address or *
// for every name, and PORT a number or *; or network:* alone.
func ParseRules(permissions []string) (*Rules, error) {
	r := &Rules{}
	for _, p := range permissions {
		endpoint, ok := strings.CutPrefix(p, "network:")
		if !ok {
			continue
		}
		if endpoint == "*" {
			r.Open = true
			continue
		}
		one, err := parseRule(endpoint)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		r.list = append(r.list, one)
	}
	return r, nil
}

// parseRule takes the last colon for the port's, as package home does.
func parseRule(endpoint string) (rule, error) {
	var r rule
	colon := strings.LastIndexByte(endpoint, ':')
	if colon <= 0 {
		return r, fmt.Errorf("no host and port")
	}
	host, port := endpoint[:colon], endpoint[colon+1:]
	if port != "*" {
		n, ok := parsePort(port)
		if !ok {
			return r, fmt.Errorf("%q is neither a port nor *", port)
		}
		r.port = n
	}
	if host == "*" {
		r.anyHost = true
		return r, nil
	}
	literal := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		literal = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(literal); err == nil {
		if addr.Zone() != "" {
			return r, fmt.Errorf("an address with a zone is of one link")
		}
		r.addr = addr.Unmap()
		return r, nil
	}
	below, wild := strings.CutPrefix(host, "*.")
	name, ok := hostname(below)
	if !ok {
		return r, fmt.Errorf("%q is not a host name (one of other letters than a to z is written as its xn-- form)", host)
	}
	if wild {
		r.suffix = "." + name
	} else {
		r.name = name
	}
	return r, nil
}

// parsePort takes a port as it is usually written.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0 && s[0] >= '1' && s[0] <= '9'
}

// hostname returns a name of the DNS as rules have it, and whether s is one. A name
// that ends in a number is none: parts of systems take it for an IPv4 address, and
// not for the same one.
func hostname(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", false
	}
	last := s
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
		for i := range len(label) {
			c := label[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return "", false
			}
		}
		last = label
	}
	if '0' <= last[0] && last[0] <= '9' && (strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") || strings.HasPrefix(last, "0X")) {
		return "", false
	}
	return strings.ToLower(s), true
}

// loopbackName and namedPrivate are names that a grant means when it says them,
// wherever they lead: nobody who is not of the machine or its network answers them.
func loopbackName(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func namedPrivate(name string) bool {
	return loopbackName(name) || strings.HasSuffix(name, ".internal")
}

func (r rule) matchesName(name string) bool {
	switch {
	case r.anyHost:
		// Every name of the internet, not the machine itself.
		return !loopbackName(name)
	case r.suffix != "":
		return strings.HasSuffix(name, r.suffix)
	}
	return r.name != "" && r.name == name
}

func (r rule) matchesPort(port uint16) bool { return r.port == 0 || r.port == port }

// verdict is what the rules say of a host and a port.
type verdict int

const (
	denied verdict = iota
	// public: allowed if it leads to an address of the public internet.
	public
	// asNamed: allowed wherever it leads.
	asNamed
)

// forName says what is allowed of a name, which hostname returned.
func (r *Rules) forName(name string, port uint16) verdict {
	best := denied
	for _, one := range r.list {
		if !one.matchesName(name) || !one.matchesPort(port) {
			continue
		}
		if !one.anyHost && namedPrivate(name) {
			return asNamed
		}
		best = public
	}
	return best
}

// forAddr says what is allowed of an address that was not asked for by name.
func (r *Rules) forAddr(addr netip.Addr, port uint16) verdict {
	addr = addr.Unmap()
	for _, one := range r.list {
		if !one.matchesPort(port) {
			continue
		}
		// Who connects to localhost has looked it up in its hosts file.
		if one.addr == addr || one.name == "localhost" && isLocalhost(addr) {
			return asNamed
		}
	}
	return denied
}

// isLocalhost says whether addr is what hosts files have for localhost.
func isLocalhost(addr netip.Addr) bool {
	return addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr == netip.IPv6Loopback()
}

// knowsName says whether a name is allowed at some port.
// Allows says whether an address, such as 127.0.0.1:80, may be reached; of what is none,
// it does.
func (r *Rules) Allows(address string) bool {
	to, err := netip.ParseAddrPort(address)
	return err != nil || r.Open || r.forAddr(to.Addr(), to.Port()) != denied
}

func (r *Rules) knowsName(name string) bool {
	return slices.ContainsFunc(r.list, func(one rule) bool { return one.matchesName(name) })
}

// commonPorts are listened on where any port of a host is granted, and 80 and 443
// always, for what is tried there to be seen.
var commonPorts = [...]uint16{22, 25, 465, 587, 993, 1433, 3000, 3306, 5000, 5432, 5672, 6379, 8000, 8080, 8443, 9000, 9092, 9200, 27017}

// Ports are those that netns.Prepare must listen on, in ascending order, 53 and the proxy's
// not among them.
func (r *Rules) Ports() []uint16 {
	ports := []uint16{80, 443}
	for _, one := range r.list {
		if one.port == 0 {
			ports = append(ports, commonPorts[:]...)
		} else if one.port != dnsPort {
			ports = append(ports, one.port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// anyPort says whether any port of some host is granted.
func (r *Rules) anyPort() bool {
	return slices.ContainsFunc(r.list, func(one rule) bool { return one.port == 0 })
}
