package berth

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Permission is one thing that a server may do:
//
//	env:NAME            env:*
//	network:HOST:PORT   network:*      (each of HOST and PORT may be *)
//	filesystem:read:PATH, filesystem:write:PATH   filesystem:*
//	exec:COMMAND        exec:*
//
// HOST is a name, *.SUFFIX for every name below SUFFIX, or an address. Two that are
// equal mean the same: what ParsePermission returns has one form for each meaning.
type Permission struct {
	// Kind is PermissionEnv or another of these.
	Kind string
	// Access is "read" or "write" of a path, else "".
	Access string
	// Target is a variable, a host, a path or a command; "*" is every one.
	Target string
	// Port is a port of a host, or "*"; "" of other permissions and of network:*.
	Port string
}

// The kinds of permissions.
const (
	PermissionEnv     = "env"
	PermissionNetwork = "network"
	PermissionFiles   = "filesystem"
	PermissionExec    = "exec"
)

// ParsePermission reads a permission. Its error wraps ErrBadConfig and says what is
// wrong with the entry.
func ParsePermission(entry string) (Permission, error) {
	kind, rest, _ := strings.Cut(entry, ":")
	p, ok, form := Permission{Kind: kind, Target: rest}, false, ""
	switch kind {
	case PermissionEnv:
		ok, form = rest == "*" || isVariable(rest), "env:NAME, of capital letters, digits and _, or env:*"
	case PermissionNetwork:
		if ok = rest == "*"; !ok {
			p.Target, p.Port, ok = endpoint(rest)
		}
		form = "network:HOST:PORT or network:*"
	case PermissionFiles:
		if ok = rest == "*"; !ok {
			p.Access, p.Target, ok = scope(rest)
		}
		form = "filesystem:read:PATH, filesystem:write:PATH or filesystem:*"
	case PermissionExec:
		ok, form = rest != "" && !strings.ContainsRune(rest, 0), "exec:COMMAND or exec:*"
	default:
		form = "one that begins with env:, network:, filesystem: or exec:"
	}
	if !ok {
		return Permission{}, fmt.Errorf("%w: %s is not a permission such as %s", ErrBadConfig, quoteShort(entry), form)
	}
	return p, nil
}

// String returns the permission as it is written.
func (p Permission) String() string {
	s := p.Kind + ":"
	if p.Access != "" {
		s += p.Access + ":"
	}
	s += p.Target
	if p.Port != "" {
		s += ":" + p.Port
	}
	return s
}

// Wildcard says whether the permission is one of those with a * that stands for
// everything: env:*, network:*, a host or a port of *, filesystem:*, exec:*.
func (p Permission) Wildcard() bool { return p.Target == "*" || p.Port == "*" }

// Covers says whether who has p may do all that q lets do.
func (p Permission) Covers(q Permission) bool {
	switch {
	case p == q:
		return true
	case p.Kind != q.Kind:
		return false
	}
	switch p.Kind {
	case PermissionNetwork:
		return p.Port == "" || q.Port != "" && (p.Port == "*" || p.Port == q.Port) && hostCovers(p.Target, q.Target)
	case PermissionFiles:
		return p.Access == "" || p.Access == q.Access && below(q.Target, p.Target)
	}
	return p.Target == "*"
}

// hostCovers is Covers of hosts.
func hostCovers(p, q string) bool {
	if suffix, ok := strings.CutPrefix(p, "*."); ok {
		return p == q || strings.HasSuffix(q, "."+suffix)
	}
	return p == "*" || p == q
}

// below says whether a clean path is dir or in it.
func below(name, dir string) bool {
	rest, ok := strings.CutPrefix(name, dir)
	return ok && (rest == "" || strings.HasSuffix(dir, string(filepath.Separator)) || rest[0] == filepath.Separator)
}

func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || c == '_' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return s != ""
}

// scope is the access and the path of a permission for files. A path of "~" or below
// is the user's home directory or what is in it; others than that and full ones say
// nothing to a server that may run anywhere, and are kept as they are.
func scope(s string) (access, name string, ok bool) {
	access, name, _ = strings.Cut(s, ":")
	if access != "read" && access != "write" || name == "" || strings.ContainsRune(name, 0) {
		return "", "", false
	}
	return access, filepath.Clean(name), true
}

// endpoint takes the last colon for the port's: an IPv6 address has others.
func endpoint(s string) (host, port string, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon <= 0 {
		return "", "", false
	}
	host, port = s[:colon], s[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); port != "*" && (err != nil || n == 0 || port[0] < '1' || port[0] > '9') {
		return "", "", false
	}
	host, ok = hostForm(host)
	return host, port, ok
}

// hostForm is the one form of a host, and whether it is one.
func hostForm(host string) (string, bool) {
	if host == "*" {
		return host, true
	}
	literal := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		literal = host[1 : len(host)-1]
	}
	if address, ok := addressForm(literal); ok {
		return address, true
	}
	below, wild := strings.CutPrefix(host, "*.")
	below = strings.ToLower(strings.TrimSuffix(below, "."))
	if below == "" || len(below) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(below, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	// What ends in a number is taken for an IPv4 address by parts of a system, and not
	// by all for the same one.
	last := below[strings.LastIndexByte(below, '.')+1:]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "", false
	}
	if wild {
		return "*." + below, true
	}
	return below, true
}

// Origins of a permission.
const (
	// OriginDeclared: the server's file says that it needs it.
	OriginDeclared = "declared"
	// OriginGranted: its user granted it.
	OriginGranted = "granted"
	// OriginGiven: its user gave the variable a value in the server's file.
	OriginGiven = "given"
	// OriginSetting: berth.sandbox-network says so.
	OriginSetting = "setting"
)

// EffectivePermission is a permission that a server has, and why.
type EffectivePermission struct {
	Permission
	Origin string
}

// EffectivePermissions returns what is declared or granted and not revoked: each
// once, with where it comes from, in the order of first mention. What is declared and
// granted is declared.
//
// A revocation takes back the very permission that it names, and none that is wider:
// of network:* nothing can be taken but the whole. Unrevoked finds those that a user
// may have meant otherwise.
func EffectivePermissions(declared []EffectivePermission, grant, revoke []Permission) []EffectivePermission {
	gone := map[Permission]bool{}
	for _, p := range revoke {
		gone[p] = true
	}
	all := append([]EffectivePermission{}, declared...)
	for _, p := range grant {
		all = append(all, EffectivePermission{p, OriginGranted})
	}
	var left []EffectivePermission
	for _, p := range all {
		if !gone[p.Permission] {
			gone[p.Permission] = true // the second time
			left = append(left, p)
		}
	}
	return left
}

// Unrevoked returns a permission of the effective set that covers one that was
// revoked, and whether there is one: the revocation then has not the effect that its
// words have. Of the environment it always has: env:* is every variable but those.
func Unrevoked(effective []EffectivePermission, revoked Permission) (by Permission, found bool) {
	if revoked.Kind == PermissionEnv {
		return Permission{}, false
	}
	for _, p := range effective {
		if p.Covers(revoked) {
			return p.Permission, true
		}
	}
	return Permission{}, false
}

// ExpandHome returns the permission with a path below "~" as one below dir.
func (p Permission) ExpandHome(dir string) Permission {
	if p.Kind != PermissionFiles || p.Access == "" || dir == "" {
		return p
	}
	if rest, ok := strings.CutPrefix(filepath.ToSlash(p.Target), "~/"); ok {
		p.Target = filepath.Join(dir, filepath.FromSlash(path.Clean(rest)))
	} else if p.Target == "~" {
		p.Target = filepath.Clean(dir)
	}
	return p
}
