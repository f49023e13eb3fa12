package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// Default is the registry that is asked unless berth.toml names another.
const Default = "https://registry.modelcontextprotocol.io"

// Bounds of what is taken from a registry.
const (
	pageSize   = 100
	mostPage   = 64 << 20  // bytes of a page
	mostDoc    = 256 << 10 // bytes of an entry
	mostServer = 500_000   // entries
	mostData   = 1 << 30   // bytes of all entries
	mostTries  = 4         // of a page
	mostWait   = time.Minute
)

// Client asks a registry.
type Client struct {
	// Base is its URL, HTTP does the requests. UserAgent says who asks.
	Base      string
	HTTP      *http.Client
	UserAgent string
	// Wait waits between two tries; nil is time itself.
	Wait func(ctx context.Context, d time.Duration) error
}

// answer is a page of the list of servers.
type answer struct {
	Servers  []json.RawMessage `json:"servers"`
	Metadata struct {
		Next string `json:"nextCursor"`
	} `json:"metadata"`
	etag string
	date time.Time // what time it is there; zero if it does not say
}

// listed is an entry of a page.
type listed struct {
	Server json.RawMessage `json:"server"`
	Meta   struct {
		Official struct {
			Status  string `json:"status"`
			Message string `json:"statusMessage"`
			Updated string `json:"updatedAt"`
			Latest  *bool  `json:"isLatest"`
		} `json:"io.modelcontextprotocol.registry/official"`
	} `json:"_meta"`
}

// errCursor: the registry does not know the cursor that it gave.
var errCursor = errors.New("the registry refuses the cursor that it gave")

// errUnchanged: the registry says that nothing is new.
var errUnchanged = errors.New("nothing is new")

// Spool keeps the documents of a copy while it is pulled.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// Pull returns what the registry has now, whose documents are in spool, and in before: so
// both are needed until it is saved. If there is a copy of before, only what was changed
// since is asked for. show is told how many entries came so far.
func (c *Client) Pull(ctx context.Context, before *Copy, spool Spool, show func(n int)) (*Copy, error) {
	now := &Copy{URL: c.Base, records: map[string]record{}}
	if before != nil && before.URL == c.Base && before.Newest != "" {
		records, err := before.all()
		if err == nil {
			now.records, now.Newest, now.ETag = records, before.Newest, before.ETag
		} // a copy that is damaged is fetched anew
	}
	p := &pull{Client: c, into: now, delta: now.Newest != "", spool: spool, show: show}
	err := p.pages(ctx)
	if errors.Is(err, errCursor) {
		// Once more from the beginning: what came already is the same.
		err = p.pages(ctx)
	}
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("the registry %s: %w", c.Base, err)
	}
	now.At = time.Now().UTC().Truncate(time.Second)
	return now, nil
}

// pull is a copy in the making.
type pull struct {
	*Client
	into  *Copy
	delta bool
	spool Spool
	at    int64 // how much is in spool
	show  func(n int)
}

// put adds an entry, or takes it out.
func (p *pull) put(r record, doc json.RawMessage) error {
	if r.status == statusDeleted {
		delete(p.into.records, r.name)
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return err
	}
	if _, err := p.spool.WriteAt(compact.Bytes(), p.at); err != nil {
		return err
	}
	r.docs, r.at, r.length = p.spool, p.at, int64(compact.Len())
	p.at += r.length
	p.into.records[r.name] = r
	switch {
	case len(p.into.records) > mostServer:
		return fmt.Errorf("it lists more than %d servers", mostServer)
	case p.at > mostData:
		return fmt.Errorf("what it lists has more than %d bytes", mostData)
	}
	return nil
}

func (p *pull) pages(ctx context.Context) error {
	into := p.into
	since := into.Newest
	newest, _ := time.Parse(time.RFC3339, since) // zero if there is none
	var begun time.Time
	query := url.Values{"limit": {strconv.Itoa(pageSize)}, "version": {"latest"}}
	if p.delta {
		query.Set("updated_since", since)
		query.Set("include_deleted", "true")
	}
	seen, came, bad := map[string]bool{}, 0, 0
	for first := true; ; first = false {
		etag := ""
		if first && p.delta {
			etag = into.ETag
		}
		page, err := p.page(ctx, query, etag)
		if err != nil {
			return err
		}
		if first {
			into.ETag, begun = page.etag, page.date
		}
		for _, raw := range page.Servers {
			r, doc, updated, err := read(raw)
			if err != nil {
				bad++
				continue
			}
			came++
			if updated.After(newest) {
				newest = updated
			}
			if err := p.put(r, doc); err != nil {
				return err
			}
		}
		if p.show != nil {
			p.show(came)
		}
		next := page.Metadata.Next
		if next == "" {
			into.Newest, into.Bad = sinceWhen(newest, begun), bad
			return nil
		}
		if seen[next] {
			return errors.New("its pages go round in a circle")
		}
		seen[next] = true
		query.Set("cursor", next)
	}
}

// overlap is how long before the first page was made a change may be that is asked for
// again.
const overlap = time.Minute

