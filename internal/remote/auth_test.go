package remote_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/berth-run/berth/internal/remote"
)

// tokens has another token once it was challenged.
type tokens struct {
	t     *testing.T
	mu    sync.Mutex
	token string
}

var _ remote.Auth = (*tokens)(nil)

func (a *tokens) Authorize(r *http.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Header.Set("Authorization", "Bearer "+a.token)
	return nil
}

func (a *tokens) Challenge(_ context.Context, resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
		a.t.Errorf("challenged by %s", resp.Status)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = "good"
	return nil
}
