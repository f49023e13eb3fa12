package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Login has the user log in: it finds the authorization server, sends the browser
// there by open, waits for it to come back, and keeps the tokens. It waits as long
// as ctx allows. What was kept before stays until it is replaced.
func (c *Client) Login(ctx context.Context, open func(ctx context.Context, url string) error) error {
	ch, err := c.wanted(ctx)
	if err != nil {
		return err
	}
	resource, err := c.findResource(ctx, ch)
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.server, err)
	}
	m, err := c.findServer(ctx, resource.Servers[0])
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.server, err)
	}
	var last grant
	key := grantKey(m.Issuer, resource.Resource)
	if _, err := load(c.vault, key, &last); err != nil {
		return err
	}
	l, err := c.known()
	if err != nil {
		return err
	}

	state := rand.Text()
	port, only := last.Client.Port, last.Client.Kind == "given"
	if c.login.ClientID != "" {
		port, only = c.login.Port, true
	}
	back, err := listen(port, only, state)
	if err != nil {
		return err
	}
	defer back.close()
	as, err := c.identify(ctx, m, last.Client, back.redirect(), back.port)
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.server, err)
	}
	g := grant{Issuer: m.Issuer, Resource: resource.Resource, Token: m.Token, Revoke: m.Revocation, Client: as}
	g.Scopes = c.scopes(ch, resource, m, last, l)
	got, verifier, err := c.ask(ctx, m, g, back, open)
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.server, err)
	}
	g, err = c.redeem(ctx, g, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {got.code},
		"redirect_uri":  {back.redirect()},
		"code_verifier": {verifier},
	})
	var refused *denied
	if errors.As(err, &refused) && refused.code == "invalid_client" && as == last.Client {
		last.Client = registered{} // forgotten there: the next login registers
		return errors.Join(fmt.Errorf("log in to %s: %w; try once more", c.server, err), save(ctx, c.vault, key, last))
	}
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.server, err)
	}
	// A renewal that is under way must not write what it got over this.
	unlock, err := c.vault.Lock(ctx, lockWord(key))
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	if err := save(ctx, c.vault, key, g); err != nil {
		return err
	}
	return save(ctx, c.vault, serverPrefix+c.server, login{
		URL: c.url.String(), Issuer: g.Issuer, Resource: g.Resource,
		Wants: missing(l.Wants, g.Scopes), // what is not given is not forgotten
	})
}

// wanted is what the server said it wants: to this client, else when it is asked.
func (c *Client) wanted(ctx context.Context) (challenge, error) {
	c.mu.Lock()
	heard := c.heard
	c.mu.Unlock()
	if heard != nil {
		return *heard, nil
	}
	return c.probe(ctx)
}

// scopes are those to ask for: what the server named when it refused, else all
// that its metadata list (MCP, "Scope Selection Strategy"); those that the last
// login had and those that a refusal wanted since; the user's; and offline_access
// where it means that a refresh token is given (SEP-2207).
func (c *Client) scopes(ch challenge, r resourceMetadata, m serverMetadata, last grant, l login) []string {
	scopes := ch.scopes
	if len(scopes) == 0 {
		scopes = scopeList(strings.Join(r.Scopes, " "))
	}
	scopes = union(last.Scopes, scopes, l.Wants, c.login.Scopes)
	if slices.Contains(m.Scopes, "offline_access") {
		scopes = union(scopes, []string{"offline_access"})
	}
	return scopes
}

// ask sends the browser to the authorization server and returns what it comes back
// with, and the secret without which that is worth nothing.
func (c *Client) ask(ctx context.Context, m serverMetadata, g grant, back *listener, open func(context.Context, string) error) (answer, string, error) {
	var entropy [32]byte
	_, _ = rand.Read(entropy[:]) // it never fails
	verifier := base64.RawURLEncoding.EncodeToString(entropy[:])
	hash := sha256.Sum256([]byte(verifier))
	params := url.Values{
		"response_type":         {"code"},
		"client_id":             {g.Client.ID},
		"redirect_uri":          {back.redirect()},
		"state":                 {back.state},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(hash[:])},
		"code_challenge_method": {"S256"},
		"resource":              {g.Resource},
	}
	if len(g.Scopes) > 0 {
		params.Set("scope", strings.Join(g.Scopes, " "))
	}
	if slices.Contains(g.Scopes, "offline_access") {
		params.Set("prompt", "consent") // OpenID Connect Core section 11
	}
	to, err := authorizeURL(m.Authorize, params)
	if err != nil {
		return answer{}, "", err
	}
	if err := open(ctx, to); err != nil {
		return answer{}, "", fmt.Errorf("open the browser: %w", err)
	}
	select {
	case got := <-back.got:
		// Whatever it says, it is believed only from the server that was asked (RFC
		// 9207 section 2.4: "simple string comparison").
		if err := checkIssuer(got.iss, m); err != nil {
			return answer{}, "", err
		}
		if got.err != "" {
			return answer{}, "", &denied{got.err, got.why}
		}
		return got, verifier, nil
	case <-ctx.Done():
		return answer{}, "", fmt.Errorf("the browser did not come back: %w", context.Cause(ctx))
	}
}

func checkIssuer(iss string, m serverMetadata) error {
	switch {
	case iss == m.Issuer:
		return nil
	case iss != "":
		return errors.New("the answer is that of another authorization server")
	case m.ResponseIss:
		return errors.New("the answer does not say which authorization server it is of, as this one promises")
	}
	return nil
}
