package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/berth-run/berth/internal/remote"
)

// withLogin has the process of a remote server show what `berth auth` brought, now
// or later, and renew it. A user who gave a token of his own in a header means that
// one.
func withLogin(o *remote.Options, name, dir string) error {
	if dir == "" || o.Header.Get("Authorization") != "" {
		return nil
	}
	h, err := home.Open(dir, nil)
	if err != nil {
		return err
	}
	v, err := openVault(h)
	if err != nil {
		return err
	}
	c, err := oauth.New(oauth.Options{Server: name, URL: o.URL, Vault: v})
	if err != nil {
		return err
	}
	o.Auth = advised{c}
	return nil
}

// advised tells whoever reads an error what to do about it: a client's user has
// nothing else to read.
type advised struct{ of *oauth.Client }

var _ remote.Auth = advised{}

func (a advised) Authorize(req *http.Request) error { return advise(a.of.Authorize(req)) }

func (a advised) Challenge(ctx context.Context, res *http.Response) error {
	return advise(a.of.Challenge(ctx, res))
}

func advise(err error) error {
	if hint := hintOf(err); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}
