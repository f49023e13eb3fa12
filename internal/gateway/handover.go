package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
)

// A gateway that is replaced hands its servers over one by one, each at a moment
// at which nobody waits for an answer of it: what is new waits for that moment, and
// goes to the other gateway then. So no call has two gateways, and each of them is
// a whole one at any time: what the other knows is what a gateway that is killed
// leaves, too.

// Heir is the gateway that goes on in the place of another.
type Heir struct {
	// Socket is where it takes what comes to the other one still.
	Socket string
	// Adopt has it serve a server. The other has let go of it.
	Adopt func(ctx context.Context, name string) error
	// Inherit has it be the one that clients reach. It serves all servers then.
	Inherit func(ctx context.Context) error
	// Within bounds how long calls that run may delay the move; 0 is handOverFor.
	Within time.Duration
}

const (
	// handOverFor bounds how long calls that run may delay a server's move. In its
	// first half new ones wait for them holdFor at a time, in the second until
	// they have ended; what runs then is cut off.
	handOverFor = 60 * time.Second
	holdFor     = 500 * time.Millisecond
)

// HeirHeader is in the answer to who asks for lines of a server that another
// gateway serves: the socket of that one.
const HeirHeader = "Berth-Gateway"

// What says for whom a gateway passes a request on: the members of a Caller.
const (
	headerPrincipal = "Berth-Principal"
	headerClient    = "Berth-Client"
	headerProfile   = "Berth-Profile"
)

// heir is an Heir and the way to it.
type heir struct {
	Heir
	proxy *httputil.ReverseProxy
	over  chan struct{} // closed when it is no heir after all
	given chan struct{} // closed when it is for good
	all   atomic.Bool   // every server is its, those too that nobody has asked for
}

// errHandingOver: the gateway is handing over to another one already.
var errHandingOver = errors.New("the gateway is being replaced by another already")

// HandOver has another gateway serve all servers, and returns when it does. What
// still comes to this one is passed on until it is closed. Where it fails, this
// gateway serves them as before. It is to be called once at a time.
func (g *Gateway) HandOver(ctx context.Context, to Heir) error {
	to.Within = cmp.Or(to.Within, handOverFor)
	h := &heir{Heir: to, over: make(chan struct{}), given: make(chan struct{})}
	h.proxy = g.proxyTo(h)
	if !g.heir.CompareAndSwap(nil, h) {
		return errHandingOver
	}
	g.ledger.share()
	latest := time.Now().Add(h.Within)
	for {
		rest := g.unmoved(h)
		if len(rest) == 0 {
			break
		}
		// What joins servers asks them: it goes first, and comes last.
		var joints []*server
		rest = slices.DeleteFunc(rest, func(s *server) bool {
			if s.joint != nil {
				joints = append(joints, s)
			}
			return s.joint != nil
		})
		err := eachServer(ctx, joints, func(ctx context.Context, s *server) error { return s.letGo(ctx, h, latest) })
		if err == nil {
			err = eachServer(ctx, rest, func(ctx context.Context, s *server) error {
				if err := s.letGo(ctx, h, latest); err != nil {
					return err
				}
				return s.give(ctx, h)
			})
		}
		if err == nil {
			err = eachServer(ctx, joints, func(ctx context.Context, s *server) error { return s.give(ctx, h) })
		}
		if err != nil {
			g.takeBack(h)
			return fmt.Errorf("hand over to another gateway: %w", err)
		}
	}
	if err := to.Inherit(ctx); err != nil {
		g.takeBack(h)
		return fmt.Errorf("hand over to another gateway: %w", err)
	}
	close(h.given)
	return nil
}

// unmoved returns the servers that the heir does not serve yet. If there are none,
// it serves all from now on.
func (g *Gateway) unmoved(h *heir) (rest []*server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.servers {
		if !s.tenure.hasMoved() {
			rest = append(rest, s)
		}
	}
	if len(rest) == 0 {
		h.all.Store(true)
	}
	return rest
}

// takeBack serves again what the heir was to serve.
func (g *Gateway) takeBack(h *heir) {
	g.ledger.inherit() // the other one writes no more
	g.mu.Lock()
	g.heir.Store(nil)
	var lost []*server
	for name, s := range g.servers {
		s.tenure.mu.Lock()
		if s.tenure.state == leaving || s.tenure.state == moved {
			delete(g.servers, name) // what is known of it is on record
			lost = append(lost, s)
			s.tenure.state = moved
			s.tenure.wake()
		}
		s.tenure.mu.Unlock()
	}
	g.mu.Unlock()
	close(h.over)
	for _, old := range lost {
		if s, err := g.server(old.name); err == nil {
			g.running.Go(s.reunite)
		}
	}
}

