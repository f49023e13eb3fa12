package oauth

import (
	"net/http"
	"slices"
	"strings"
)

// challenge is what a server said it wants, in the Bearer challenge of a
// WWW-Authenticate header (RFC 6750 section 3, RFC 9728 section 5.1).
type challenge struct {
	metadata string   // URL of the protected resource's metadata, or ""
	err      string   // error code, or ""
	scopes   []string // none if it named none
}

// challengeOf returns the Bearer challenge of an answer; the zero value if it has
// none.
func challengeOf(header http.Header) challenge {
	for _, value := range header.Values("WWW-Authenticate") {
		for _, c := range parseChallenges(value) {
			if !strings.EqualFold(c.scheme, "Bearer") {
				continue
			}
			return challenge{c.params["resource_metadata"], c.params["error"], scopeList(c.params["scope"])}
		}
	}
	return challenge{}
}

// schemeChallenge is one challenge of any scheme.
type schemeChallenge struct {
	scheme string
	params map[string]string // names in lower case; the first of a name counts
}

// parseChallenges reads a WWW-Authenticate header (RFC 9110 section 11.6.1). It is
// lenient: what it does not understand ends the challenge that it is in.
func parseChallenges(s string) []schemeChallenge {
	var all []schemeChallenge
	p := &headerParser{s: s}
	for {
		p.skip(" \t,")
		word := p.token()
		if word == "" {
			return all
		}
		if value, ok := p.value(); ok && len(all) > 0 {
			params := all[len(all)-1].params
			if name := strings.ToLower(word); params[name] == "" {
				params[name] = value
			}
			continue
		}
		all = append(all, schemeChallenge{word, map[string]string{}})
		p.token68()
	}
}

type headerParser struct {
	s string
	i int
}

func (p *headerParser) skip(set string) {
	for p.i < len(p.s) && strings.IndexByte(set, p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *headerParser) token() string {
	begin := p.i
	for p.i < len(p.s) && isTokenByte(p.s[p.i]) {
		p.i++
	}
	return p.s[begin:p.i]
}

// value reads what follows the name of a parameter: "=", then a token or a quoted
// string. It stays where it is if there is none.
func (p *headerParser) value() (string, bool) {
	begin := p.i
	p.skip(" \t")
	if p.i >= len(p.s) || p.s[p.i] != '=' {
		p.i = begin
		return "", false
	}
	p.i++
	p.skip(" \t")
	if p.i >= len(p.s) || p.s[p.i] != '"' {
		// Some write a URL without quotes.
		from := p.i
		for p.i < len(p.s) && strings.IndexByte(" \t,", p.s[p.i]) < 0 {
			p.i++
		}
		return p.s[from:p.i], true
	}
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return b.String(), true
		case c == '\\' && p.i+1 < len(p.s):
			p.i++
			b.WriteByte(p.s[p.i])
		default:
			b.WriteByte(c)
		}
	}
	return "", true // it does not end: nothing of it is believed
}

// token68 passes over the credentials of schemes such as Negotiate: all that there
// is up to the next comma.
func (p *headerParser) token68() {
	begin := p.i
	p.skip(" \t")
	from := p.i
	for p.i < len(p.s) && (isTokenByte(p.s[p.i]) || p.s[p.i] == '/') {
		p.i++
	}
	some := p.i > from
	p.skip("=")
	p.skip(" \t")
	if !some || p.i < len(p.s) && p.s[p.i] != ',' {
		p.i = begin // it was the name of a parameter
	}
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// scopeList splits a scope (RFC 6749 section 3.3) and leaves out what cannot stand
// in one.
func scopeList(s string) []string {
	return slices.DeleteFunc(strings.Fields(s), func(scope string) bool { return !validScope(scope) })
}

// validScope says whether s is a scope-token: %x21 / %x23-5B / %x5D-7E.
func validScope(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// union joins lists of scopes in their order, each scope once.
func union(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, scope := range list {
			if !slices.Contains(all, scope) {
				all = append(all, scope)
			}
		}
	}
	return all
}
