package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// resourceMetadata is what is used of a protected resource's metadata (RFC 9728
// section 2).
type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// serverMetadata is what is used of an authorization server's (RFC 8414 section 2,
// RFC 9207 section 3, CIMD section 5).
type serverMetadata struct {
	Issuer        string   `json:"issuer"`
	Authorize     string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	Scopes        []string `json:"scopes_supported"`
	ResponseIss   bool     `json:"authorization_response_iss_parameter_supported"`
	MetadataIDs   bool     `json:"client_id_metadata_document_supported"`
	ResponseTypes []string `json:"response_types_supported"`
}

// probe asks the server without a token and returns the challenge that it answers
// with. The request is one that changes nothing, and that no server has to
// understand.
func (c *Client) probe(ctx context.Context) (challenge, error) {
	const ping = `{"jsonrpc":"2.0","id":"berth-auth","method":"ping"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), strings.NewReader(ping))
	if err != nil {
		return challenge{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	client := *c.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err
		}
		return challenge{}, fmt.Errorf("ask %s what it wants: %w", c.url.Host, err)
	}
	defer res.Body.Close() // unread: it may be a stream without an end
	if res.StatusCode != http.StatusUnauthorized {
		return challenge{}, nil
	}
	return challengeOf(res.Header), nil
}

// findResource returns the server's metadata as a protected resource, and its name
// for the authorization server.
func (c *Client) findResource(ctx context.Context, ch challenge) (resourceMetadata, error) {
	urls := resourceMetadataURLs(c.url)
	if ch.metadata != "" {
		if _, err := checkURL(ch.metadata, c.local); err != nil {
			return resourceMetadata{}, fmt.Errorf("the server names a URL for its metadata that is not followed: %w", err)
		}
		urls = slices.Insert(urls, 0, ch.metadata)
	}
	for _, at := range urls {
		var m resourceMetadata
		err := c.getJSON(ctx, at, &m)
		if errors.Is(err, errNotThere) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("read the metadata of the server: %w", err)
		}
		// RFC 9728 section 3.3: metadata of another resource MUST NOT be used.
		r, err := checkURL(m.Resource, c.local)
		if err != nil || !covers(r, c.url) {
			return m, fmt.Errorf("the metadata of the server are those of another resource, %q", said(m.Resource))
		}
		if len(m.Servers) == 0 {
			return m, errors.New("the metadata of the server name no authorization server")
		}
		return m, nil
	}
	// A server of 2025-03-26 has none: its host is the authorization server.
	return resourceMetadata{Resource: c.url.String(), Servers: []string{c.url.Scheme + "://" + c.url.Host}}, nil
}

// findServer returns the metadata of an authorization server, which are those of
// the issuer that was asked for and have all that Berth needs.
func (c *Client) findServer(ctx context.Context, issuer string) (serverMetadata, error) {
	u, err := checkURL(issuer, c.local)
	if err != nil {
		return serverMetadata{}, fmt.Errorf("the authorization server has a URL that is not followed: %w", err)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return serverMetadata{}, errors.New("the authorization server's name has a query or a fragment")
	}
	for _, at := range serverMetadataURLs(u) {
		var m serverMetadata
		err := c.getJSON(ctx, at, &m)
		if errors.Is(err, errNotThere) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("read the metadata of the authorization server: %w", err)
		}
		if err := c.checkServer(m, issuer); err != nil {
			return m, err
		}
		return m, nil
	}
	return serverMetadata{}, berth.WithHint(fmt.Errorf("%s says nothing of an authorization server", u.Host),
		"if the server wants a token of another kind, add it with a header: berth add NAME --url URL --header …")
}

func (c *Client) checkServer(m serverMetadata, issuer string) error {
	// RFC 8414 section 3.3 wants the same characters. A slash at the end of a name
	// without a path is one that many libraries add to either; it is the same host.
	if m.Issuer != issuer && !(strings.Count(issuer, "/") <= 3 && strings.TrimSuffix(m.Issuer, "/") == strings.TrimSuffix(issuer, "/")) {
		return fmt.Errorf("the metadata of the authorization server are those of another, %q", said(m.Issuer))
	}
	for _, endpoint := range []struct {
		what, url string
		needed    bool
	}{
		{"authorization", m.Authorize, true}, {"token", m.Token, true}, {"registration", m.Registration, false}, {"revocation", m.Revocation, false},
	} {
		if endpoint.url == "" && !endpoint.needed {
			continue
		}
		if _, err := checkURL(endpoint.url, c.local); err != nil {
			return fmt.Errorf("the %s endpoint of the authorization server cannot be used: %w", endpoint.what, err)
		}
	}
	// MCP, "Authorization Code Protection": if it is absent, clients MUST refuse to
	// proceed.
	if !slices.Contains(m.Challenges, "S256") {
		return errors.New("the authorization server does not say that it supports PKCE with S256, without which a login can be stolen")
	}
	if len(m.ResponseTypes) > 0 && !slices.Contains(m.ResponseTypes, "code") {
		return errors.New("the authorization server has no authorization codes")
	}
	return nil
}
