// Package oauth logs in to remote MCP servers: an OAuth 2.1 client as MCP's
// authorization specifications of 2025-11-25 and 2026-07-28 want one.
//
//	401 ─▶ metadata of the resource ─▶ metadata of the authorization server
//	     ─▶ client id ─▶ browser, code ─▶ tokens ─▶ secret store
//
// Who speaks to the server puts the token on each request with Authorize, and asks
// Challenge what to do about a refusal. Login needs the user, and is a command's.
// What another process renewed or deleted counts for the next request.
//
//	c, err := oauth.New(oauth.Options{Server: "notes", URL: url, HTTP: client, Vault: v})
//	err = c.Authorize(req)
//	res, err := client.Do(req)
//	if res.StatusCode == 401 || res.StatusCode == 403 {
//		err = c.Challenge(ctx, res) // nil: once more
//	}
//
// No error holds a token, a code or a secret.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/vault"
)

// ErrLogin: the user has to log in. The hint says by which command.
var ErrLogin = errors.New("a login is needed")

// Options of New.
type Options struct {
	// Server is the name that the server has in its home.
	Server string
	// URL is the server's address, as its user gave it: https, or http to this
	// machine.
	URL string
	// HTTP makes all requests, of the authorization server too; default
	// guard.New(URL), with all of this machine for a server that is on it.
	HTTP *http.Client
	// Vault keeps the tokens.
	Vault *vault.Vault

	// Now is the clock; default time.Now.
	Now func() time.Time

	// ClientID is how an authorization server knows this client, where it was told
	// beforehand, and ClientSecret what goes with it, if anything. For Login.
	ClientID, ClientSecret string
	// Port is that of 127.0.0.1 to which the browser comes back, for a ClientID that
	// was registered with one; 0 is any that is free. For Login.
	Port int
	// ClientURL is a client id metadata document. It is used where it is
	// supported and there is no ClientID. For Login.
	ClientURL string
	// Scopes are asked for beside those that the server names. For Login.
	Scopes []string
}

// Client is logged in to one server, or not. It may be used by several goroutines.
type Client struct {
	server string
	url    *url.URL
	local  bool // the server is on this machine
	http   *http.Client
	vault  *vault.Vault
	now    func() time.Time
	login  Options

	mu    sync.Mutex // guards the field below
	heard *challenge // what the server wanted, last
}

