package oauth

import (
	"errors"
	"net/url"
	"strings"

	"github.com/berth-run/berth/internal/guard"
)

// checkURL reads a URL that a server named, or the user. It has to be https, or
// http on this machine if local says that the server itself is there: whatever a
// far server names must not make Berth speak to what listens here.
func checkURL(s string, local bool) (*url.URL, error) {
	u, err := guard.CheckURL(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !local {
		return nil, errors.New("it is on this machine, and the server is not")
	}
	return u, nil
}

// isLocal says whether a server is on this machine, by its URL.
func isLocal(u *url.URL) bool {
	local := url.URL{Scheme: "http", Host: u.Host, Path: "/"}
	_, err := guard.CheckURL(local.String()) // http is for this machine alone
	return err == nil
}

// covers says whether a resource, as its metadata call it, is the server at u or a
// directory above it on the same host.
func covers(resource, u *url.URL) bool {
	if guard.Origin(resource) != guard.Origin(u) || resource.RawQuery != "" && resource.RawQuery != u.RawQuery {
		return false
	}
	above := strings.TrimSuffix(resource.EscapedPath(), "/")
	return above == strings.TrimSuffix(u.EscapedPath(), "/") || strings.HasPrefix(u.EscapedPath(), above+"/")
}

// resourceMetadataURLs are where the metadata of the protected resource at u may
// be, if no challenge says it: at its path, then at the root (RFC 9728 section 3.1;
// MCP 2025-11-25, "Protected Resource Metadata Discovery Requirements").
func resourceMetadataURLs(u *url.URL) []string {
	const wellKnown = "/.well-known/oauth-protected-resource"
	root := u.Scheme + "://" + u.Host + wellKnown
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if path == "" {
		return []string{root}
	}
	at := root + path
	if u.RawQuery != "" {
		at += "?" + u.RawQuery
	}
	return []string{at, root}
}

// serverMetadataURLs are where the metadata of an authorization server may be, in
// the order in which MCP wants them tried (2025-11-25, "Authorization Server
// Metadata Discovery"; RFC 8414 section 3.1, OpenID Connect Discovery section 4).
func serverMetadataURLs(issuer *url.URL) []string {
	root := issuer.Scheme + "://" + issuer.Host
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	urls := []string{
		root + "/.well-known/oauth-authorization-server" + path,
		root + "/.well-known/openid-configuration" + path,
	}
	if path != "" {
		urls = append(urls, root+path+"/.well-known/openid-configuration")
	}
	return urls
}
