package guard

import (
	"fmt"
	"net/http"
	"slices"
)

// maxRedirects is how many redirects are followed.
const maxRedirects = 5

// publicHeaders are those that any origin may see. All others may hold what is
// meant for one server: its token, its session, the user's own headers.
var publicHeaders = []string{
	"Accept", "Content-Type", "Content-Length", "User-Agent",
	"Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name",
}

// redirected decides about a redirect: it must not leave TLS, not lose the
// request (301, 302 and 303 would have a POST go on as a GET, 307 and 308 keep
// it), and not be the sixth. Once it has left the origin of the first request,
// only public headers go along, also if it comes back. Where it leads is
// checked as any URL and address are.
func (g *guard) redirected(next *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	refuse := func(why string) error {
		return &RefusedError{What: fmt.Sprintf("%s, to which %s redirects,", Show(next.URL), Show(last.URL)), Why: why}
	}
	switch {
	case len(via) > maxRedirects:
		return refuse(fmt.Sprintf("that would be more than %d redirects", maxRedirects))
	case next.Method != first.Method:
		return refuse(fmt.Sprintf("the %s would go on as a %s; use the new URL itself", first.Method, next.Method))
	case last.URL.Scheme == "https" && next.URL.Scheme != "https":
		return refuse("it is not https")
	}
	if err := g.checkURL(next.URL); err != nil {
		return err
	}
	home := Origin(first.URL)
	away := func(r *http.Request) bool { return Origin(r.URL) != home }
	if away(next) || slices.ContainsFunc(via, away) {
		for name := range next.Header {
			if !slices.Contains(publicHeaders, name) {
				next.Header.Del(name)
			}
		}
	}
	// Go adds where the request came from; a query can hold a secret.
	next.Header.Del("Referer")
	return nil
}
