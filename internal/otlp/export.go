package otlp

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
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	timeoutUsual = 10 * time.Second
	// triesMost is how often a batch is sent that the collector cannot take now.
	triesMost = 4
	firstWait = time.Second
	// answerMost is how much of an answer is read.
	answerMost = 64 << 10
)

// exporter sends batches of spans.
type exporter struct {
	config Config
	host   string // for what is said: a URL may hold a secret
	client *http.Client
}

func newExporter(c Config) (*exporter, error) {
	if c.Timeout == 0 {
		c.Timeout = timeoutUsual
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the collector's URL is none") // the error would quote it
	}
	return &exporter{config: c, host: u.Host, client: &http.Client{
		Timeout: c.Timeout,
		// Its headers are for who was named, and for nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// ExportSpans sends a batch. What a collector cannot take now is sent again, as long
// as ctx lasts (OTLP/HTTP, "Failures": 429, 502, 503, 504, Retry-After).
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := json.Marshal(requestOf(spans))
	if err != nil {
		return fmt.Errorf("make a batch of spans: %w", err)
	}
	wait := firstWait
	for try := 1; ; try++ {
		after, again, err := e.post(ctx, body)
		if err == nil || !again || try == triesMost {
			return err
		}
		if after > 0 {
			wait = after
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// post sends a batch once. again says that the same may succeed later, after so long if
// the collector has said.
func (e *exporter) post(ctx context.Context, body []byte) (after time.Duration, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.config.URL, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	for key, values := range e.config.Headers {
		req.Header[key] = values
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		var at *url.Error // whose text has the whole URL
		if errors.As(err, &at) {
			err = at.Err
		}
		return 0, true, fmt.Errorf("send spans to %s: %w", e.host, err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, false, rejected(answer)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			after = time.Duration(min(seconds, 60)) * time.Second
		}
		return after, true, fmt.Errorf("send spans to %s: %s", e.host, resp.Status)
	}
	return 0, false, fmt.Errorf("send spans to %s: %s", e.host, resp.Status)
}

// rejected returns what a collector did not take of a batch that it took.
func rejected(answer []byte) error {
	var a struct {
		PartialSuccess struct {
			Rejected json.RawMessage `json:"rejectedSpans"` // an int64: a string, or a number
			Message  string          `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(answer, &a) != nil || a.PartialSuccess.Message == "" {
		return nil
	}
	return fmt.Errorf("the collector refused %s of a batch of spans: %.200s", a.PartialSuccess.Rejected, a.PartialSuccess.Message)
}

// Shutdown lets go of the connections.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}
