package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

// bodyMost bounds the body of a request, in bytes: with what is set in it on its way
// it is still a line that a server may be sent.
const bodyMost = shim.MaxLine - 1<<20

// healthz is the pattern of what is answered to everyone, and says nothing.
const healthz = "GET /healthz"

func (g *Gateway) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc(healthz, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /metrics", g.metrics)
	mux.HandleFunc("GET /handover", g.handover)
	mux.HandleFunc("/servers/{name}/mcp", g.withServer(g.streamable))
	mux.HandleFunc("GET /servers/{name}/sse", g.withServer(g.oldStream))
	mux.HandleFunc("POST /servers/{name}/messages", g.withServer(g.oldMessage))
	mux.HandleFunc("GET /servers/{name}/lines", g.withServer(g.lines))
	for _, at := range []string{"", "/profiles/{profile}"} {
		mux.HandleFunc(at+"/mcp", g.withJoint(g.streamable))
		mux.HandleFunc("GET "+at+"/sse", g.withJoint(g.oldStream))
		mux.HandleFunc("POST "+at+"/messages", g.withJoint(g.oldMessage))
		mux.HandleFunc("GET "+at+"/lines", g.withJoint(g.lines))
	}
	return mux
}

// ServeHTTP implements http.Handler. Before anything else it asks whether the
// request may be a web page's: "Servers MUST validate the Origin header on all
// incoming connections to prevent DNS rebinding attacks".
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.replaced() {
		w.Header().Set("Connection", "close") // the next one goes to the other gateway
	}
	if !bySocket(r) && !g.hostAllowed(r.Host) && !isLocalHost(r) {
		unread(w, r)
		refuse(w, http.StatusForbidden, "the Host header does not name this machine; --allow-host allows another")
		return
	}
	for _, origin := range r.Header.Values("Origin") {
		if !g.originAllowed(origin) {
			unread(w, r)
			refuse(w, http.StatusForbidden, "requests from this Origin are not allowed; --allow-origin allows it")
			return
		}
	}
	if g.cors(w, r) {
		return
	}
	r, done, ok := g.admit(w, r)
	if !ok {
		return
	}
	defer done()
	g.mux.ServeHTTP(w, r)
}

// bySocket says whether a request came by the Unix socket of the home.
func bySocket(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// hostAllowed says whether a Host header names this machine by a name that
// nobody else can give it.
func (g *Gateway) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopback(name) || slices.Contains(g.o.Hosts, host) || slices.Contains(g.o.Hosts, name)
}

// isLocalHost says whether a Host header is the address that the request came to: an
// address cannot be made another machine's, as a name can.
func isLocalHost(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	return ok && local.IP.Equal(net.ParseIP(strings.Trim(name, "[]")))
}

func (g *Gateway) originAllowed(origin string) bool {
	if slices.Contains(g.o.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && loopback(u.Hostname())
}

// loopback says whether a host name means this machine.
func loopback(name string) bool {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// withServer finds the server that the path names.
func (g *Gateway) withServer(f func(http.ResponseWriter, *http.Request, *server)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if _, isJoint := profileOf(name); isJoint {
			name = "" // that is none of a server
		}
		s, err := g.server(name)
		g.found(w, r, s, err, f)
	}
}

// withJoint finds the servers that the path means.
func (g *Gateway) withJoint(f func(http.ResponseWriter, *http.Request, *server)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := g.server(jointMark + r.PathValue("profile"))
		g.found(w, r, s, err, f)
	}
}

