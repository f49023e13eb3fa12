package merge

import "strings"

// URIs of resources pass as they are; see Owners. Where two servers have the same,
// that of the second is given an alias: an authority in the same scheme that says
// whose it is, before what it was.
//
//	file:///etc/motd      file://berth.NAME//etc/motd
//	ui://clock/face       ui://berth.NAME/clock/face
//	memo:today            memo:berth.NAME/today
const aliasMark = "berth."

// Alias is another URI, or template of URIs, for one of a server's, in the same
// scheme. Unalias returns what it was. One without a scheme has no alias: it is
// returned as it is.
func Alias(server, uri string) string {
	scheme, rest := split(uri)
	if scheme == "" {
		return uri
	}
	return scheme + aliasMark + server + "/" + rest
}

// Unalias returns whose URI an alias stands for, and that; ok is false if it is
// none.
func Unalias(alias string) (server, uri string, ok bool) {
	scheme, rest := split(alias)
	if rest, ok = strings.CutPrefix(rest, aliasMark); !ok || scheme == "" {
		return "", "", false
	}
	server, rest, ok = strings.Cut(rest, "/")
	if !ok || server == "" {
		return "", "", false
	}
	return server, scheme + rest, true
}

// split cuts a URI behind its scheme, and the slashes that announce an authority.
func split(uri string) (scheme, rest string) {
	name, after, ok := strings.Cut(uri, ":")
	if !ok || !isScheme(name) {
		return "", uri
	}
	if authority, ok := strings.CutPrefix(after, "//"); ok {
		return name + "://", authority
	}
	return name + ":", after
}

// isScheme: RFC 3986, section 3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.')) {
			return false
		}
	}
	return s != ""
}

// Owners says whose a URI is. The zero value knows none. It is not safe for
// concurrent use.
type Owners struct {
	listed map[string]string // by URI, of what servers list
	seen   map[string]string // of what they mentioned otherwise
}

// seenMost bounds the URIs that are remembered because a server mentioned them.
const seenMost = 20000

// List forgets what was listed, and has each server own the URIs that it lists now:
// of several that list one, the first. Each clash is told once, with the servers'
// names.
func (o *Owners) List(servers []string, lists [][]string, clash func(uri, first, second string)) {
	o.listed = map[string]string{}
	for i, server := range servers {
		for _, uri := range lists[i] {
			switch first, taken := o.listed[uri]; {
			case !taken:
				o.listed[uri] = server
			case first != server && clash != nil:
				clash(uri, first, server)
			}
		}
	}
}

// Publish returns what clients are to know a URI of a server by: the URI, unless it
// is another's.
func (o *Owners) Publish(server, uri string) string {
	owner := o.owner(uri)
	switch {
	case owner == server:
		return uri
	case owner != "":
		return Alias(server, uri)
	}
	if _, _, is := Unalias(uri); is {
		return Alias(server, uri) // else it would be taken for that of whom it names
	}
	if o.seen == nil {
		o.seen = map[string]string{}
	}
	if len(o.seen) >= seenMost {
		for other := range o.seen { // any: a client asks soon, or never
			delete(o.seen, other)
			break
		}
	}
	o.seen[uri] = server
	return uri
}

// Resolve returns whose a URI is that a client knows, and what the server calls it;
// ok is false if nobody has mentioned it.
func (o *Owners) Resolve(public string) (server, uri string, ok bool) {
	if server, uri, ok := Unalias(public); ok {
		return server, uri, true
	}
	server = o.owner(public)
	return server, public, server != ""
}

func (o *Owners) owner(uri string) string {
	if server, ok := o.listed[uri]; ok {
		return server
	}
	return o.seen[uri]
}