// eachServer does something with several servers at once, and returns the first
// error, which ends the others' context.
func eachServer(ctx context.Context, servers []*server, f func(context.Context, *server) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- f(ctx, s) }()
	}
	for range servers {
		if e := <-failed; e != nil && err == nil {
			err = e
			cancel()
		}
	}
	return err
}

// letGo is the first half of the move of one server: from then on nothing is served
// here.
func (s *server) letGo(ctx context.Context, h *heir, latest time.Time) error {
	for {
		wait, must := holdFor, false
		if left := time.Until(latest); left < h.Within/2 {
			wait, must = max(left, 0), true
		}
		if s.tenure.vacate(ctx, wait, must) {
			break
		}
		if err := pause(ctx, holdFor); err != nil {
			return err
		}
	}
	s.leave(s.tenure.unused())
	return nil
}

// give is the second half: the other gateway serves it.
func (s *server) give(ctx context.Context, h *heir) error {
	if err := h.Adopt(ctx, s.name); err != nil {
		return err
	}
	s.tenure.set(moved)
	return nil
}

// visit begins a visit of a request's, whose body was read; nil if it was not.
// Where the server has moved, the request is passed on, and ok is false.
func (s *server) visit(w http.ResponseWriter, r *http.Request, isNew bool, body []byte) (v *visit, ok bool) {
	err := s.tenure.enter(r.Context(), isNew)
	switch {
	case errors.Is(err, errMoved):
		s.g.passOn(w, r, body)
		return nil, false
	case err != nil:
		return nil, false // the client left
	}
	return &visit{t: &s.tenure}, true
}

// serving runs f in a goroutine, as a visit that goes on after the one of now.
func (s *server) serving(f func()) {
	s.tenure.stay()
	s.g.running.Go(func() {
		defer s.tenure.exit()
		f()
	})
}

// hasLeft says whether another gateway is to answer what is asked of the server.
func (s *server) hasLeft() bool { return errors.Is(context.Cause(s.ctx), errMoved) }

// whileHere returns a context that also ends when the server moves: a client that
// listens does so again then, at the other gateway.
func (s *server) whileHere(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// leave lets go of the server: its clients, what it knows of them, which is on
// record then, and its processes, which go on. Unused says that nothing of it is
// being served; what is ends as if this gateway had been killed.
func (s *server) leave(unused bool) {
	s.stop(errMoved)
	s.mu.Lock()
	old, lines := s.old, s.lines
	var wait []<-chan struct{}
	for _, sl := range s.slots {
		if sl.coming != nil {
			wait = append(wait, sl.coming.done)
		}
		if sl.held != nil {
			wait = append(wait, sl.held)
		}
	}
	clients := make([]*oldClient, 0, len(old))
	for _, o := range old {
		clients = append(clients, o)
	}
	proxies := make([]*lineClient, 0, len(lines))
	for l := range lines {
		proxies = append(proxies, l)
	}
	s.mu.Unlock()
	for _, l := range proxies {
		l.move(unused)
	}
	for _, session := range s.everySession() {
		session.lastUse()
		session.end(errClosed)
	}
	for _, o := range clients {
		o.cutOff()
	}
	for _, done := range wait {
		<-done // the end of its context ends it
	}
	for _, c := range s.everyChild() {
		c.close()
	}
}

// passOn has the heir answer a request, whose body was read; nil if it was not. If
// there is none any more, this gateway answers.
func (g *Gateway) passOn(w http.ResponseWriter, r *http.Request, body []byte) {
	if body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if g.spool.Marked(body) {
			p, err := g.spool.Parts(body)
			if err != nil {
				refuse(w, http.StatusInternalServerError, "the request could not be read again: "+err.Error())
				return
			}
			defer p.Close()
			r.Body, r.ContentLength = io.NopCloser(p.Reader()), p.Size()
		}
	}
	h := g.heir.Load()
	if h == nil {
		g.mux.ServeHTTP(w, r)
		return
	}
	if r.Header.Get("Upgrade") != "" {
		w.Header().Set(HeirHeader, h.Socket)
		refuse(w, http.StatusMisdirectedRequest, "another gateway goes on in the place of this one")
		return
	}
	if body == nil {
		r.Body = http.NoBody
	}
	r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
	h.proxy.ServeHTTP(w, r)
}

