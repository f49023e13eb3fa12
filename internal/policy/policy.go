// Package policy decides what is allowed: by the organisation's policy.toml, whether
// a server may start, and by lists of tools, whether a call may happen.
//
//	[servers]
//	deny = ["*"]                    # or names, without regard to case
//	allow = ["github"]              # only these; also deny_packages, allow_packages,
//	allow_trust = ["official"]      # deny_trust, allow_trust
//
//	[permissions]
//	deny_network_wildcard = true
//
//	[confinement]
//	minimum = "standard"            # no server may be confined less
//	require = "enforce"             # no server may start without what its profile promises
//
//	[tools]
//	deny = ["@destructive"]         # nobody may call them
//
// It does no I/O. The zero Policy, that of a home without the file, allows
// everything.
package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// Policy is a parsed policy.toml.
type Policy struct {
	// Permissions says which permissions no server may be given.
	Permissions Permissions

	file string
	// The lists of [servers]; one of what is allowed allows all if it is nil, and
	// nothing if it is empty.
	deny, allow                 []string
	denyPackages, allowPackages []string
	denyTrust, allowTrust       []string
	minimum                     berth.Profile
	require                     berth.Requirement
	tools                       Tools
	// changes is what becomes of a tool that is not what was approved.
	changes string
}

// Permissions are the prohibitions of the table [permissions].
type Permissions struct {
	// DenyNetworkWildcard forbids "network:*" and a host or port of "*".
	DenyNetworkWildcard bool `toml:"deny_network_wildcard"`
	// DenyEnvWildcard forbids "env:*".
	DenyEnvWildcard bool `toml:"deny_env_wildcard"`
	// DenyFilesystemWrite forbids "filesystem:write:…" and "filesystem:*".
	DenyFilesystemWrite bool `toml:"deny_filesystem_write"`
	// DenyExecWildcard forbids "exec:*".
	DenyExecWildcard bool `toml:"deny_exec_wildcard"`
}

// Subject is a server that is to start.
type Subject struct {
	Name string
	// Package is where it comes from; "" if that is not known.
	Package string
	// Trust is the trust level in its file; "" is "untrusted".
	Trust string
	// Confine is what it may do. Nil is a server that nothing is known of, and that
	// nothing confines.
	Confine *berth.Confinement
	// Own: its process is Berth's, and there is nothing to confine.
	Own bool
}

// Policies are those that bear on a home: the organisation's and the user's. What one
// of them forbids is forbidden.
type Policies []Policy

// Server returns nil if the server may start by every policy.
func (all Policies) Server(s Subject) error {
	for _, p := range all {
		if err := p.Server(s); err != nil {
			return err
		}
	}
	return nil
}

// Rules are what the policies say of tools.
func (all Policies) Rules() (rules Rules) {
	for _, p := range all {
		if len(p.tools.Allow)+len(p.tools.Deny) > 0 {
			rules = append(rules, Rule{Of: "policy " + p.file, Tools: p.tools})
		}
	}
	return rules
}

// The values of tools.changes.
const (
	// ChangesWithhold demands that tools are compared with what was approved, whatever a
	// server's settings say.
	ChangesWithhold = "withhold"
	// ChangesAllow has them not be compared, unless a server's settings, or those of all,
	// say so.
	ChangesAllow = "allow"
)

// ToolChanges returns what the policies say of tools that are not what was approved: ""
// is nothing. Who demands most is heard.
func (all Policies) ToolChanges() (word string) {
	for _, p := range all {
		if p.changes == ChangesWithhold || word == "" {
			word = p.changes
		}
	}
	return word
}

// AskOrigin reports whether a policy has to know a server's package or trust level.
func (all Policies) AskOrigin() bool {
	return slices.ContainsFunc(all, func(p Policy) bool {
		return len(p.denyPackages)+len(p.denyTrust) > 0 || p.allowPackages != nil || p.allowTrust != nil
	})
}

