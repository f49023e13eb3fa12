// Package oauthtest is an MCP server that wants a login and its authorization
// server, for tests: one that rotates refresh tokens, and misbehaves as it is told.
package oauthtest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// World is a server that wants a login and its authorization server, which rotates
// refresh tokens and ends a login whose refresh token is used twice.
type World struct {
	*httptest.Server // both, at one address

	// Set before the first request, they make it something else.
	MCP                http.Handler           // what /mcp answers to who may ask; default nothing
	Resource, Metadata func(m map[string]any) // change the metadata
	Redirect           func(q url.Values)     // changes what the browser brings back

	Mu       sync.Mutex // guards the fields below
	Life     int        // of access tokens, in seconds; 0 says nothing
	Unknown  string     // a client that it has forgotten
	Wants    string     // the scope that a 401 names
	Needs    string     // the scope without which 403 is answered
	Requests []string   // methods and paths
	Asked    url.Values // the last authorization request
	Scopes   string     // of the token
	Access   string     // the tokens that are good
	Refresh  string
	Given    int // pairs of tokens
	Renewals int
	Reuses   int // of a refresh token
	Clients  int // that were registered
	Revoked  []string
	Secret   string // that a client showed last

	challenge, code string
}

// New starts one, which ends with the test.
func New(t testing.TB) *World {
	w := &World{Life: 3600, Wants: "read"}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *World) serve(out http.ResponseWriter, r *http.Request) {
	if w.answer(out, r) && w.MCP != nil {
		w.MCP.ServeHTTP(out, r)
	}
}

// answer answers all but a request to the server that may be made.
func (w *World) answer(out http.ResponseWriter, r *http.Request) (may bool) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Requests = append(w.Requests, r.Method+" "+r.URL.Path)
	answer := func(status int, v any) {
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(status)
		_ = json.NewEncoder(out).Encode(v)
	}
	if r.URL.Path != "/mcp" {
		_ = r.ParseForm()
	}
	switch r.URL.Path {
	case "/mcp":
		switch {
		case w.Access == "" || r.Header.Get("Authorization") != "Bearer "+w.Access:
			out.Header().Set("WWW-Authenticate", "Bearer")
			if w.Wants != "" {
				out.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer scope=%q", w.Wants))
			}
			out.WriteHeader(http.StatusUnauthorized)
		case w.Needs != "" && !strings.Contains(" "+w.Scopes+" ", " "+w.Needs+" "):
			out.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q`, w.Needs))
			out.WriteHeader(http.StatusForbidden)
		default:
			return true
		}
	case "/.well-known/oauth-protected-resource/mcp":
		m := map[string]any{"resource": w.URL + "/mcp", "authorization_servers": []string{w.URL}, "scopes_supported": []string{"everything"}}
		if w.Resource != nil {
			w.Resource(m)
		}
		answer(200, m)
	case "/.well-known/openid-configuration": // the second place to look
		m := map[string]any{
			"issuer": w.URL, "authorization_endpoint": w.URL + "/authorize?tenant=1", "token_endpoint": w.URL + "/token",
			"registration_endpoint": w.URL + "/register", "revocation_endpoint": w.URL + "/revoke",
			"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none", "client_secret_post"},
			"authorization_response_iss_parameter_supported": true,
		}
		if w.Metadata != nil {
			w.Metadata(m)
		}
		answer(200, m)
	case "/register":
		w.Clients++
		answer(201, map[string]any{"client_id": fmt.Sprintf("client-%d", w.Clients)})
	case "/authorize":
		w.Asked = r.Form
		w.challenge, w.Scopes = r.Form.Get("code_challenge"), r.Form.Get("scope")
		w.code = fmt.Sprintf("code-canary-%d", w.Given)
		q := url.Values{"code": {w.code}, "state": {r.Form.Get("state")}, "iss": {w.URL}}
		if w.Redirect != nil {
			w.Redirect(q)
		}
		http.Redirect(out, r, r.Form.Get("redirect_uri")+"?"+q.Encode(), http.StatusFound)
	case "/token":
		w.token(r.Form, answer)
	case "/revoke":
		w.Revoked = append(w.Revoked, r.Form.Get("token_type_hint"))
		if t := r.Form.Get("token"); t == w.Refresh || t == w.Access {
			w.Access, w.Refresh = "", ""
		}
	default:
		http.NotFound(out, r)
	}
	return false
}

func (w *World) token(form url.Values, answer func(int, any)) {
	w.Secret = form.Get("client_secret")
	deny := func(code, why string) { answer(400, map[string]any{"error": code, "error_description": why}) }
	if w.Unknown != "" && form.Get("client_id") == w.Unknown {
		deny("invalid_client", "")
		return
	}
	if form.Get("resource") != w.URL+"/mcp" {
		deny("invalid_target", "no resource")
		return
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		hash := sha256.Sum256([]byte(form.Get("code_verifier")))
		if w.code == "" || form.Get("code") != w.code || base64.RawURLEncoding.EncodeToString(hash[:]) != w.challenge || form.Get("redirect_uri") != w.Asked.Get("redirect_uri") {
			deny("invalid_grant", "the code "+form.Get("code")+" is bad")
			return
		}
		w.code = ""
	case "refresh_token":
		w.Renewals++
		if w.Refresh == "" || form.Get("refresh_token") != w.Refresh {
			w.Reuses++
			w.Access, w.Refresh = "", ""
			deny("invalid_grant", form.Get("refresh_token")+" was used before")
			return
		}
	default:
		deny("unsupported_grant_type", "")
		return
	}
	w.Given++
	w.Access, w.Refresh = fmt.Sprintf("access-canary-%d", w.Given), fmt.Sprintf("refresh-canary-%d", w.Given)
	m := map[string]any{"access_token": w.Access, "refresh_token": w.Refresh, "token_type": "bearer", "scope": w.Scopes}
	if w.Life > 0 {
		m["expires_in"] = w.Life
	}
	answer(200, m)
}

// Expire has the server accept the access token no more.
func (w *World) Expire() {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Access = "another"
}

// Browse is a browser whose user agrees to all.
func Browse(ctx context.Context, at string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(body), "You can close this page") {
		err = fmt.Errorf("the browser shows %d: %s", res.StatusCode, body)
	}
	return err
}
