package oauth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestChallenges(t *testing.T) {
	for header, want := range map[string]string{
		``:       "",
		`Bearer`: "|Bearer",
		`Bearer realm="a, b", scope="x y", error=invalid_token`:      "|Bearer error=invalid_token realm=a, b scope=x y",
		`Bearer resource_metadata="https://a/.well-known/x?y=\"z\""`: `|Bearer resource_metadata=https://a/.well-known/x?y="z"`,
		`Bearer resource_metadata=https://a/b`:                       "|Bearer resource_metadata=https://a/b",
		`Negotiate YWJj==, Bearer scope="x"`:                         "|Negotiate|Bearer scope=x",
		`Negotiate, bearer scope = "x" ,error = "y"`:                 "|Negotiate|bearer error=y scope=x",
		`Basic realm="r", Bearer SCOPE="x", Digest nonce="n"`:        "|Basic realm=r|Bearer scope=x|Digest nonce=n",
		`Bearer scope="first", scope="second"`:                       "|Bearer scope=first",
		`Bearer scope="it never ends`:                                "|Bearer scope=",
		`"Bearer"`:                                                   "",
		`x=y`:                                                        "|x",
	} {
		got := ""
		for _, c := range parseChallenges(header) {
			got += "|" + c.scheme
			for _, name := range []string{"error", "nonce", "realm", "resource_metadata", "scope"} {
				if value, ok := c.params[name]; ok {
					got += fmt.Sprintf(" %s=%s", name, value)
				}
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	header := http.Header{}
	header.Add("WWW-Authenticate", `Basic realm="x", scope="basic"`)
	header.Add("WWW-Authenticate", `Bearer scope="a b", error="insufficient_scope"`)
	if c := challengeOf(header); c.err != "insufficient_scope" || !slices.Equal(c.scopes, []string{"a", "b"}) {
		t.Errorf("got %+v", c)
	}
}

// Whatever the header, the parser ends, and what it found is in the header.
func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="a\", b", scope="x y"`)
	f.Add(`Negotiate YWJj==, Bearer error=x,,= "`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges(s) {
			if c.scheme == "" || !strings.Contains(s, c.scheme) {
				t.Errorf("the scheme %q is not in %q", c.scheme, s)
			}
			for name, value := range c.params {
				if name == "" || len(value) > len(s) {
					t.Errorf("the parameter %q is not in %q", name, s)
				}
			}
		}
		for _, scope := range challengeOf(http.Header{"Www-Authenticate": {s}}).scopes {
			if !validScope(scope) {
				t.Errorf("%q passes for a scope", scope)
			}
		}
	})
}

func TestWhereMetadataAre(t *testing.T) {
	for _, c := range []struct {
		of   func(*url.URL) []string
		url  string
		want string
	}{
		{resourceMetadataURLs, "https://h", "https://h/.well-known/oauth-protected-resource"},
		{resourceMetadataURLs, "https://h/", "https://h/.well-known/oauth-protected-resource"},
		{resourceMetadataURLs, "https://h:8/a/mcp", "https://h:8/.well-known/oauth-protected-resource/a/mcp https://h:8/.well-known/oauth-protected-resource"},
		{resourceMetadataURLs, "https://h/a%2Fb/?q=1", "https://h/.well-known/oauth-protected-resource/a%2Fb?q=1 https://h/.well-known/oauth-protected-resource"},
		{serverMetadataURLs, "https://h", "https://h/.well-known/oauth-authorization-server https://h/.well-known/openid-configuration"},
		{serverMetadataURLs, "https://h/t1/", "https://h/.well-known/oauth-authorization-server/t1 https://h/.well-known/openid-configuration/t1 https://h/t1/.well-known/openid-configuration"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.of(u), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.url, got, c.want)
		}
	}
}

func TestWhichURLsAreUsed(t *testing.T) {
	for _, c := range []struct {
		url        string
		far, local bool
	}{
		{"https://h/x", true, true},
		{"HTTPS://h/x", true, true},
		{"http://h/x", false, false},
		{"http://127.0.0.1:8/x", false, true},
		{"http://[::1]/x", false, true},
		{"http://[::ffff:127.0.0.1]/x", false, true},
		{"http://LocalHost/x", false, true},
		{"http://a.localhost/x", false, false},
		{"https://h/x#y", false, false},
		{"http://0x7f000001/x", false, false},
		{"http://127.0.0.1.evil.example/x", false, false},
		{"http://localhost@evil.example/x", false, false},
		{"https://user:pass@h/x", false, false},
		{"javascript:alert(1)", false, false},
		{"file:///etc/passwd", false, false},
		{"https:h", false, false},
		{"https:///x", false, false},
		{"/x", false, false},
		{"", false, false},
		{"https://h/" + strings.Repeat("x", 8<<10), false, false},
		{"ht tps://h", false, false},
	} {
		for local, want := range map[bool]bool{false: c.far, true: c.local} {
			if _, err := checkURL(c.url, local); (err == nil) != want {
				t.Errorf("%.60s, named by a server on this machine %v: %v", c.url, local, err)
			}
		}
	}
}

func TestWhichResourceIsTheServers(t *testing.T) {
	for _, c := range []struct {
		resource, server string
		want             bool
	}{
		{"https://h/mcp", "https://h/mcp", true},
		{"https://h/mcp/", "https://h/mcp", true},
		{"https://h:443", "https://H/mcp", true},
		{"https://h/", "https://h/mcp", true},
		{"https://h/m", "https://h/mcp", false},
		{"https://h/mcp/x", "https://h/mcp", false},
		{"https://h:8/mcp", "https://h/mcp", false},
		{"http://h/mcp", "https://h/mcp", false},
		{"https://evil/mcp", "https://h/mcp", false},
		{"https://h/mcp?a=1", "https://h/mcp", false},
		{"https://h/a", "https://h/a%2Fmcp", false},
	} {
		r, _ := url.Parse(c.resource)
		u, _ := url.Parse(c.server)
		if got := covers(r, u); got != c.want {
			t.Errorf("%s for %s: %v", c.resource, c.server, got)
		}
	}
}

func TestAnswers(t *testing.T) {
	for query, want := range map[string]string{
		"code=c&state=s&iss=i":            "c i  ",
		"error=access_denied&state=s":     "  access_denied ",
		"code=c":                          "error",
		"code=c&state=x":                  "error",
		"code=c&state=s&state=s":          "error",
		"code=c&code=d&state=s":           "error",
		"code=c&state=s&iss=i&iss=j":      "error",
		"state=s":                         "error",
		"code=c&state=s;x=%zz":            "error",
		"code=c&state=s&unknown=is&of=no": "c   ",
	} {
		a, err := parseAnswer(query, "s")
		got := fmt.Sprintf("%s %s %s %s", a.code, a.iss, a.err, a.why)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}
