package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// Door says who may come in by a listener.
type Door struct {
	// Who is at the other end of a connection; an error refuses it.
	Who func(net.Conn) (Caller, error)
	// Own: only programs of this user come by it, and say which client they are
	// for in the header ClientHeader.
	Own bool
	// Tokens are what each request must show one of, in place of Who; nil asks for none.
	Tokens *home.TokenBook
	// TLS is how connections are made; nil is without.
	TLS *tls.Config
}

// ClientHeader is how `berth proxy` says the name of its client.
const ClientHeader = headerClient

// entrance is how a connection came in.
type entrance struct {
	door   Door
	passer bool // from the gateway before this one
	conn   net.Conn
	guest  *guest // nil: nobody counts the connection
}

// entranceKey is the key of the entrance in the context of a connection.
type entranceKey struct{}

func entranceOf(r *http.Request) entrance {
	in, _ := r.Context().Value(entranceKey{}).(entrance)
	return in
}

var (
	// errRevoked: the token by which a request was let in works no more.
	errRevoked = errors.New("the token was revoked or has expired")
	errNobody  = errors.New("nobody is known to call")
)

// admit finds out who sends a request, and returns it with that, for as long as it
// may be served; it has answered if ok is false. What is not routed, the paths by
// which clients look for an OAuth server among it, is 404 to everyone.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (by *http.Request, done func(), ok bool) {
	in := entranceOf(r)
	if err := in.guest.room(); err != nil {
		turnAway(w, r, http.StatusServiceUnavailable, err)
		return nil, nil, false
	}
	who := callerIn(r.Context())
	if whom, ok := passedOn(r); ok {
		who = whom
	}
	if name := r.Header.Get(headerClient); in.door.Own && who.Client == "" && name != "" {
		if err := berth.CheckNameOf("client", name); err != nil {
			refuse(w, http.StatusBadRequest, "the header "+headerClient+": "+err.Error())
			return nil, nil, false
		}
		who.Client = name
	}
	var visit *visitByToken
	if in.door.Tokens != nil {
		if _, pattern := g.mux.Handler(r); pattern == "" || pattern == healthz {
			w.Header().Set("Connection", "close") // a stranger's
			return r, func() {}, true
		}
		var err error
		if who, visit, err = g.byToken(in.door.Tokens, r); err != nil {
			g.refuseCaller(w, r, who.Client, err)
			return nil, nil, false
		}
	}
	if who.Principal == "" {
		refuse(w, http.StatusForbidden, errNobody.Error())
		return nil, nil, false
	}
	if err := in.guest.is(who.Principal); err != nil {
		turnAway(w, r, http.StatusTooManyRequests, err)
		return nil, nil, false
	}
	// From here on nobody can pass it on.
	r.Header.Del("Authorization")
	for _, own := range []string{headerPrincipal, headerClient, headerProfile} {
		r.Header.Del(own)
	}
	was := r.Context()
	ctx, done := g.withOrigin(was, r.Header), func() {}
	if who != callerIn(ctx) {
		ctx = withCaller(ctx, who)
	}
	if visit != nil {
		ctx, done = g.visits.begin(ctx, visit)
	}
	body := r.Body != nil && r.ContentLength != 0
	if ctx != was || body {
		// Package net/http looks at the body of its own request when that is answered:
		// only of one that was not read to its end the connection lingers, so that the
		// client, which still sends, gets the answer.
		r = r.WithContext(ctx)
	}
	if body {
		r.Body = g.paced(w, r.Body)
	}
	return r, done, true
}

// byToken returns who a request is from by its token. With an error, it returns only
// whose token it was, if that is known.
func (g *Gateway) byToken(book *home.TokenBook, r *http.Request) (Caller, *visitByToken, error) {
	if tokenInURL(r.URL) {
		return Caller{}, nil, errTokenInURL
	}
	token, err := bearer(r.Header)
	if err != nil {
		return Caller{}, nil, err
	}
	v := &visitByToken{book: book, sum: home.SumOf(token)}
	t, err := book.Find(v.sum)
	if err != nil {
		return Caller{Client: t.Name}, nil, err
	}
	return Caller{Principal: "token:" + t.Name, Client: t.Name, Profile: t.Profile}, v, nil
}

