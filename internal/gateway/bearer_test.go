package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/home"
)

// aToken has the form of a token.
const aToken = home.TokenPrefix + "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		err    error
	}{
		{"a token", []string{"Bearer " + aToken}, nil},
		{"in other letters", []string{"bEARER " + aToken}, nil},
		{"after blanks", []string{"Bearer   " + aToken}, nil},
		{"nothing", nil, errNoBearer},
		{"an empty header", []string{""}, errNoScheme},
		{"no token", []string{"Bearer"}, errNotAToken},
		{"a blank for a token", []string{"Bearer "}, errNotAToken},
		{"no scheme", []string{aToken}, errNoScheme},
		{"another scheme", []string{"Basic " + aToken}, errNoScheme},
		{"a scheme that begins alike", []string{"BearerX " + aToken}, errNoScheme},
		{"a tab", []string{"Bearer\t" + aToken}, errNoScheme},
		{"a tab and a blank", []string{"Bearer \t" + aToken}, errNotAToken},
		{"the scheme twice", []string{"Bearer Bearer " + aToken}, errNotAToken},
		{"two tokens", []string{"Bearer " + aToken + " " + aToken}, errNotAToken},
		{"a list", []string{"Bearer " + aToken + ", Bearer " + aToken}, errNotAToken},
		{"a comma", []string{"Bearer " + aToken + ","}, errNotAToken},
		{"quotes", []string{`Bearer "` + aToken + `"`}, errNotAToken},
		{"a parameter", []string{"Bearer token=" + aToken}, errNotAToken},
		{"a blank behind", []string{"Bearer " + aToken + " "}, errNotAToken},
		{"a zero byte", []string{"Bearer " + aToken[:len(aToken)-1] + "\x00"}, errNotAToken},
		{"one letter less", []string{"Bearer " + aToken[:len(aToken)-1]}, errNotAToken},
		{"one letter more", []string{"Bearer " + aToken + "a"}, errNotAToken},
		{"in capitals", []string{"Bearer " + strings.ToUpper(aToken)}, errNotAToken},
		{"somebody else's", []string{"Bearer ghp_" + aToken[6:]}, errNotAToken},
		{"two headers", []string{"Bearer " + aToken, "Bearer " + aToken}, errTwoBearers},
		{"two headers, one empty", []string{"Bearer " + aToken, ""}, errTwoBearers},
	} {
		token, err := bearer(http.Header{"Authorization": c.values})
		if err != c.err || (token == aToken) != (c.err == nil) {
			t.Errorf("%s: %q, %v", c.name, token, err)
		}
	}
}

func TestTokenInURL(t *testing.T) {
	for raw, want := range map[string]bool{
		"/servers/x/mcp":                                             false,
		"/servers/x/messages?sessionId=0123":                         false,
		"/servers/berth_/mcp?x=berth_&y=berth_abc":                   false,
		"/servers/x/mcp?" + aToken:                                   true,
		"/servers/x/mcp?a=b&c=" + aToken:                             true,
		"/servers/x/mcp?c=berth%5f" + aToken[6:]:                     true,
		"/servers/x/mcp?%zz=1&c=" + aToken:                           true,
		"/servers/x/mcp?c=berth_" + aToken:                           true,
		"/servers/" + aToken + "/mcp":                                true,
		"/servers/x/mcp?access_token=ghp_x":                          true,
		"/servers/x/mcp?a=b;TOKEN=1":                                 true,
		"/servers/x/mcp?to%6ben":                                     true,
		"/servers/x/mcp?Authorization=Bearer+x":                      true,
		"/servers/x/mcp?tokens=1":                                    false,
		"/servers/x/mcp?c=" + strings.ToUpper(aToken):                false,
		"/servers/x/mcp?c=" + aToken[:len(aToken)-1]:                 false,
		"/servers/x/mcp?c=" + aToken[:len(aToken)-1] + "&d=" + "abc": false,
	} {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := tokenInURL(u); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}

// FuzzBearer: whatever a client sends, what is taken for its token is the whole of
// what it says after the scheme, and has a token's form.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer " + aToken, "bearer  " + aToken, "Bearer Bearer " + aToken, "Basic eDp5", "Bearer\t" + aToken, "", aToken} {
		f.Add(seed, "")
	}
	f.Add("Bearer "+aToken, "Bearer "+aToken)
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Authorization": {first}}
		token, err := bearer(h)
		if (token != "") != (err == nil) {
			t.Fatalf("%q, %v", token, err)
		}
		if token != "" && (len(token) != home.TokenLength || !strings.HasPrefix(token, home.TokenPrefix) ||
			!strings.EqualFold(strings.ReplaceAll(strings.TrimSuffix(first, token), " ", ""), "bearer")) {
			t.Fatalf("of %q %q is taken for a token", first, token)
		}
		h.Add("Authorization", second)
		if token, err := bearer(h); token != "" || err == nil {
			t.Fatalf("of two headers %q is taken", token)
		}
		_ = tokenInURL(&url.URL{Path: first, RawQuery: second}) // it ends
	})
}