// sinceWhen is from when on the next delta is asked for. What changes while pages are
// pulled may be on one that came before, though the newest that was seen is younger; nor
// does a time to come hide what changes until then.
func sinceWhen(newest, begun time.Time) string {
	if bound := begun.Add(-overlap); !begun.IsZero() && newest.After(bound) {
		newest = bound
	}
	if newest.IsZero() {
		return ""
	}
	return newest.UTC().Format(time.RFC3339Nano)
}

const (
	statusActive  = "active"
	statusDeleted = "deleted"
)

// read reads an entry of a page.
func read(raw json.RawMessage) (r record, doc json.RawMessage, updated time.Time, err error) {
	if len(raw) > mostDoc {
		return r, nil, updated, errors.New("it is too long")
	}
	var l listed
	if err := json.Unmarshal(raw, &l); err != nil {
		return r, nil, updated, err
	}
	o := l.Meta.Official
	if o.Latest != nil && !*o.Latest {
		return r, nil, updated, errors.New("it is not the latest version")
	}
	if t, err := time.Parse(time.RFC3339, o.Updated); err == nil {
		updated = t
	}
	r, err = newRecord(l.Server, o.Status, o.Message)
	return r, l.Server, updated, err
}

// page gets a page, again if it did not come whole.
func (c *Client) page(ctx context.Context, query url.Values, etag string) (*answer, error) {
	return retry(ctx, c, func() (*answer, time.Duration, error) {
		body, header, wait, err := c.get(ctx, "/v0.1/servers?"+query.Encode(), etag)
		if err != nil {
			var refused *statusError
			if errors.As(err, &refused) && query.Get("cursor") != "" && (refused.code == http.StatusBadRequest || refused.code == http.StatusUnprocessableEntity) {
				err = errCursor
			}
			return nil, wait, err
		}
		a := &answer{etag: header.Get("ETag")}
		a.date, _ = http.ParseTime(header.Get("Date"))
		if err := json.Unmarshal(body, a); err != nil {
			return nil, time.Second, &cutError{fmt.Errorf("what it answers is no page: %v", err)}
		}
		if a.Servers == nil {
			return nil, 0, berth.WithHint(errors.New("it answers with no list of servers"), "is its URL that of an MCP registry? [registry] url in berth.toml")
		}
		return a, 0, nil
	})
}

// Get returns the entry of the latest version of a server: its server.json, and what the
// registry says of its status.
func (c *Client) Get(ctx context.Context, name string) (doc json.RawMessage, status string, err error) {
	r, err := retry(ctx, c, func() (r record, wait time.Duration, err error) {
		body, _, wait, err := c.get(ctx, "/v0.1/servers/"+url.PathEscape(name)+"/versions/latest", "")
		if err != nil {
			return record{}, wait, err
		}
		r, doc, _, err = read(body)
		if err == nil && r.name != name {
			err = fmt.Errorf("it answers with another server, %.80q", r.name)
		}
		return r, 0, err
	})
	var refused *statusError
	if errors.As(err, &refused) && refused.code == http.StatusNotFound || err == nil && r.status == statusDeleted {
		return nil, "", fmt.Errorf("%w: the registry has no %s", berth.ErrNoServer, name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("the registry %s: %w", c.Base, err)
	}
	return doc, r.shownStatus(), nil
}

// statusError is an answer that is an error.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return "it answers " + strconv.Itoa(e.code) + " " + http.StatusText(e.code)
}

// cutError is an answer that did not come whole.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }

// retry does what may fail for a moment. An error without a time to wait is final.
func retry[T any](ctx context.Context, c *Client, do func() (T, time.Duration, error)) (T, error) {
	for try := 1; ; try++ {
		v, wait, err := do()
		if err == nil || wait == 0 || try == mostTries || ctx.Err() != nil {
			return v, err
		}
		if err := c.pause(ctx, min(wait<<(try-1), mostWait)); err != nil {
			return v, err
		}
	}
}

func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// get does one request. wait is how long to wait before it is worth another try, 0 if it
// is not.
func (c *Client) get(ctx context.Context, path, etag string) (body []byte, header http.Header, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.Base, "/")+path, nil)
	if err != nil {
		return nil, nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.UserAgent)
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, nil, 0, berth.WithHint(err, "is there a network? what was copied before is used meanwhile")
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified:
		return nil, nil, 0, errUnchanged
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return nil, nil, retryAfter(resp.Header.Get("Retry-After"), time.Now()), &statusError{resp.StatusCode}
	case resp.StatusCode != http.StatusOK:
		return nil, nil, 0, &statusError{resp.StatusCode}
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, mostPage+1))
	if err != nil {
		return nil, nil, time.Second, &cutError{fmt.Errorf("its answer broke off: %w", err)}
	}
	if len(body) > mostPage {
		return nil, nil, 0, fmt.Errorf("a page of it has more than %d bytes", mostPage)
	}
	return body, resp.Header, 0, nil
}

// retryAfter is how long a Retry-After says to wait: seconds, or until a date.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Second
	if seconds, err := strconv.Atoi(text); err == nil && 0 < seconds && seconds < int(mostWait/time.Second) {
		wait = time.Duration(seconds) * time.Second
	} else if err == nil && seconds > 0 {
		wait = mostWait
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, time.Second), mostWait)
}
