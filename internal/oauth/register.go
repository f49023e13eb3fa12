package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/berth-run/berth"
)

// identify decides as whom to log in, in the order of MCP's "Client Registration
// Approaches": what the user was given beforehand, a client id metadata document,
// what the last login was as, dynamic registration.
func (c *Client) identify(ctx context.Context, m serverMetadata, last registered, redirect string, port int) (registered, error) {
	if c.login.ClientID != "" {
		r := registered{ID: c.login.ClientID, Secret: c.login.ClientSecret, Kind: "given", Port: c.login.Port}
		r.Method = method(m.Methods, r.Secret != "")
		return r, nil
	}
	if c.login.ClientURL != "" && m.MetadataIDs {
		if u, err := checkURL(c.login.ClientURL, false); err != nil || u.Path == "" || u.Path == "/" || u.Fragment != "" {
			return registered{}, errors.New("the client id metadata document is not at an https URL with a path")
		}
		return registered{ID: c.login.ClientURL, Method: "none", Kind: "document"}, nil
	}
	switch {
	case last.ID != "" && last.Kind == "given":
		return last, nil
	case last.ID != "" && last.Kind == "document" && m.MetadataIDs:
		return last, nil
	case last.ID != "" && last.Kind == "dynamic" && last.Port == port:
		return last, nil
	}
	if m.Registration == "" {
		return registered{}, berth.WithHint(fmt.Errorf("%s registers nobody by itself", hostOf(m.Issuer)),
			fmt.Sprintf("register Berth there, with a redirect URL of http://127.0.0.1/callback, and then: berth auth %s --client-id ID", c.server))
	}
	return c.register(ctx, m, redirect, port)
}

// method chooses how the client's secret is shown. Without one there is nothing to
// show. The first is the default of RFC 8414.
func method(supported []string, secret bool) string {
	switch {
	case !secret:
		return "none"
	case len(supported) == 0 || slices.Contains(supported, "client_secret_basic"):
		return "client_secret_basic"
	case slices.Contains(supported, "client_secret_post"):
		return "client_secret_post"
	}
	return "client_secret_basic"
}

// register registers this client (RFC 7591).
func (c *Client) register(ctx context.Context, m serverMetadata, redirect string, port int) (registered, error) {
	want := "none"
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, "none") {
		want = method(m.Methods, true)
	}
	body, err := json.Marshal(map[string]any{
		"client_name":                "Berth",
		"application_type":           "native", // or OpenID Connect's servers refuse http redirects
		"redirect_uris":              []string{redirect},
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": want,
	})
	if err != nil {
		return registered{}, err
	}
	status, answer, err := c.post(ctx, m.Registration, "application/json", string(body), nil)
	if err != nil {
		return registered{}, fmt.Errorf("register: %w", err)
	}
	var got struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
		Method string `json:"token_endpoint_auth_method"`
		Error  string `json:"error"`
		Why    string `json:"error_description"`
	}
	parsed := json.Unmarshal(answer, &got) == nil
	switch {
	case parsed && got.Error != "":
		return registered{}, fmt.Errorf("register: %w", &denied{got.Error, got.Why})
	case status != http.StatusCreated && status != http.StatusOK:
		return registered{}, fmt.Errorf("register: %s answers with HTTP status %d", hostOf(m.Registration), status)
	case !parsed || got.ID == "":
		return registered{}, fmt.Errorf("register: %s answers without a client id", hostOf(m.Registration))
	}
	r := registered{ID: got.ID, Secret: got.Secret, Method: got.Method, Kind: "dynamic", Port: port}
	switch {
	case r.Method == "client_secret_basic" || r.Method == "client_secret_post" || r.Method == "none":
	case r.Method == "":
		r.Method = method(m.Methods, r.Secret != "")
	default:
		return registered{}, fmt.Errorf("register: %s wants %q, which Berth cannot do", hostOf(m.Registration), said(r.Method))
	}
	return r, nil
}

// authorizeURL is where the user's browser is sent.
func authorizeURL(endpoint string, params url.Values) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("the authorization endpoint does not parse")
	}
	query := u.Query()
	for name, values := range params {
		query[name] = values
	}
	u.RawQuery, u.Fragment = query.Encode(), ""
	return u.String(), nil
}
