package secret

import (
	"fmt"
	"strings"

	"github.com/berth-run/berth"
)

// Scheme begins a reference.
const Scheme = "secret://"

// Ref names a stored secret: one key of one server.
type Ref struct {
	Server, Key string
}

// String returns "secret://SERVER/KEY".
func (r Ref) String() string { return Scheme + r.Server + "/" + r.Key }

// IsRef says whether a value is meant as a reference, well formed or not.
func IsRef(value string) bool { return strings.HasPrefix(value, Scheme) }

// ParseRef reads "secret://SERVER/KEY". The key has 1 to 128 letters, digits,
// '.', '_' and '-'. The error wraps berth.ErrBadConfig; it does not quote a
// value that is no reference, for that may be the secret itself.
func ParseRef(value string) (Ref, error) {
	bad := func(why string) error {
		return berth.WithHint(fmt.Errorf("%w: not a reference to a secret: %s", berth.ErrBadConfig, why), "write secret://SERVER/KEY")
	}
	rest, ok := strings.CutPrefix(value, Scheme)
	if !ok {
		return Ref{}, bad("it does not begin with " + Scheme)
	}
	server, key, ok := strings.Cut(rest, "/")
	if !ok {
		return Ref{}, bad("no key after the server")
	}
	if berth.CheckName(server) != nil {
		return Ref{}, bad("what stands after " + Scheme + " is not a server's name")
	}
	if key == "" || len(key) > 128 {
		return Ref{}, bad("the key must have 1 to 128 characters")
	}
	for i := range len(key) {
		if !keyByte(key[i]) {
			return Ref{}, bad("the key may hold only letters, digits, '.', '_' and '-'")
		}
	}
	return Ref{server, key}, nil
}