// bodyKey is the key of the body of a request that is passed on.
type bodyKey struct{}

// proxyTo passes requests on to an heir.
func (g *Gateway) proxyTo(h *heir) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "berth"
			p.Out.Host = p.In.Host
			by := callerIn(p.In.Context())
			p.Out.Header.Set(headerPrincipal, by.Principal)
			p.Out.Header.Set(headerClient, by.Client)
			p.Out.Header.Set(headerProfile, by.Profile)
			// It was allowed here, and the answer for its browser is written.
			p.Out.Header.Del("Origin")
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket)
			},
			DisableCompression:  true,
			MaxIdleConnsPerHost: 64,
		},
		FlushInterval: -1, // events are not to wait
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var dial *net.OpError
			if errors.As(err, &dial) && dial.Op == "dial" {
				// It has ended before it heard anything. Whoever still hands over to
				// it notices that, too.
				select {
				case <-h.given:
				case <-h.over:
					body, _ := r.Context().Value(bodyKey{}).([]byte)
					g.passOn(w, r, body)
					return
				case <-r.Context().Done():
				case <-time.After(10 * time.Second):
				}
			}
			refuse(w, http.StatusBadGateway, "the gateway that went on in the place of this one has ended; whether the request was carried out is not known")
		},
	}
}

// Adopt serves a server that the gateway before this one has let go of.
func (g *Gateway) Adopt(name string) error {
	g.ledger.reload()
	s, err := g.server(name)
	if errors.Is(err, berth.ErrNoServer) {
		g.ledger.drop(name) // it was removed: its clients are told so
		return nil
	}
	if err != nil {
		return fmt.Errorf("adopt server %q: %w", name, err)
	}
	g.running.Go(s.reunite)
	return nil
}

// Inherit is the end of a handover: the gateway before this one has no servers any
// more, or is gone.
func (g *Gateway) Inherit() error {
	g.ledger.inherit()
	return g.succeed()
}

// replaced says whether another gateway serves all servers.
func (g *Gateway) replaced() bool {
	h := g.heir.Load()
	return h != nil && h.all.Load()
}

// Hold has the gateway count as used until release is called.
func (g *Gateway) Hold() (release func()) {
	g.connected(1)
	return func() { g.connected(-1) }
}

// passedOn is who called the gateway that passes a request on; ok is false if none
// does.
func passedOn(r *http.Request) (by Caller, ok bool) {
	if entranceOf(r).passer {
		by = Caller{r.Header.Get(headerPrincipal), r.Header.Get(headerClient), r.Header.Get(headerProfile)}
	}
	return by, by.Principal != ""
}

// drained is how long a gateway that was replaced goes on for the connections that
// it has.
const drained = 60 * time.Second

// Drain returns when nobody is connected any more, or after a minute.
func (g *Gateway) Drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drained)
	defer cancel()
	_ = g.AwaitIdle(ctx, 0) // the end of ctx is as good
}

// HandoverProtocol is what a gateway that goes on in the place of this one upgrades
// its connection to. What is spoken there is not this package's.
const HandoverProtocol = "berth-handover"

// ExplicitHeader is set by who replaces a gateway because its user says so.
const ExplicitHeader = "Berth-Replace"

// handover is GET /handover.
func (g *Gateway) handover(w http.ResponseWriter, r *http.Request) {
	if !bySocket(r) || entranceOf(r).passer || g.o.Replace == nil {
		refuse(w, http.StatusConflict, "this gateway stays")
		return
	}
	hand, ok := g.o.Replace(r.Header.Get(ExplicitHeader) != "")
	if !ok {
		refuse(w, http.StatusConflict, "this gateway stays")
		return
	}
	if r.Header.Get("Upgrade") != HandoverProtocol {
		w.Header().Set("Upgrade", HandoverProtocol)
		refuse(w, http.StatusUpgradeRequired, "this is for berth up --replace")
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer g.connected(-1)
	defer entranceOf(r).guest.leave()
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + HandoverProtocol + "\r\n\r\n"
	if _, err := conn.Write([]byte(head)); err != nil {
		conn.Close()
		return
	}
	hand(plain(conn))
}
