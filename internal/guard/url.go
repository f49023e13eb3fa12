package guard

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/berth-run/berth/internal/netaddr"
)

// maxURL is how long a URL may be.
const maxURL = 8 << 10

// CheckURL returns the URL of a server that a user may type: https, or http if
// its host is localhost or a literal loopback address; without a name and
// password, which would be secrets in plain view, and without a fragment.
func CheckURL(typed string) (*url.URL, error) {
	if len(typed) > maxURL {
		return nil, &RefusedError{What: "the URL", Why: "it is longer than 8 KiB"}
	}
	u, err := url.Parse(typed)
	if err != nil {
		// The error quotes the URL, in which anything may stand.
		return nil, &RefusedError{What: "the URL", Why: "it does not parse"}
	}
	refuse := func(why string) (*url.URL, error) {
		return nil, &RefusedError{What: Show(u), Why: why}
	}
	switch {
	case u.User != nil:
		return refuse("it holds a name or password; a header can carry them")
	case u.Fragment != "" || u.RawFragment != "" || strings.Contains(typed, "#"):
		return refuse("it has a fragment")
	case u.Opaque != "" || u.Hostname() == "":
		return refuse("it names no host")
	case oddNumber(u.Hostname()):
		return refuse("its host is a number, yet no address as it is usually written")
	case u.Scheme == "http" && loopbackHost(u.Hostname()), u.Scheme == "https":
		return u, nil
	case u.Scheme == "http":
		return refuse("it is http, which is for localhost and loopback addresses only; use https")
	}
	return refuse("it is not https")
}

// Show is a URL for people and logs: without a name, a password, a query and a
// fragment, each of which can hold a secret.
func Show(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, Opaque: u.Opaque}
	return shown.String()
}

// permit is what the URL that the user typed allows besides the public
// internet: one host and port, if the host is a literal address or localhost.
type permit struct {
	host, port string
	addr       netip.Addr // the literal; not valid for localhost
	loopback   bool       // localhost, or a literal of loopback
	none       bool       // the host is a name of the DNS
}

func permitOf(u *url.URL) permit {
	p := permit{host: strings.ToLower(u.Hostname()), port: portOf(u)}
	p.loopback = loopbackHost(p.host)
	addr, err := netip.ParseAddr(p.host)
	switch {
	case err == nil:
		p.addr = addr.Unmap()
	case !p.loopback:
		p.none = true
	}
	return p
}

// allows says whether the user named the address at, to which host and port led.
func (p permit) allows(host, port string, at netip.Addr, anyPort bool) bool {
	at, host = at.Unmap(), strings.ToLower(host)
	if p.none {
		return false
	}
	if p.loopback && anyPort && loopbackHost(host) && at.IsLoopback() {
		return true
	}
	if host != p.host || port != p.port {
		return false
	}
	if p.addr.IsValid() {
		return at == p.addr
	}
	return at.IsLoopback()
}

// checkURL says whether a request to u may be made at all, wherever it leads.
func (g *guard) checkURL(u *url.URL) error {
	checked, err := CheckURL(u.String())
	if err != nil {
		return err
	}
	if checked.Scheme != "http" {
		return nil
	}
	p := g.permit
	if p.loopback && (g.options.Loopback || strings.EqualFold(u.Hostname(), p.host) && portOf(u) == p.port) {
		return nil
	}
	return &RefusedError{What: Show(u), Why: "it is http, which is for the loopback address that the user named"}
}

// checkUnresolved is what can be said of a URL whose name somebody else resolves.
func (g *guard) checkUnresolved(u *url.URL) error {
	host, port := strings.ToLower(u.Hostname()), portOf(u)
	name := strings.TrimSuffix(host, ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		if why := netaddr.Refuse(addr); why != "" && !g.permit.allows(host, port, addr, g.options.Loopback) {
			return &RefusedError{What: host, Why: "the address is " + why}
		}
		return nil
	}
	switch {
	case name == "localhost", strings.HasSuffix(name, ".localhost"):
		return &RefusedError{What: host, Why: "by way of a proxy, it is the proxy's machine"}
	case name == "metadata", name == "metadata.google.internal", name == "instance-data":
		return &RefusedError{What: host, Why: "it is a cloud's metadata service"}
	}
	return nil
}

// loopbackHost says whether the host of a URL is this machine, by its text.
func loopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}

// oddNumber says whether a host is one of the forms of an IPv4 address that some
// resolvers take and the rules for URLs do not: 127.1, 0x7f000001, 017700000001.
func oddNumber(host string) bool {
	last := strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	last = last[strings.LastIndexByte(last, '.')+1:]
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// Origin is what two URLs must share for one to be told the other's secrets.
func Origin(u *url.URL) string {
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), portOf(u))
}
