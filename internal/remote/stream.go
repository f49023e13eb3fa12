package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// retryDefault is how long a stream that has ended is left alone, if its server
	// does not say.
	retryDefault = time.Second
	// paceMost bounds how long one is that cannot be had, unless its server says
	// more.
	paceMost = 30 * time.Second
	// resumeMost is how often an answer is tried to be fetched, one time after the
	// other failed.
	resumeMost = 5
)

// pace is the time between attempts: what the server wants, doubled with each that
// fails, and a random part so that not all of its clients come at once.
type pace struct {
	base  time.Duration
	tries int
}

func newPace() pace { return pace{base: retryDefault} }

// next is how long to wait now.
func (p *pace) next() time.Duration {
	d := p.base << min(p.tries, 10)
	d = max(p.base, min(d, paceMost))
	p.tries++
	return d + rand.N(d/5+1)
}

// sleep waits; false: ctx has ended.
func (p *pace) sleep(ctx context.Context) bool {
	t := time.NewTimer(p.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stream passes on what comes in the stream of a request, up to its answer. A
// stream that ends before is taken up again where it has names for its events
// ("resume always via GET with Last-Event-ID", 2025-11-25); a stream of the modern
// era has not, and what was asked is lost with it.
func (r *remote) stream(c *call, resp *http.Response, line []byte) error {
	last, wait := "", newPace()
	for {
		answered, err := r.events(resp.Body, c, &last, &wait)
		if answered {
			return nil
		}
		resp.Body.Close()
		var odd *spoolError
		if errors.Is(err, errTooLong) || errors.As(err, &odd) {
			return &lostAnswer{err}
		}
		switch {
		case c.ctx.Err() != nil:
			return context.Cause(c.ctx)
		case c.listens():
			if !wait.sleep(c.ctx) {
				return context.Cause(c.ctx)
			}
			resp, err = r.do(c.ctx, wish{method: http.MethodPost, url: r.url, message: &c.m, body: line, timeout: -1})
			if err == nil && (resp.StatusCode != http.StatusOK || mediaType(resp) != typeEvents) {
				defer resp.Body.Close()
				return &statusError{code: resp.StatusCode, status: resp.Status}
			}
			for err != nil {
				if wait.tries > resumeMost || !wait.sleep(c.ctx) {
					return err
				}
				resp, err = r.do(c.ctx, wish{method: http.MethodPost, url: r.url, message: &c.m, body: line, timeout: -1})
			}
		case c.modern || last == "":
			return &lostAnswer{err}
		default:
			broke := err
			if resp, err = r.resume(c.ctx, last, &wait, resumeMost); err != nil {
				var lost *Lost
				if errors.As(err, &lost) {
					// Of the session that is gone nothing can be fetched: what
					// became of the request nobody can say.
					r.lose(lost)
					return context.Cause(r.ctx)
				}
				return &lostAnswer{errors.Join(broke, err)}
			}
		}
		defer resp.Body.Close()
	}
}

// events passes on the messages of a stream until it ends. Once the answer to c has
// come, it ends soon.
func (r *remote) events(body io.Reader, c *call, last *string, wait *pace) (answered bool, err error) {
	e := events{r: bufio.NewReaderSize(body, 16<<10), data: piecemeal{files: r.files}}
	err = e.each(func(ev event) error {
		if ev.id != "" {
			*last = ev.id
		}
		if ev.retry > 0 {
			wait.base = ev.retry
		}
		wait.tries = 0
		if len(ev.data) == 0 || ev.name != "" && ev.name != "message" {
			r.drop(ev.data)
			return nil
		}
		if r.answer(ev.data, c) && !answered {
			answered = true
			time.AfterFunc(lateTimeout, func() { c.cancel(nil) })
		}
		return nil
	})
	return answered, err
}

// errNoStream: the server has no stream of the kind that was asked for.
var errNoStream = errors.New("there is no such stream")

// resume waits and takes up a stream behind the event last; "" is from now on. It
// gives up after most failures in a row, 0 is never.
func (r *remote) resume(ctx context.Context, last string, wait *pace, most int) (*http.Response, error) {
	for failures := 0; ; {
		if !wait.sleep(ctx) {
			return nil, context.Cause(ctx)
		}
		resp, err := r.get(ctx, last)
		var lost *Lost
		if err == nil || errors.As(err, &lost) || errors.Is(err, errNoStream) || ctx.Err() != nil {
			return resp, err
		}
		if failures++; failures == most {
			return nil, err
		}
	}
}

// get opens a stream of events.
func (r *remote) get(ctx context.Context, last string) (*http.Response, error) {
	resp, err := r.do(ctx, wish{method: http.MethodGet, url: r.url, last: last})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && mediaType(resp) == typeEvents {
		return resp, nil
	}
	defer discard(resp)
	failed := statusOf(resp, nil)
	switch {
	case r.isLost(false, failed, false):
		return nil, &Lost{What: "it has ended the session"}
	case resp.StatusCode == http.StatusOK, !failed.final():
		return nil, fmt.Errorf("%w: %w", errNoStream, failed)
	}
	return nil, failed
}

// listen keeps the stream open by which a server of the legacy era says what
// belongs to no request; 405 says that there is none.
func (r *remote) listen() {
	last, wait := "", newPace()
	resp, err := r.get(r.ctx, "")
	for {
		var (
			lost *Lost
			none *statusError
		)
		switch {
		case r.ctx.Err() != nil:
			return
		case errors.As(err, &lost):
			r.lose(lost)
			return
		case errors.Is(err, errNoStream):
			if errors.As(err, &none) && none.code != http.StatusMethodNotAllowed {
				r.say("no stream of its own messages: %v", none)
			}
			return
		case err != nil:
			r.say("the stream of its own messages: %v", err)
		default:
			_, _ = r.events(resp.Body, nil, &last, &wait) // it has ended, however
			resp.Body.Close()
		}
		resp, err = r.resume(r.ctx, last, &wait, resumeMost)
	}
}
