package policy

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// Tools says which tools may be called. The entries of its lists of tools are what
// berth.CheckToolPattern takes. The zero value allows all.
type Tools struct {
	// Servers are those whose tools may be called; with none, all servers'.
	Servers []string
	// Allow are the tools that may be called; with none, all may.
	Allow []string
	// Deny are tools that may not be called, whatever Allow says.
	Deny []string
	// ReadOnly denies each tool whose server does not say that it only reads.
	ReadOnly bool
}

// Annotations are what a server says of a tool that matters here. They are
// hints, and a server that lies is not found out: a list that goes by them keeps
// a model from an accident, not a server from doing harm. The zero value is what
// the specification has for a tool without annotations: it writes, and may
// destroy.
type Annotations struct {
	// ReadOnly is readOnlyHint, false by default.
	ReadOnly bool
	// Additive is true if destructiveHint, true by default, is false.
	Additive bool
}

// ParseAnnotations reads the member annotations of a tool, nil if it has none.
// What cannot be read, or is of another type, is as if it were not there, which
// allows least.
func ParseAnnotations(raw json.RawMessage) Annotations {
	// A map, since a struct would take READONLYHINT for readOnlyHint.
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return Annotations{}
	}
	is := func(member, value string) bool { return string(members[member]) == value }
	return Annotations{ReadOnly: is("readOnlyHint", "true"), Additive: is("destructiveHint", "false")}
}

// Destructive is what the word @destructive stands for.
func (a Annotations) Destructive() bool { return !a.ReadOnly && !a.Additive }

// Check returns an error that wraps berth.ErrBadConfig and names the field and
// the entry if one of the lists holds what is no pattern.
func (t Tools) Check() error {
	for _, list := range []struct {
		field   string
		entries []string
	}{{"allow-tools", t.Allow}, {"deny-tools", t.Deny}} {
		for _, entry := range list.entries {
			if err := berth.CheckToolPattern(entry); err != nil {
				return fmt.Errorf("%s: %w", list.field, err)
			}
		}
	}
	return nil
}

// Allows reports whether a tool of a server may be called, and why not; the tool
// by the server's own name for it. What denies, wins. An entry that is no
// pattern, which Check would have found, allows nothing, and in Deny denies all.
func (t Tools) Allows(server, tool string, a Annotations) (ok bool, why string) {
	if !t.HasServer(server) {
		return false, fmt.Sprintf("%q is none of its servers", server)
	}
	for _, entry := range t.Deny {
		if !matches(entry, server, tool, a, true) {
			continue
		}
		return false, fmt.Sprintf("deny-tools has %q", entry)
	}
	if t.ReadOnly && !a.ReadOnly {
		return false, "only tools that say of themselves that they read and change nothing are allowed"
	}
	for _, entry := range t.Allow {
		if matches(entry, server, tool, a, false) {
			return true, ""
		}
	}
	if len(t.Allow) > 0 {
		return false, "allow-tools does not have it"
	}
	return true, ""
}

// HasServer reports whether a server is one whose tools may be called, as far as
// no list of tools says otherwise.
func (t Tools) HasServer(server string) bool {
	return len(t.Servers) == 0 || slices.Contains(t.Servers, server)
}

// matches reports whether an entry means a tool. In doubt it says what denies: an
// entry that cannot be read; one that differs by the case of letters alone, which
// some servers overlook; and one such as "a/b", which is the tool b of the server a,
// and to be denied also a tool that calls itself a/b.
func matches(entry, server, tool string, a Annotations, denies bool) bool {
	if berth.CheckToolPattern(entry) != nil {
		return denies
	}
	of, name, split := strings.Cut(entry, "/")
	if !split {
		return names(entry, tool, a, denies)
	}
	if denies && glob(entry, tool, denies) {
		return true
	}
	return glob(of, server, denies) && names(name, tool, a, denies)
}

func names(pattern, tool string, a Annotations, denies bool) bool {
	switch pattern {
	case berth.ToolsReadOnly:
		return a.ReadOnly
	case berth.ToolsDestructive:
		return a.Destructive()
	}
	return glob(pattern, tool, denies)
}

// glob is path.Match of a name, in which a slash is a letter like any other: a
// tool that has one in its name is not to slip through a *.
func glob(pattern, name string, anyCase bool) bool {
	pattern, name = strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00")
	ok, err := path.Match(pattern, name)
	if !ok && err == nil && anyCase {
		ok, err = path.Match(strings.ToLower(pattern), strings.ToLower(name))
	}
	return ok && err == nil
}

// Rules are the lists that bear on one call: the server's, the profile's and the
// client's. All of them must allow it.
type Rules []Rule

// Rule is one of them.
type Rule struct {
	// Of says whose it is, in the words of a message: `profile "work"`.
	Of string
	Tools
}

// Allows reports whether every rule allows a call, and if not, which one does not
// and why.
func (r Rules) Allows(server, tool string, a Annotations) (ok bool, why string) {
	for i := range r {
		if ok, why := r[i].Allows(server, tool, a); !ok {
			return false, r[i].Of + ": " + why
		}
	}
	return true, ""
}

// AskAnnotations reports whether what the server says of a tool decides whether it
// may be called.
func (r Rules) AskAnnotations(server, tool string) bool {
	ok, _ := r.Allows(server, tool, Annotations{})
	reads, _ := r.Allows(server, tool, Annotations{ReadOnly: true})
	adds, _ := r.Allows(server, tool, Annotations{Additive: true})
	return ok != reads || ok != adds
}

// HasServer reports whether every rule has the server: one that some rule has not
// need not be listed, asked or started.
func (r Rules) HasServer(server string) bool {
	for i := range r {
		if !r[i].HasServer(server) {
			return false
		}
	}
	return true
}
