package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/vault"
)

// What is kept: for each server of the home, what it is logged in to, and for each
// authorization server and resource the grant. Two servers of one URL share a
// grant; nothing of one issuer is ever sent to another.
const (
	serverPrefix = "oauth/server/"
	grantPrefix  = "oauth/grant/"
)

// login is what is kept of a server.
type login struct {
	URL      string `json:"url"` // another one is another server
	Issuer   string `json:"issuer,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Wants are scopes that the server asked for and that the next login has to
	// bring.
	Wants []string `json:"wants,omitempty"`
}

// registered is how an authorization server knows this client.
type registered struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"`
	// Method is how the secret is shown: "none", "client_secret_basic" or
	// "client_secret_post".
	Method string `json:"method"`
	// Kind is "given" by the user, "document" (CIMD) or "dynamic".
	Kind string `json:"kind"`
	// Port is that of the redirect URL that was registered; 0 if it may be any.
	Port int `json:"port,omitempty"`
}

// grant is what an authorization server gave for a resource.
type grant struct {
	Issuer   string     `json:"issuer"`
	Resource string     `json:"resource"`
	Token    string     `json:"tokenEndpoint"`
	Revoke   string     `json:"revocationEndpoint,omitempty"`
	Client   registered `json:"client"`
	Scopes   []string   `json:"scopes,omitempty"` // granted, or asked for if it did not say
	Access   string     `json:"access,omitempty"` // "" once it is known to be worth nothing
	Refresh  string     `json:"refresh,omitempty"`
	Given    time.Time  `json:"given,omitzero"`
	Expires  time.Time  `json:"expires,omitzero"` // zero if it did not say
}

// soon says whether the access token is to be renewed: in the last half minute of
// its life, or in the last tenth if it lives shorter than that is long.
func (g *grant) soon(now time.Time) bool {
	return !g.Expires.IsZero() && now.After(g.Expires.Add(-min(renewBefore, g.Expires.Sub(g.Given)/10)))
}

// renewBefore is how long before its end an access token is renewed.
const renewBefore = 30 * time.Second

// grantKey is where the grant of an issuer for a resource is.
func grantKey(issuer, resource string) string { return grantPrefix + issuer + " " + resource }

// lockWord names the lock under which a grant is renewed.
func lockWord(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "oauth-" + hex.EncodeToString(sum[:8])
}

// load reads a record; found is false if there is none.
func load(v *vault.Vault, key string, record any) (found bool, err error) {
	data, err := v.Get(key)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if json.Unmarshal(data, record) != nil {
		return false, errors.New("a login in the secret store is of another version of Berth")
	}
	return true, nil
}

func save(ctx context.Context, v *vault.Vault, key string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return v.Set(ctx, key, data)
}

// Status is what is known of a server's login. It holds no secret.
type Status struct {
	Server   string   `json:"server"`
	URL      string   `json:"url"`
	Issuer   string   `json:"issuer,omitempty"`
	Resource string   `json:"resource,omitempty"`
	ClientID string   `json:"clientId,omitempty"`
	Scopes   []string `json:"scopes"`
	// State is "logged-in", "expired" (it cannot be renewed), "wants-more" (the
	// server asked for Wants) or "logged-out".
	State   string     `json:"state"`
	Wants   []string   `json:"wants,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // of the access token
	Renewed bool       `json:"renewed"`           // without the user, as long as the server agrees
}

// List returns the logins of a home, by server.
func List(v *vault.Vault) ([]Status, error) {
	keys, err := v.List(serverPrefix)
	if err != nil {
		return nil, err
	}
	list := []Status{}
	for _, key := range keys {
		var l login
		if found, err := load(v, key, &l); err != nil || !found {
			return nil, err
		}
		s, err := status(v, strings.TrimPrefix(key, serverPrefix), l)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// status is what is known of a server's login.
func status(v *vault.Vault, server string, l login) (Status, error) {
	s := Status{Server: server, URL: shown(l.URL), Issuer: l.Issuer, Resource: shown(l.Resource), State: "logged-out", Scopes: []string{}}
	var g grant
	found, err := load(v, grantKey(l.Issuer, l.Resource), &g)
	if err != nil {
		return s, err
	}
	if found && g.Access != "" {
		s.ClientID, s.Scopes, s.Renewed, s.State = g.Client.ID, append(s.Scopes, g.Scopes...), g.Refresh != "", "logged-in"
		if !g.Expires.IsZero() {
			s.Expires = &g.Expires
		}
		switch s.Wants = missing(l.Wants, g.Scopes); {
		case g.Refresh == "" && !g.Expires.IsZero() && time.Now().After(g.Expires):
			s.State = "expired"
		case len(s.Wants) > 0:
			s.State = "wants-more"
		}
	}
	return s, nil
}

// Forget deletes what is kept of a server that is removed, and its grant if no
// other server uses it. Nobody is asked to revoke anything: Logout does.
func Forget(ctx context.Context, v *vault.Vault, server string) error {
	servers, err := v.List(serverPrefix)
	if err != nil {
		return err
	}
	var gone string
	used := map[string]int{} // servers, by grant
	for _, key := range servers {
		var l login
		if _, err := load(v, key, &l); err != nil {
			return err
		}
		used[grantKey(l.Issuer, l.Resource)]++
		if key == serverPrefix+server {
			gone = grantKey(l.Issuer, l.Resource)
		}
	}
	switch used[gone] {
	case 0:
		return nil // there is no login
	case 1:
		return v.Delete(ctx, serverPrefix+server, gone)
	}
	return v.Delete(ctx, serverPrefix+server)
}

// shown is a URL without a query, which may be a secret.
func shown(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return guard.Show(u)
}

// missing are the scopes of want that are not in have.
func missing(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(scope string) bool { return slices.Contains(have, scope) })
}
