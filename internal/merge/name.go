// Package merge makes what many MCP servers offer the offer of one: what their
// tools and prompts are called among those of the others, whose a resource is, and
// what they say of themselves together. It is pure: bytes in, bytes out.
package merge

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

const (
	// NameMost is how long a name may be if nothing else is said: clients add a
	// prefix of their own, and model providers allow 64 characters.
	NameMost = 48

	prefixMost = 20 // as berth.CheckPrefix has it
	sumLen     = 6
)

// Prefix is what the names of a server's tools begin with if nothing else is said.
// It has no underscore, so that the first one of a name ends it: the names of one
// server never depend on those of another.
func Prefix(server string) string {
	clean := strings.Map(func(c rune) rune {
		if c == '.' || c == '_' {
			return '-'
		}
		return c
	}, server)
	if clean == server && len(server) <= prefixMost {
		return server
	}
	const sum = 4
	return strings.Trim(clean[:min(len(clean), prefixMost-1-sum)], "-") + "-" + digest(sum, server)
}

// Owner is the prefix of a name that Name returned, "" if it has none.
func Owner(name string) (prefix string) {
	prefix, _, ok := strings.Cut(name, "_")
	if !ok {
		return ""
	}
	return prefix
}

// Name is what a tool or a prompt of a server is called among those of others: its
// name after the server's prefix and an underscore. If that is longer than most, or
// has other characters than [A-Za-z0-9_-], it is cut, and what makes it unique is
// at its end: an underscore and 6 characters of a digest of the server and the name.
func Name(server, prefix, name string, most int) string {
	if full := prefix + "_" + name; len(full) <= most && name != "" && plain(name) {
		return full
	}
	return summed(server, prefix, name, most)
}

func summed(server, prefix, name string, most int) string {
	clean := strings.Map(func(c rune) rune {
		if c < 0x80 && plainByte(byte(c)) {
			return c
		}
		return '_'
	}, name)
	room := most - len(prefix) - 1 - 1 - sumLen
	return prefix + "_" + clean[:max(min(len(clean), room), 0)] + "_" + digest(sumLen, server, name)
}

// Names are the names of all tools or prompts of one server, in their order: each is
// what Name returns, but that of two which would be the same the second is told
// apart as a long one is. A name that comes twice is "" the second time.
func Names(server, prefix string, names []string, most int) []string {
	public := make([]string, len(names))
	taken, seen := map[string]bool{}, map[string]bool{}
	for i, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		p := Name(server, prefix, name, most)
		if taken[p] {
			p = summed(server, prefix, name, most)
		}
		if taken[p] {
			continue // nobody finds two digests that are the same by chance
		}
		taken[p], public[i] = true, p
	}
	return public
}

func plain(name string) bool {
	for i := range len(name) {
		if !plainByte(name[i]) {
			return false
		}
	}
	return true
}

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// digest is n base32 characters, in lower case, that stand for these texts.
func digest(n int, texts ...string) string {
	sum := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(sum, "%d:%s", len(text), text)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum.Sum(nil)))[:n]
}

// MayBeSum says whether a name may be one that was cut, or told apart by a digest.
func MayBeSum(name string) bool {
	at := len(name) - sumLen - 1
	if at < 0 || name[at] != '_' {
		return false
	}
	for _, c := range []byte(name[at+1:]) {
		if !(c >= 'a' && c <= 'z' || c >= '2' && c <= '7') {
			return false
		}
	}
	return true
}
