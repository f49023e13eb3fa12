package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokens is the answer of a token endpoint (RFC 6749 section 5).
type tokens struct {
	Access  string      `json:"access_token"`
	Type    string      `json:"token_type"`
	Expires json.Number `json:"expires_in"`
	Refresh string      `json:"refresh_token"`
	Scope   *string     `json:"scope"`
	Error   string      `json:"error"`
	Why     string      `json:"error_description"`
}

// A denied is an error code of an authorization server.
type denied struct{ code, why string }

func (d *denied) Error() string {
	if d.why == "" {
		return "the authorization server says " + said(d.code)
	}
	return "the authorization server says " + said(d.code) + ": " + said(d.why)
}

// redeem trades a code or a refresh token for tokens, and puts them in the grant.
func (c *Client) redeem(ctx context.Context, g grant, form url.Values) (grant, error) {
	// RFC 8707: at both endpoints, and when a token is renewed.
	form.Set("resource", g.Resource)
	asked := c.now().UTC()
	status, body, err := c.postForm(ctx, g.Token, g.Client, form)
	if err != nil {
		return g, fmt.Errorf("ask for a token: %w", err)
	}
	var got tokens
	parsed := json.Unmarshal(body, &got) == nil
	switch {
	case parsed && got.Error != "":
		// Some describe an error by repeating what they were sent.
		return g, &denied{hide(got.Error, form, g.Client.Secret), hide(got.Why, form, g.Client.Secret)}
	case status != http.StatusOK:
		return g, fmt.Errorf("ask for a token: %s answers with HTTP status %d", hostOf(g.Token), status)
	case !parsed || got.Access == "":
		return g, fmt.Errorf("ask for a token: %s answers without one", hostOf(g.Token))
	case !strings.EqualFold(got.Type, "Bearer"):
		return g, fmt.Errorf("ask for a token: %s gives one of another type than Bearer", hostOf(g.Token))
	case !headerSafe(got.Access):
		return g, fmt.Errorf("ask for a token: %s gives one that cannot be sent", hostOf(g.Token))
	}
	g.Access = got.Access
	if got.Refresh != "" {
		g.Refresh = got.Refresh
	}
	g.Given, g.Expires = asked, time.Time{}
	if seconds, err := got.Expires.Float64(); err == nil && seconds > 0 && seconds < 1e9 {
		g.Expires = asked.Add(time.Duration(seconds * float64(time.Second)))
	}
	if got.Scope != nil {
		g.Scopes = scopeList(*got.Scope)
	}
	return g, nil
}

// hide takes what was sent in confidence out of a text.
func hide(text string, form url.Values, secret string) string {
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token"} {
		if v := form.Get(name); v != "" {
			text = strings.ReplaceAll(text, v, "***")
		}
	}
	if secret != "" {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// headerSafe says whether a token can stand in a header (RFC 6750 section 2.1, and
// what else is printable, which some issue).
func headerSafe(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "the authorization server"
	}
	return u.Host
}

// postForm sends a form as this client, in the way in which it is registered (RFC
// 6749 section 2.3.1).
func (c *Client) postForm(ctx context.Context, to string, as registered, form url.Values) (int, []byte, error) {
	// It was checked before it was kept; once more costs nothing.
	if _, err := checkURL(to, c.local); err != nil {
		return 0, nil, fmt.Errorf("the URL cannot be used: %w", err)
	}
	header := http.Header{}
	switch as.Method {
	case "client_secret_basic":
		pair := url.QueryEscape(as.ID) + ":" + url.QueryEscape(as.Secret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case "client_secret_post":
		form.Set("client_id", as.ID)
		form.Set("client_secret", as.Secret)
	default:
		form.Set("client_id", as.ID)
	}
	return c.post(ctx, to, "application/x-www-form-urlencoded", form.Encode(), header)
}

// renew trades the refresh token for tokens, once for all processes and goroutines
// that would: whoever comes second finds what the first one got. A refresh token is
// good for one use where it is rotated, and a second use of it ends the login.
func (c *Client) renew(ctx context.Context, old grant) (grant, error) {
	key := grantKey(old.Issuer, old.Resource)
	unlock, err := c.vault.Lock(ctx, lockWord(key))
	if err != nil {
		return old, fmt.Errorf("renew the login to %s: %w", c.server, err)
	}
	defer func() { _ = unlock() }()
	var g grant
	found, err := load(c.vault, key, &g)
	if err != nil {
		return old, err
	}
	switch {
	case !found || g.Access == "" && g.Refresh == "":
		return old, c.needLogin("is logged out")
	case g.Access != old.Access:
		return g, nil
	}
	// What has been sent counts, also if who asked has gone away: without the answer
	// the login would be lost.
	ctx = context.WithoutCancel(ctx)
	renewed, err := c.redeem(ctx, g, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}})
	var refused *denied
	if errors.As(err, &refused) && (refused.code == "invalid_grant" || refused.code == "invalid_client" || refused.code == "unauthorized_client") {
		g.Access, g.Refresh = "", ""
		if refused.code != "invalid_grant" && g.Client.Kind == "dynamic" {
			g.Client = registered{} // forgotten there: the next login registers
		}
		if err := save(ctx, c.vault, key, g); err != nil {
			return old, err
		}
		return old, c.needLogin("has ended the login (" + said(refused.code) + ")")
	}
	if err != nil {
		return old, fmt.Errorf("renew the login to %s: %w", c.server, err)
	}
	if err := save(ctx, c.vault, key, renewed); err != nil {
		return old, fmt.Errorf("keep the renewed login to %s: %w", c.server, err)
	}
	return renewed, nil
}

// revoke has the authorization server take the tokens back (RFC 7009).
func (c *Client) revoke(ctx context.Context, g grant) error {
	if g.Revoke == "" {
		return fmt.Errorf("%w: %s has nobody to tell; the token there is valid until it expires", ErrNotRevoked, hostOf(g.Issuer))
	}
	var errs []error
	for _, t := range []struct{ token, hint string }{{g.Refresh, "refresh_token"}, {g.Access, "access_token"}} {
		if t.token == "" {
			continue
		}
		status, _, err := c.postForm(ctx, g.Revoke, g.Client, url.Values{"token": {t.token}, "token_type_hint": {t.hint}})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answers with HTTP status %d", hostOf(g.Revoke), status)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: the %s: %w", ErrNotRevoked, strings.ReplaceAll(t.hint, "_", " "), err))
		}
	}
	return errors.Join(errs...)
}
