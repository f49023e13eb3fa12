package remote

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/berth-run/berth/internal/guard"
)

// The transport of 2024-11-05: one stream, opened by a GET, carries all that the
// server says; its first event, endpoint, says where messages are posted. A server
// that refuses a POST of initialize with 4xx is tried so (2025-03-26, transports,
// "Backwards Compatibility").

// fallBack tries it with a request that was refused.
func (r *remote) fallBack(c *call, line []byte, refused *statusError, aside *bool) error {
	resp, err := r.do(r.ctx, wish{method: http.MethodGet, url: r.url})
	if err != nil {
		return refused
	}
	if resp.StatusCode != http.StatusOK || mediaType(resp) != typeEvents {
		discard(resp)
		return fmt.Errorf("%w, and no stream of events by GET either; is that the URL of its MCP endpoint?", refused)
	}
	found := make(chan string, 1)
	go r.readOld(resp, found)
	timer := time.NewTimer(headerTimeout)
	defer timer.Stop()
	select {
	case text := <-found:
		at, err := r.endpointAt(text, resp.Request.URL)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.old = at
		r.mu.Unlock()
		*aside = true
		return r.byOld(c, at, line)
	case <-timer.C:
		return &badAnswer{what: "its stream of events does not begin with an endpoint"}
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// endpointAt is where messages go: at the origin that the user typed, or they and
// the user's headers would go wherever the server likes.
func (r *remote) endpointAt(text string, base *url.URL) (*url.URL, error) {
	at, err := base.Parse(text)
	if err != nil || guard.Origin(at) != guard.Origin(r.url) || guard.Origin(base) != guard.Origin(r.url) {
		return nil, &badAnswer{what: "the endpoint that it names is at another origin, and is not used"}
	}
	return at, nil
}

// readOld passes on what comes in the stream, which is the session: its end is
// that of the session.
func (r *remote) readOld(resp *http.Response, found chan<- string) {
	defer resp.Body.Close()
	e := events{r: bufio.NewReaderSize(resp.Body, 16<<10), data: piecemeal{files: r.files}}
	err := e.each(func(ev event) error {
		switch ev.name {
		case "endpoint":
			select {
			case found <- string(ev.data):
			default: // there is one already
			}
		case "", "message":
			r.answer(ev.data, nil)
		default:
			r.drop(ev.data)
		}
		return nil
	})
	r.lose(&Lost{What: "the stream that is its session has ended: " + (&lostAnswer{err}).Error()})
}

// byOld posts a request, whose answer comes by the stream.
func (r *remote) byOld(c *call, at *url.URL, line []byte) error {
	w := wish{method: http.MethodPost, url: at, message: &c.m, body: line}
	resp, err := r.do(c.ctx, w)
	if err != nil {
		return err
	}
	defer discard(resp)
	if resp.StatusCode/100 == 2 {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what it says besides is a courtesy
	return statusOf(resp, body)
}