// found has f serve a request for a server, unless it was not found.
func (g *Gateway) found(w http.ResponseWriter, r *http.Request, s *server, err error, f func(http.ResponseWriter, *http.Request, *server)) {
	switch {
	case errors.Is(err, errMoved):
		if r.Method != http.MethodPost {
			g.passOn(w, r, nil)
		} else if body, ok := g.readBody(w, r); ok {
			defer g.spool.Release(body)
			g.passOn(w, r, body)
		}
	case errors.Is(err, berth.ErrNoServer), errors.Is(err, berth.ErrInvalidName):
		refuse(w, http.StatusNotFound, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	case s.joint == nil && !s.mayEnter(w, r):
	default:
		f(w, r, s)
	}
}

// refuse answers with a status and, for clients that look into the body, an
// error without an id.
func refuse(w http.ResponseWriter, status int, message string) {
	code := int64(jsonrpc.CodeInvalidRequest)
	if status >= 500 {
		code = jsonrpc.CodeInternalError
	}
	line, err := jsonrpc.NewError(nil, &jsonrpc.Error{Code: code, Message: message})
	if err != nil {
		line = nil // cannot happen
	}
	writeLine(w, status, line)
}

// Values of headers that many answers have; nobody changes them.
var (
	jsonType = []string{"application/json"}
	noSniff  = []string{"nosniff"}
)

// writeLine sends one message as a JSON body.
func writeLine(w http.ResponseWriter, status int, line []byte) {
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"] = jsonType, noSniff
	// A long body is not copied into chunks then.
	h.Set("Content-Length", strconv.Itoa(len(line)))
	w.WriteHeader(status)
	_, _ = w.Write(line) // a client that left waits for nothing
}

// writeAnswer is writeLine for an answer that may have marks; see long.go.
func writeAnswer(w http.ResponseWriter, store *spool.Store, status int, line []byte) {
	if store.Marked(line) {
		writeLong(w, store, status, line)
		return
	}
	writeLine(w, status, line)
}

// readBody reads the body of a POST, of a long one the outline; it has answered if ok
// is false. Otherwise it is to be released when the request is served.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		refuse(w, http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
		return nil, false
	}
	if r.ContentLength > bodyMost {
		unread(w, r)
		refuse(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return nil, false
	}
	if r.ContentLength < 0 {
		r.Body = http.MaxBytesReader(w, r.Body, bodyMost)
	}
	body, whole, err := readStart(r.Body, r.ContentLength)
	if err == nil && !whole {
		if body, err = g.readLong(w, r, body); err == nil && len(body) == 0 {
			return nil, false // it has answered
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return nil, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestTimeout, "the body takes too long")
		return nil, false
	case err != nil:
		return nil, false // the client left
	}
	return body, true
}

// readStart reads a body of so many bytes, -1 if that is not known, up to what is kept
// in memory.
func readStart(r io.Reader, size int64) (start []byte, whole bool, err error) {
	if size < 0 || size > shim.LongLine {
		size = shim.LongLine
	}
	// With room for the read that finds the end.
	start = make([]byte, 0, min(size, readFirst)+1)
	for {
		n, err := r.Read(start[len(start):cap(start)])
		start = start[:len(start)+n]
		switch {
		case err == io.EOF:
			return start, true, nil
		case err != nil:
			return nil, false, err
		case len(start) > shim.LongLine:
			return start, false, nil
		case len(start) == cap(start):
			start = append(start, 0)[:len(start)]
		}
	}
}

// readFirst is how much room there is for a body before any of it has come.
const readFirst = 64 << 10

// parse reads a body that is one message, or a batch if batches are allowed; it
// has answered if ok is false.
func parse(w http.ResponseWriter, body []byte) (m jsonrpc.Message, ok bool) {
	m, err := jsonrpc.Parse(body)
	if err != nil {
		e := &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: err.Error()}
		if !json.Valid(body) {
			e.Code, e.Message = jsonrpc.CodeParseError, "Parse error: "+err.Error()
		}
		if line, err := jsonrpc.NewError(nil, e); err == nil {
			writeLine(w, http.StatusBadRequest, line)
		}
		return m, false
	}
	return m, true
}

// accepts says whether the client takes a kind of content.
func accepts(r *http.Request, kind string) bool {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return true
	}
	family, _, _ := strings.Cut(kind, "/")
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			part, _, _ = strings.Cut(part, ";")
			part = strings.ToLower(strings.TrimSpace(part))
			if part == kind || part == "*/*" || part == family+"/*" {
				return true
			}
		}
	}
	return false
}
