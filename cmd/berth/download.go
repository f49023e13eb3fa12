package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
)

// stall is how long a download may say nothing.
const stall = time.Minute

// openURL opens what is at a URL, and says how many bytes it has, 0 if that is not known.
func openURL(ctx context.Context, from string) (io.ReadCloser, int64, error) {
	client, err := guard.New(from, &guard.Options{Header: 30 * time.Second})
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		cancel(nil)
		return nil, 0, errors.New("its URL does not parse")
	}
	r.Header.Set("User-Agent", "berth/"+berth.Version)
	resp, err := client.Do(r)
	if err != nil {
		cancel(nil)
		client.CloseIdleConnections()
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // it quotes the URL, whose query may be a secret
		}
		return nil, 0, berth.WithHint(fmt.Errorf("download %s: %w", guard.Show(r.URL), err), "try again with a network")
	}
	b := &body{ReadCloser: resp.Body, cancel: cancel, client: client}
	b.timer = time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing came for %v", stall)) })
	if resp.StatusCode != http.StatusOK {
		b.Close()
		return nil, 0, fmt.Errorf("download %s: the answer is %s", guard.Show(r.URL), resp.Status)
	}
	return b, max(resp.ContentLength, 0), nil
}

// body is what is downloaded; it ends if nothing comes.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	client *http.Client
	timer  *time.Timer
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(stall)
	return b.ReadCloser.Read(p)
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	b.client.CloseIdleConnections()
	return err
}
