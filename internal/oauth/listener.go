package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// answer is what the authorization server's redirect brought.
type answer struct {
	code, iss, err, why string
}

// listener waits on this machine for the browser to come back (RFC 8252 section
// 7.3). It takes one answer to the login that it was made for, and nothing else.
type listener struct {
	net    net.Listener
	server *http.Server
	port   int
	state  string
	got    chan answer // of one
	once   sync.Once   // the state is good for one answer
	served sync.WaitGroup
}

const callbackPath = "/callback"

// listen opens a port of 127.0.0.1: that one, or if it is not free and need not be
// that one, any; 0 is any.
func listen(port int, only bool, state string) (*listener, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil && port != 0 && !only {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the browser: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(errors.New("wait for the browser: no port"), l.Close())
	}
	b := &listener{net: l, port: addr.Port, state: state, got: make(chan answer, 1)}
	b.server = &http.Server{
		Handler:           http.HandlerFunc(b.serve),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      10 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
	b.server.SetKeepAlivesEnabled(false)
	b.served.Go(func() { _ = b.server.Serve(l) })
	return b, nil
}

// redirect is the URL that the browser is to come back to.
func (b *listener) redirect() string {
	return "http://127.0.0.1:" + strconv.Itoa(b.port) + callbackPath
}

func (b *listener) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the code is in this page's URL
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	say := func(status int, text string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<!doctype html><title>Berth</title><p>%s\n", text)
	}
	switch {
	case r.Host != b.net.Addr().String(): // a page whose name resolves to this machine
		say(http.StatusForbidden, "This is not the address of this page.")
	case r.URL.Path != callbackPath || r.URL.EscapedPath() != callbackPath:
		say(http.StatusNotFound, "There is nothing here.")
	case r.Method != http.MethodGet:
		h.Set("Allow", http.MethodGet)
		say(http.StatusMethodNotAllowed, "This page is only read.")
	default:
		a, err := parseAnswer(r.URL.RawQuery, b.state)
		if err != nil {
			// It may be somebody else's doing: the login goes on.
			say(http.StatusBadRequest, "This does not belong to the login that Berth waits for.")
			return
		}
		first := false
		b.once.Do(func() { first = true })
		if !first {
			say(http.StatusGone, "This login is over.")
			return
		}
		if a.err != "" {
			say(http.StatusOK, "Berth was not given access. You can close this page; the terminal says more.")
		} else {
			say(http.StatusOK, "Berth has its answer. You can close this page; the terminal says whether all went well.")
		}
		_ = http.NewResponseController(w).Flush()
		b.got <- a
	}
}

// parseAnswer reads the query of a redirect, which has to show the state.
func parseAnswer(query, state string) (answer, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return answer{}, errors.New("the query does not parse")
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(q[name]) > 1 {
			return answer{}, fmt.Errorf("%s is there twice", name) // RFC 6749 section 3.1
		}
	}
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
		return answer{}, errors.New("the state is another")
	}
	a := answer{q.Get("code"), q.Get("iss"), q.Get("error"), q.Get("error_description")}
	if a.code == "" && a.err == "" {
		return answer{}, errors.New("there is neither a code nor an error")
	}
	return a, nil
}

// close stops listening, once the page that is being sent has been.
func (b *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if b.server.Shutdown(ctx) != nil {
		_ = b.server.Close()
	}
	b.served.Wait()
}