var errTokenInURL = errors.New("a token in a URL ends up in logs and histories: revoke it with `berth token revoke NAME`, make another, and send it in the header Authorization: Bearer TOKEN")

// refuseCaller answers who is not let in. "The response MUST include the HTTP
// WWW-Authenticate response header field" (RFC 6750 §3), here without the metadata of
// a server that gives tokens: there is none, and a client is not to look for it.
func (g *Gateway) refuseCaller(w http.ResponseWriter, r *http.Request, whose string, why error) {
	unread(w, r)
	w.Header().Set("Connection", "close") // a stranger's holds a descriptor
	const remedy = "; `berth token create NAME` makes one, and the client sends it as the header Authorization: Bearer TOKEN"
	status, text, kind := http.StatusUnauthorized, why.Error(), refusedBad
	switch {
	case errors.Is(why, errTokenInURL):
		status, kind = http.StatusBadRequest, refusedInURL
	case errors.Is(why, home.ErrNoToken):
		text = "the token is not known here, or was revoked" + remedy
	case errors.Is(why, home.ErrTokenExpired):
		kind = refusedExpired
		text += "; `berth token create NAME` makes another of the same name"
	case errors.Is(why, errNoBearer), errors.Is(why, errTwoBearers), errors.Is(why, errNoScheme), errors.Is(why, errNotAToken):
		text += ": callers need a token" + remedy
		if errors.Is(why, errNoBearer) {
			kind = refusedNone
		}
	default:
		g.log.Error("callers by token are refused", "error", why)
		kind = refusedUnread
		status, text = http.StatusServiceUnavailable, "the tokens of this home cannot be read; what berth up prints says why"
	}
	g.refused[kind].Add(1)
	g.refusals.note(refusedCaller{why: kind, from: addressOf(r), name: whose})
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	refuse(w, status, text)
}

// visits are the requests that are being served by a token.
type visits struct {
	mu   sync.Mutex // guards the fields below
	open map[*visitByToken]struct{}
	wake chan struct{} // holds a token when there may be some
}

// visitByToken is one of these.
type visitByToken struct {
	book *home.TokenBook
	sum  home.TokenSum
	end  context.CancelCauseFunc
}

// checkEvery is how often it is seen whether what is being served may be still.
const checkEvery = 250 * time.Millisecond

// begin has a visit end with its token. It is over once done is called.
func (v *visits) begin(ctx context.Context, one *visitByToken) (_ context.Context, done func()) {
	ctx, one.end = context.WithCancelCause(ctx)
	v.mu.Lock()
	v.open[one] = struct{}{}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
	return ctx, func() {
		v.mu.Lock()
		delete(v.open, one)
		v.mu.Unlock()
		one.end(nil)
	}
}

// watch ends visits whose tokens work no more, until ctx ends. While there are none
// it rests.
func (v *visits) watch(ctx context.Context) {
	for {
		select {
		case <-v.wake:
		case <-ctx.Done():
			return
		}
		for pause(ctx, checkEvery) == nil && v.check() > 0 {
		}
	}
}

// check ends the visits whose tokens work no more, and returns how many are left.
// Tokens that cannot be read are no reason.
func (v *visits) check() (left int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := map[home.TokenSum]error{}
	for one := range v.open {
		err, seen := known[one.sum]
		if !seen {
			_, err = one.book.Find(one.sum)
			known[one.sum] = err
		}
		if errors.Is(err, home.ErrNoToken) || errors.Is(err, home.ErrTokenExpired) {
			delete(v.open, one)
			one.end(errRevoked)
		}
	}
	return len(v.open)
}
