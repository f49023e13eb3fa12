package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/jsonrpc"
)

const (
	headerSession = "Mcp-Session-Id"
	headerLast    = "Last-Event-ID"
	typeJSON      = "application/json"
	typeEvents    = "text/event-stream"
)

// wish is an HTTP request to be made.
type wish struct {
	method  string
	url     *url.URL
	message *jsonrpc.Message // nil: of no message
	body    []byte
	last    string        // Last-Event-ID
	timeout time.Duration // until the answer begins; 0: headerTimeout, < 0: none
}

// errSlow: an answer did not begin in time.
var errSlow = errors.New("it does not answer in time")

// do makes a request, twice if the first was not authorized and Auth knows better.
// The body of the answer is to be closed.
func (r *remote) do(ctx context.Context, w wish) (*http.Response, error) {
	for again := false; ; again = true {
		resp, err := r.once(ctx, w)
		if err != nil || r.o.Auth == nil || again ||
			resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
			return resp, err
		}
		err = r.o.Auth.Challenge(ctx, resp)
		discard(resp)
		if err != nil {
			return nil, &sendError{err: err}
		}
	}
}

// sendError is why there is no answer to a request.
type sendError struct {
	err  error
	sent bool // the server may have got it
}

func (e *sendError) Error() string { return explain(e.err) }
func (e *sendError) Unwrap() error { return e.err }

func (r *remote) once(ctx context.Context, w wish) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	var body io.Reader
	if w.body != nil {
		body = bytes.NewReader(w.body)
	}
	req, err := http.NewRequestWithContext(traced, w.method, w.url.String(), body)
	if err != nil {
		cancel(nil)
		return nil, &sendError{err: err}
	}
	r.head(req, w)
	if r.o.Auth != nil {
		if err := r.o.Auth.Authorize(req); err != nil {
			cancel(nil)
			return nil, &sendError{err: err}
		}
	}
	if w.timeout == 0 {
		w.timeout = headerTimeout
	}
	if w.timeout > 0 {
		timer := time.AfterFunc(w.timeout, func() { cancel(errSlow) })
		defer timer.Stop()
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		// Its message quotes the URL, whose query may be a secret.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, &sendError{err: err, sent: sent.Load()}
	}
	resp.Body = &answerBody{ReadCloser: resp.Body, cancel: cancel}
	return resp, nil
}

// answerBody is the body of an answer, with whose end its request ends.
type answerBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *answerBody) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// head sets the headers of a request: the user's, then those of the protocol.
func (r *remote) head(req *http.Request, w wish) {
	for name, values := range r.o.Header {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if r.o.UserAgent != "" {
		req.Header.Set("User-Agent", r.o.UserAgent)
	}
	switch w.method {
	case http.MethodPost:
		req.Header.Set("Content-Type", typeJSON)
		req.Header.Set("Accept", typeJSON+", "+typeEvents)
	case http.MethodGet:
		req.Header.Set("Accept", typeEvents)
	}
	if w.last != "" {
		req.Header.Set(headerLast, w.last)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := w.message; m != nil && isModern(*m) {
		name, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "name"))
		bridge.SetHeaders(req.Header, *m, r.tools[name])
		return
	}
	if w.message != nil && w.message.Method == "initialize" {
		return
	}
	if r.version != "" {
		req.Header.Set(bridge.HeaderVersion, r.version)
	}
	if r.session != "" {
		req.Header.Set(headerSession, r.session)
	}
}

// request sends a request and passes on what comes of it.
func (r *remote) request(m jsonrpc.Message, line []byte) {
	c := r.begin(m)
	go func() {
		aside := false
		err := r.exchange(c, line, &aside)
		if err != nil {
			r.fail(c, err)
		}
		if err != nil || !aside {
			r.finish(c)
		}
	}()
}

// exchange sends a request and passes on its answer, which in the transport of
// 2024-11-05 comes aside, by the one stream.
func (r *remote) exchange(c *call, line []byte, aside *bool) error {
	if at := r.endpoint(); at != nil {
		*aside = true
		return r.byOld(c, at, line)
	}
	w := wish{method: http.MethodPost, url: r.url, message: &c.m, body: line, timeout: -1}
	if c.shakes() {
		w.timeout = shakeTimeout
	}
	resp, err := r.do(c.ctx, w)
	for wait := newPace(); c.listens() && (err != nil || resp.StatusCode/100 == 5); resp, err = r.do(c.ctx, w) {
		// Nothing is lost by asking for news again.
		if err == nil {
			discard(resp)
		}
		if wait.tries >= resumeMost || !wait.sleep(c.ctx) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return r.reply(c, resp, line)
	}
	return r.refused(c, resp, line, aside)
}

// shakes says whether a request is a handshake: without an answer to it there is
// no use in going on.
func (c *call) shakes() bool {
	return c.m.Method == "initialize" || c.m.Method == "server/discover"
}

// listens says whether a request asks for news as long as its stream lasts.
func (c *call) listens() bool { return c.modern && c.m.Method == "subscriptions/listen" }

// reply passes on the answer to a request that the server took.
func (r *remote) reply(c *call, resp *http.Response, line []byte) error {
	if id := resp.Header.Get(headerSession); c.m.Method == "initialize" && id != "" {
		if !isHeaderValue(id) || strings.Contains(id, " ") {
			return &badAnswer{what: "the name of its session is not visible ASCII"}
		}
		r.mu.Lock()
		r.session = id
		r.mu.Unlock()
	}
	switch kind := mediaType(resp); kind {
	case typeEvents:
		return r.stream(c, resp, line)
	case typeJSON:
		return r.whole(c, resp.Body)
	case "":
		return &badAnswer{what: fmt.Sprintf("HTTP %s without an answer", resp.Status)}
	default:
		return &badAnswer{what: fmt.Sprintf("it answers with %s, not JSON; is that the URL of its MCP endpoint?", kind)}
	}
}

