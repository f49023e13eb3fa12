// Package guard makes HTTP clients that go where their user sent them and nowhere
// a server of the internet would like them to go: not to the user's own machine,
// not into the network around it, not to a cloud's metadata service.
//
// What is checked is the address that is dialled, after names are resolved, so
// that a name which resolves differently the next time gains nothing; and each
// redirect by the same rules.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/berth-run/berth/internal/netaddr"
)

// Options of New. The zero value is what a server of the internet gets.
type Options struct {
	// Connect bounds the connection to an address and, once more, the TLS
	// handshake; default 10 s.
	Connect time.Duration
	// Header bounds the time from a request that is sent to the header of its
	// answer; 0 is no bound. A server may take as long as a call does before it
	// says anything, so only who asks for something quick knows one.
	Header time.Duration
	// Loopback lets a client whose typed URL is on loopback go to any port
	// there, by http as well: a server under test has its authorization server
	// beside it. It means nothing with another URL.
	Loopback bool
	// Proxy chooses the proxy of a request; default http.ProxyFromEnvironment,
	// that is HTTPS_PROXY and NO_PROXY. Who resolves the name then is the proxy,
	// so that only what the URL says can be checked: its scheme, an address that
	// it names, and names that are known to mean this machine or metadata.
	Proxy func(*http.Request) (*url.URL, error)
	// Resolver resolves names; default net.DefaultResolver.
	Resolver *net.Resolver
}

// A RefusedError is a connection that was not made, or a redirect that was not
// followed, because of the rules of this package.
type RefusedError struct {
	// What is the address, URL or redirect.
	What string
	// Why is what is wrong with it.
	Why string
}

func (e *RefusedError) Error() string { return e.What + " is not connected to: " + e.Why }

// New returns a client for the URL that the user typed, which CheckURL must
// accept. It has no cookies, follows at most 5 redirects (see redirected), and
// verifies TLS always; the variables SSL_CERT_FILE and SSL_CERT_DIR name the
// authorities, where Go honours them. A client is one user's and one server's:
// its URL decides what is allowed.
func New(typed string, o *Options) (*http.Client, error) {
	if o == nil {
		o = &Options{}
	}
	u, err := CheckURL(typed)
	if err != nil {
		return nil, err
	}
	g := &guard{permit: permitOf(u), options: *o, proxied: map[string]*http.Transport{}}
	if g.options.Connect == 0 {
		g.options.Connect = 10 * time.Second
	}
	if g.options.Proxy == nil {
		g.options.Proxy = http.ProxyFromEnvironment
	}
	g.direct = g.transport(g.dial)
	return &http.Client{Transport: g, CheckRedirect: g.redirected}, nil
}

// guard is the transport of such a client.
type guard struct {
	permit  permit
	options Options
	direct  *http.Transport

	mu      sync.Mutex
	proxied map[string]*http.Transport // by the proxy's URL; guarded by mu
}

var _ http.RoundTripper = (*guard)(nil)

func (g *guard) transport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:           dial,
		TLSHandshakeTimeout:   g.options.Connect,
		ResponseHeaderTimeout: g.options.Header,
		// A transport with a dialer of its own has to be told.
		ForceAttemptHTTP2: true,
		// What is compressed may be much larger than the bound that its reader
		// means to keep, and comes late in a stream of events.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        90 * time.Second,
		// A stream of events may be silent for hours: without a ping nobody
		// would notice that its connection is gone.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		MaxIdleConnsPerHost: 4,
	}
}

// RoundTrip checks the URL and sends the request, by the proxy that the
// environment names if there is one.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	t, err := g.route(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return t.RoundTrip(r)
}

func (g *guard) route(r *http.Request) (*http.Transport, error) {
	if err := g.checkURL(r.URL); err != nil {
		return nil, err
	}
	proxy, err := g.options.Proxy(r)
	if err != nil {
		// The error quotes the URL of the proxy, which may hold a password.
		return nil, errors.New("the URL of the proxy in the environment is not one")
	}
	if proxy == nil {
		return g.direct, nil
	}
	if err := g.checkUnresolved(r.URL); err != nil {
		return nil, err
	}
	return g.by(proxy), nil
}

// by returns the transport by way of a proxy. Where that is, the user said; so
// its address is not checked.
func (g *guard) by(proxy *url.URL) *http.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.proxied[proxy.String()]
	if t == nil {
		t = g.transport((&net.Dialer{Timeout: g.options.Connect}).DialContext)
		t.Proxy = http.ProxyURL(proxy)
		g.proxied[proxy.String()] = t
	}
	return t
}

// CloseIdleConnections implements what http.Client looks for.
func (g *guard) CloseIdleConnections() {
	g.direct.CloseIdleConnections()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.proxied {
		t.CloseIdleConnections()
	}
}

// dial connects to one of the addresses that a name has, if that is allowed. The
// check is made by the system's last word on where the connection goes: between
// it and connect(2) nothing is resolved.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout:  g.options.Connect,
		Resolver: g.options.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return &RefusedError{What: address, Why: "it is no address with a port"}
			}
			return g.checkAddr(host, port, at)
		},
	}
	return d.DialContext(ctx, network, addr)
}

// checkAddr says whether what host and port resolved to may be connected to.
func (g *guard) checkAddr(host, port string, at netip.AddrPort) error {
	if g.permit.allows(host, port, at.Addr(), g.options.Loopback) {
		return nil
	}
	why := netaddr.Refuse(at.Addr())
	if why == "" {
		return nil
	}
	what := at.Addr().String()
	if host != what {
		what = fmt.Sprintf("%s (%s)", host, what)
	}
	return &RefusedError{What: what, Why: "the address is " + why}
}