// Server returns nil if the server may start, or an error that wraps
// berth.ErrDenied and names the file and the entry in it that forbids it.
func (p Policy) Server(s Subject) error {
	denied := func(hint, format string, args ...any) error {
		return berth.WithHint(fmt.Errorf("server %q: %w: %s "+format, append([]any{s.Name, berth.ErrDenied, p.file}, args...)...), hint)
	}
	const ask = "ask whoever keeps that file"
	const ours = ask + ", or take the entry out of it"
	names := func(entry, name string) bool { return entry == "*" || equalASCII(entry, name) }
	trust := s.Trust
	if trust == "" {
		trust = "untrusted"
	}
	for _, list := range []struct {
		key     string
		deny    bool
		entries []string
		value   string
		what    string // in words, for an allow list
		matches func(entry, value string, denies bool) bool
	}{
		{"deny", true, p.deny, s.Name, "", func(entry, value string, _ bool) bool { return names(entry, value) }},
		{"allow", false, p.allow, s.Name, "it", func(entry, value string, _ bool) bool { return names(entry, value) }},
		{"deny_packages", true, p.denyPackages, s.Package, "", matchesPackage},
		{"allow_packages", false, p.allowPackages, s.Package, "its package", matchesPackage},
		{"deny_trust", true, p.denyTrust, trust, "", func(entry, value string, _ bool) bool { return names(entry, value) }},
		{"allow_trust", false, p.allowTrust, trust, "its trust level", func(entry, value string, _ bool) bool { return names(entry, value) }},
	} {
		at := slices.IndexFunc(list.entries, func(entry string) bool { return list.matches(entry, list.value, list.deny) })
		switch {
		case list.deny && at >= 0:
			return denied(ours, "lists %q under [servers] %s", list.entries[at], list.key)
		case !list.deny && list.entries != nil && at < 0:
			value := fmt.Sprintf(" %q", list.value)
			if list.key == "allow" {
				value = ""
			} else if list.value == "" {
				value = ", which is not known,"
			}
			return denied(ask, "has a list [servers] %s, and %s%s is not on it", list.key, list.what, value)
		}
	}
	if rule, entry := p.forbids(s.Confine); rule != "" {
		return denied(fmt.Sprintf("berth permissions %s --revoke %s", s.Name, entry), "has [permissions] %s, and the server has %s", rule, entry)
	}
	return p.confinement(s, denied)
}

// forbids returns the prohibition of [permissions] that something allowed is against.
func (p Policy) forbids(c *berth.Confinement) (rule, entry string) {
	if c == nil {
		return "", ""
	}
	for _, entry := range c.Allow {
		a, err := berth.ParsePermission(entry)
		kind := a.Kind
		if err != nil { // in doubt it is the worst of its kind
			kind, _, _ = strings.Cut(entry, ":")
		}
		for _, r := range []struct {
			on        bool
			rule      string
			kind      string
			forbidden bool
		}{
			{p.Permissions.DenyNetworkWildcard, "deny_network_wildcard", berth.PermissionNetwork, a.Wildcard()},
			{p.Permissions.DenyEnvWildcard, "deny_env_wildcard", berth.PermissionEnv, a.Wildcard()},
			{p.Permissions.DenyFilesystemWrite, "deny_filesystem_write", berth.PermissionFiles, a.Access != "read"},
			{p.Permissions.DenyExecWildcard, "deny_exec_wildcard", berth.PermissionExec, a.Wildcard()},
		} {
			if r.on && kind == r.kind && (r.forbidden || err != nil) {
				return r.rule, entry
			}
		}
	}
	return "", ""
}

// confinement is what [confinement] says of a server.
func (p Policy) confinement(s Subject, denied func(hint, format string, args ...any) error) error {
	if s.Own {
		return nil
	}
	profile := berth.ProfileOff
	if s.Confine.Confined() {
		profile = s.Confine.Profile
	}
	if tightness(profile) < tightness(p.minimum) {
		return denied(fmt.Sprintf("berth permissions %s --apply --profile %s", s.Name, p.minimum),
			"has [confinement] minimum = %q, and the server's profile is %s", p.minimum, profile)
	}
	if p.require == berth.RequireEnforce && s.Confine.Confined() && s.Confine.Require == berth.RequirePrefer {
		return denied(fmt.Sprintf("berth config %s --set berth.require=enforce", s.Name),
			"has [confinement] require = %q, and the server has prefer", p.require)
	}
	return nil
}

// tightness orders profiles. One that is not known confines in nothing.
func tightness(p berth.Profile) int {
	return slices.Index([]berth.Profile{berth.ProfileStandard, berth.ProfileStrict}, p)
}

// matchesPackage says whether an entry means a package, whatever its version. In
// doubt it says what denies: names of packages that differ in case, or in what stands
// between their words, are one to some registries and several to others.
func matchesPackage(entry, name string, denies bool) bool {
	if entry == "*" {
		return true
	}
	name, _, _ = strings.Cut(name, "==")
	name, _, _ = strings.Cut(name, "[") // extras
	if at := strings.LastIndexByte(name, '@'); at > 0 {
		name = name[:at]
	}
	ok, err := path.Match(entry, name)
	if !ok && err == nil && denies {
		alike := strings.NewReplacer("_", "-", ".", "-")
		ok, err = path.Match(alike.Replace(strings.ToLower(entry)), alike.Replace(strings.ToLower(name)))
	}
	return ok && err == nil && name != ""
}

// equalASCII compares without regard to the case of ASCII letters alone.
// strings.EqualFold also takes the Kelvin sign for a k, which would deny a
// server that the reference lets start.
func equalASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
