package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// requestLimit bounds one request to a server or an authorization server.
	requestLimit = 30 * time.Second
	// answerMost bounds an answer of one, in bytes.
	answerMost = 256 << 10
)

// errNotThere: a document is not at a URL.
var errNotThere = errors.New("not there")

// getJSON reads a document of metadata. Redirects are followed to URLs that may
// be named themselves.
func (c *Client) getJSON(ctx context.Context, at string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return errors.New("it does not parse")
	}
	req.Header.Set("Accept", "application/json")
	client := *c.http
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirects")
		}
		if _, err := checkURL(req.URL.String(), c.local); err != nil {
			return fmt.Errorf("it redirects to a URL that is not followed: %w", err)
		}
		if c.http.CheckRedirect != nil {
			return c.http.CheckRedirect(req, via)
		}
		return nil
	}
	status, _, body, err := do(&client, req)
	switch {
	case err != nil:
		return err
	case status >= 400 && status < 500:
		return fmt.Errorf("%w: HTTP status %d", errNotThere, status)
	case status != http.StatusOK:
		return fmt.Errorf("HTTP status %d", status)
	}
	if err := json.Unmarshal(body, v); err != nil {
		// Many servers show a page of theirs for whatever they do not know.
		return fmt.Errorf("%w: it is not the JSON that it should be", errNotThere)
	}
	return nil
}

// post sends a form or a document that may hold secrets. It is not sent again to
// where an answer redirects.
func (c *Client) post(ctx context.Context, to, contentType, body string, header http.Header) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("its URL does not parse")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	client := *c.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, _, answer, err = do(&client, req)
	return status, answer, err
}

// do makes a request and reads the whole answer. Its errors hold no URL: a query
// may hold what nobody else should read.
func do(client *http.Client, req *http.Request) (status int, header http.Header, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), requestLimit, fmt.Errorf("no answer in %v", requestLimit))
	defer cancel()
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err
		}
		return 0, nil, nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, answerMost+1))
	if err == nil && len(body) > answerMost {
		err = fmt.Errorf("the answer has more than %d bytes", answerMost)
	}
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	return res.StatusCode, res.Header, body, nil
}

// said makes what somebody else wrote fit for a message: short and printable.
func said(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\ufffd' {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}
