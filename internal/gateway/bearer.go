package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-run/berth/internal/home"
)

var (
	errNoBearer   = errors.New("the header Authorization: Bearer is missing")
	errTwoBearers = errors.New("there is more than one header Authorization")
	errNoScheme   = errors.New("the header Authorization is not of the scheme Bearer")
	errNotAToken  = errors.New("the header Authorization holds no token of Berth's")
)

// bearer returns the token of a request. "credentials = auth-scheme [ 1*SP ( token68
// / #auth-param ) ]", of which the scheme is "Bearer", in any case (RFC 9110 §11.4,
// RFC 6750 §2.1).
func bearer(h http.Header) (token string, err error) {
	values := h.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", errNoBearer
	case len(values) > 1:
		return "", errTwoBearers // two readers may choose two
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errNoScheme
	}
	if token = strings.TrimLeft(rest, " "); !home.IsToken(token) {
		return "", errNotAToken
	}
	return token, nil
}

// tokenInURL says whether somebody has put a token into a URL, ours or what must
// be one by its name: "Clients MUST NOT" do that, since URLs are kept in logs and
// histories.
func tokenInURL(u *url.URL) bool {
	for pair := range strings.FieldsFuncSeq(u.RawQuery, func(r rune) bool { return r == '&' || r == ';' }) {
		key, _, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(key); err == nil {
			key = k
		}
		switch strings.ToLower(key) {
		case "access_token", "token", "bearer", "authorization", "auth", "api_key", "apikey", "api-key":
			return true
		}
	}
	text := u.Path + " " + u.RawQuery
	if query, err := url.QueryUnescape(u.RawQuery); err == nil {
		text += " " + query
	}
	for {
		_, rest, found := strings.Cut(text, home.TokenPrefix)
		if !found {
			return false
		}
		if n := home.TokenLength - len(home.TokenPrefix); len(rest) >= n && home.IsToken(home.TokenPrefix+rest[:n]) {
			return true
		}
		text = rest
	}
}