// New returns a client. It asks nobody and reads nothing.
func New(o Options) (*Client, error) {
	if err := berth.CheckName(o.Server); err != nil {
		return nil, err
	}
	u, err := checkURL(o.URL, true)
	if err != nil {
		return nil, fmt.Errorf("the URL of %s cannot be used: %w", o.Server, err)
	}
	for _, scope := range o.Scopes {
		if !validScope(scope) {
			return nil, fmt.Errorf("%.40q is not a scope", scope)
		}
	}
	if o.HTTP == nil {
		if o.HTTP, err = guard.New(o.URL, &guard.Options{Loopback: true}); err != nil {
			return nil, err
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{now: o.Now, server: o.Server, url: u, local: isLocal(u), http: o.HTTP, vault: o.Vault, login: o}, nil
}

// Authorize puts the access token on a request to the server, having renewed it if
// it is about to expire. Without a token it leaves the request as it is: a server
// that wants one says so. So it does with a request to another host.
func (c *Client) Authorize(req *http.Request) error {
	if guard.Origin(req.URL) != guard.Origin(c.url) {
		return nil
	}
	g, found, err := c.current()
	if err != nil {
		return err
	}
	if !found || g.Access == "" {
		return nil
	}
	if g.soon(c.now()) && g.Refresh != "" {
		renewed, err := c.renew(req.Context(), g)
		switch {
		case err == nil:
			g = renewed
		case errors.Is(err, ErrLogin) || c.now().After(g.Expires):
			return err
		}
		// It is good for some seconds more, and whoever comes next tries again.
	}
	req.Header.Set("Authorization", "Bearer "+g.Access)
	return nil
}

// Challenge says what to do after the server answered 401 or 403. It returns nil
// if the request should be made again, once, with what Authorize puts on it then.
// Otherwise it returns an error with a hint: one that wraps ErrLogin if the user
// can do something about it.
func (c *Client) Challenge(ctx context.Context, res *http.Response) error {
	ch := challengeOf(res.Header)
	c.mu.Lock()
	c.heard = &ch
	c.mu.Unlock()
	g, found, err := c.current()
	if err != nil {
		return err
	}
	used := ""
	if res.Request != nil {
		used, _ = strings.CutPrefix(res.Request.Header.Get("Authorization"), "Bearer ")
	}
	if found && g.Access != "" && g.Access != used {
		return nil // somebody logged in or renewed meanwhile
	}
	if res.StatusCode == http.StatusForbidden {
		return c.refused(ctx, ch, g)
	}
	if found && g.Refresh != "" && g.Access == used {
		_, err := c.renew(ctx, g)
		return err
	}
	why := "wants to know who asks"
	if found && g.Access != "" {
		why = "does not accept the login any more"
	}
	return c.needLogin(why)
}

// refused is the error for a 403. If a scope was missing, the next login asks for
// it (MCP, "Step-Up Authorization Flow").
func (c *Client) refused(ctx context.Context, ch challenge, g grant) error {
	if ch.err != "insufficient_scope" {
		return fmt.Errorf("%s refuses this to who is logged in", c.server)
	}
	if more := missing(ch.scopes, g.Scopes); len(more) > 0 {
		if err := c.want(ctx, more); err != nil {
			return err
		}
		return c.needLogin("wants more rights for this: " + said(strings.Join(more, " ")))
	}
	if len(ch.scopes) == 0 {
		return fmt.Errorf("%s refuses this for want of rights, and does not say of which", c.server)
	}
	return fmt.Errorf("%s refuses this for want of rights that the login has: %s", c.server, said(strings.Join(ch.scopes, " ")))
}

func (c *Client) needLogin(why string) error {
	return berth.WithHint(fmt.Errorf("%s %s: %w", c.server, why, ErrLogin), "berth auth "+c.server)
}

// current returns the grant of this server.
func (c *Client) current() (g grant, found bool, err error) {
	l, err := c.known()
	if err != nil || l.Issuer == "" {
		return g, false, err
	}
	found, err = load(c.vault, grantKey(l.Issuer, l.Resource), &g)
	return g, found, err
}

// known returns what is kept of the server, which is nothing if it had another
// address then.
func (c *Client) known() (login, error) {
	var l login
	if _, err := load(c.vault, serverPrefix+c.server, &l); err != nil {
		return l, err
	}
	if l.URL != c.url.String() {
		l = login{URL: c.url.String()}
	}
	return l, nil
}

// want remembers scopes for the next login.
func (c *Client) want(ctx context.Context, scopes []string) error {
	l, err := c.known()
	if err != nil {
		return err
	}
	if len(missing(scopes, l.Wants)) == 0 {
		return nil
	}
	l.Wants = union(l.Wants, scopes)
	return save(ctx, c.vault, serverPrefix+c.server, l)
}

// Status returns what is known of this server's login.
func (c *Client) Status() (Status, error) {
	l, err := c.known()
	if err != nil {
		return Status{}, err
	}
	return status(c.vault, c.server, l)
}

// Logout forgets the tokens, having asked the authorization server to do the same
// where it can be asked. The tokens are gone here whatever that says: an error
// that wraps ErrNotRevoked is that there they may be valid until they expire.
func (c *Client) Logout(ctx context.Context) (was bool, err error) {
	l, err := c.known()
	if err != nil {
		return false, err
	}
	g, found, err := c.current()
	if err != nil {
		return false, err
	}
	if err := c.vault.Delete(ctx, serverPrefix+c.server, grantKey(l.Issuer, l.Resource)); err != nil {
		return false, err
	}
	if !found || g.Access == "" && g.Refresh == "" {
		return false, nil
	}
	return true, c.revoke(ctx, g)
}

// ErrNotRevoked: the authorization server was not seen to take the tokens back.
var ErrNotRevoked = errors.New("not revoked")