func mediaType(resp *http.Response) string {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// badAnswer is an answer that no server of MCP gives.
type badAnswer struct{ what string }

func (e *badAnswer) Error() string { return e.what }

// lostAnswer: the answer to a request will not come.
type lostAnswer struct{ err error }

func (e *lostAnswer) Error() string {
	if e.err == nil || errors.Is(e.err, io.EOF) {
		return "the stream of its answer ended before the answer"
	}
	return "the stream of its answer broke: " + explain(e.err)
}

func (e *lostAnswer) Unwrap() error { return e.err }

// whole passes on an answer that is the whole body.
func (r *remote) whole(c *call, body io.Reader) error {
	p := piecemeal{files: r.files}
	defer p.forget()
	if _, err := io.Copy(&p, body); err != nil {
		return &lostAnswer{err}
	}
	line, err := p.take()
	if err != nil {
		r.drop(line)
		return &lostAnswer{err}
	}
	if !r.answer(line, c) {
		return &badAnswer{what: "its answer is none to what was asked"}
	}
	return nil
}

// statusError is an answer that is an error of HTTP and none of JSON-RPC.
type statusError struct {
	code   int
	status string
	said   string // the first line of its text
	after  string // its Retry-After
}

func (e *statusError) Error() string {
	text := "HTTP " + e.status
	if e.said != "" {
		text += ": " + e.said
	}
	if e.after != "" {
		text += " (Retry-After: " + e.after + ")"
	}
	return text
}

// final says whether a status is not about the transport or its address, but about
// who asks, when, or how often.
func (e *statusError) final() bool {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return e.code/100 != 4
}

// refused passes on an answer that is an error: of JSON-RPC, if the body is one
// ("400 with a JSON-RPC error response", 2026-07-28, basic/transports).
func (r *remote) refused(c *call, resp *http.Response, line []byte, aside *bool) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, inMemory))
	if err != nil {
		return &lostAnswer{err}
	}
	failed := statusOf(resp, body)
	m, err := jsonrpc.Parse(oneLine(body))
	isError := err == nil && m.Kind == jsonrpc.ErrorResponse
	if r.isLost(c.modern, failed, isError) {
		return &Lost{What: "it has ended the session"}
	}
	switch {
	case failed.code == http.StatusUnauthorized || failed.code == http.StatusForbidden:
		return failed
	case isError && bytes.Equal(m.ID, c.m.ID) && r.answer(oneLine(body), c):
		return nil
	case isError:
		r.refuse(c, jsonrpc.DecodeError(m.Error)) // it could not read the id
		return nil
	case c.m.Method == "initialize" && !failed.final():
		return r.fallBack(c, line, failed, aside)
	case c.m.Method == "server/discover" && !failed.final():
		// A server of an older revision, or of the transport before it.
		r.refuse(c, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: failed.Error()})
		return nil
	}
	return failed
}

// isLost says whether an answer means that the session is gone: "the server MUST
// respond with 404"; the TypeScript SDK's examples say 400 and speak of sessions.
func (r *remote) isLost(modern bool, failed *statusError, isError bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if modern || r.session == "" {
		return false
	}
	return failed.code == http.StatusNotFound ||
		failed.code == http.StatusBadRequest && isError && strings.Contains(strings.ToLower(failed.said), "session")
}

// statusOf is the error of an answer, with what its body says.
func statusOf(resp *http.Response, body []byte) *statusError {
	e := &statusError{code: resp.StatusCode, status: resp.Status}
	if e.after = resp.Header.Get("Retry-After"); !isHeaderValue(e.after) {
		e.after = ""
	}
	switch mediaType(resp) {
	case typeJSON:
		if m, err := jsonrpc.Parse(oneLine(body)); err == nil && m.Kind == jsonrpc.ErrorResponse {
			e.said = firstLine(jsonrpc.DecodeError(m.Error).Message)
		} else if text, ok := jsonrpc.Text(jsonrpc.Get(body, "error_description")); ok { // RFC 6750
			e.said = firstLine(text)
		}
	case "text/plain":
		e.said = firstLine(string(body))
	}
	return e
}

// saidMost bounds what is quoted of an answer.
const saidMost = 200

// firstLine is the beginning of a text that another wrote, fit for a log.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.ToValidUTF8(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s), "")
	if len(s) > saidMost {
		s = strings.ToValidUTF8(s[:saidMost], "") + "…"
	}
	return s
}

// tell sends a notification, or an answer to the server.
func (r *remote) tell(m jsonrpc.Message, line []byte) {
	to := r.endpoint()
	if to == nil {
		to = r.url
	}
	resp, err := r.do(r.ctx, wish{method: http.MethodPost, url: to, message: &m, body: line})
	if err == nil && resp.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what it says besides is a courtesy
		failed := statusOf(resp, body)
		if r.isLost(isModern(m), failed, true) {
			r.lose(&Lost{What: "it has ended the session"})
		}
		err = failed
	}
	if resp != nil {
		discard(resp)
	}
	if err != nil && r.ctx.Err() == nil {
		what := m.Method
		if what == "" {
			what = "an answer to the server"
		}
		r.say("%s was not delivered: %v", what, err)
	}
}

// discard reads what little a body still has, so that its connection can be used
// again, and closes it.
func discard(resp *http.Response) {
	if mediaType(resp) != typeEvents && resp.ContentLength < 64<<10 {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	}
	resp.Body.Close()
}

func (r *remote) say(format string, args ...any) {
	r.o.Log(r.o.Mask(guard.Show(r.url) + ": " + fmt.Sprintf(format, args...)))
}
