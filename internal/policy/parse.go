package policy

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// Warning is something in the file that has no effect.
type Warning struct {
	File string
	Line int // 0 if it is not known
	Text string
}

// String returns "FILE:LINE: text".
func (w Warning) String() string { return place(w.File, w.Line) + ": " + w.Text }

// document is the file as it is written.
type document struct {
	Servers struct {
		Deny          []string `toml:"deny"`
		Allow         []string `toml:"allow"`
		DenyPackages  []string `toml:"deny_packages"`
		AllowPackages []string `toml:"allow_packages"`
		DenyTrust     []string `toml:"deny_trust"`
		AllowTrust    []string `toml:"allow_trust"`
	} `toml:"servers"`
	Permissions Permissions `toml:"permissions"`
	Confinement struct {
		Minimum string `toml:"minimum"`
		Require string `toml:"require"`
	} `toml:"confinement"`
	Tools struct {
		Allow []string `toml:"allow"`
		Deny  []string `toml:"deny"`
		// Changes is one of Changes….
		Changes string `toml:"changes"`
	} `toml:"tools"`
}

// tables are the keys of each table of the file.
func tables() map[string][]string {
	return map[string][]string{
		"servers":     {"deny", "allow", "deny_packages", "allow_packages", "deny_trust", "allow_trust"},
		"permissions": {"deny_network_wildcard", "deny_env_wildcard", "deny_filesystem_write", "deny_exec_wildcard"},
		"confinement": {"minimum", "require"},
		"tools":       {"allow", "deny", "changes"},
	}
}

// Parse reads a policy. What it does not know, it warns about; what it cannot
// read is an error that wraps berth.ErrBadConfig and names the file, the line
// and the key. After an error nothing may start: the caller must not fall back
// to the zero Policy.
func Parse(file string, data []byte) (Policy, []Warning, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // left by Windows editors

	var doc document
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&doc)
	var unknown *toml.StrictMissingError
	if err != nil && !errors.As(err, &unknown) {
		return Policy{}, nil, parseError(file, err)
	}
	if err := checkCase(file, data); err != nil {
		return Policy{}, nil, err
	}

	var warnings []Warning
	if unknown != nil {
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, _ := e.Position()
			warnings = append(warnings, Warning{file, line, fmt.Sprintf("unknown key %s has no effect", keyText(e.Key()))})
		}
	}
	p := Policy{
		Permissions: doc.Permissions, file: file,
		deny: trimmed(doc.Servers.Deny), allow: trimmed(doc.Servers.Allow),
		denyPackages: trimmed(doc.Servers.DenyPackages), allowPackages: trimmed(doc.Servers.AllowPackages),
		denyTrust: trimmed(doc.Servers.DenyTrust), allowTrust: trimmed(doc.Servers.AllowTrust),
		minimum: berth.Profile(doc.Confinement.Minimum), require: berth.Requirement(doc.Confinement.Require),
		tools: Tools{Allow: doc.Tools.Allow, Deny: doc.Tools.Deny}, changes: doc.Tools.Changes,
	}
	for _, list := range []struct {
		entries []string
		does    string
	}{{p.deny, "denies"}, {p.allow, "allows"}} {
		for _, entry := range list.entries {
			if entry != "*" && berth.CheckName(strings.Map(lowerRune, entry)) != nil {
				warnings = append(warnings, Warning{file, lineOf(data, entry), fmt.Sprintf("the entry %q %s nothing: no server can have that name", entry, list.does)})
			}
		}
	}
	if err := p.check(data); err != nil {
		return Policy{}, nil, err
	}
	if doc.Tools.Allow != nil && len(doc.Tools.Allow) == 0 {
		p.tools.Deny = []string{"*"} // a list of what is allowed, with nothing on it
	}
	return p, warnings, nil
}

// check finds values that cannot be. To pass over one would be to allow what it was
// meant to forbid.
func (p *Policy) check(data []byte) error {
	bad := func(key, text string) error {
		return fmt.Errorf("%w: %s: %s", berth.ErrBadConfig, place(p.file, lineOf(data, key)), text)
	}
	switch p.minimum {
	case "", berth.ProfileOff, berth.ProfileStandard, berth.ProfileStrict:
	default:
		return bad("minimum", fmt.Sprintf("key %q: %q is none of off, standard and strict", "confinement.minimum", p.minimum))
	}
	switch p.changes {
	case "", ChangesWithhold, ChangesAllow:
	default:
		return bad("changes", fmt.Sprintf("key %q: %q is neither %s nor %s", "tools.changes", p.changes, ChangesWithhold, ChangesAllow))
	}
	switch p.require {
	case "", berth.RequireEnforce, berth.RequirePrefer:
	default:
		return bad("require", fmt.Sprintf("key %q: %q is neither enforce nor prefer", "confinement.require", p.require))
	}
	for _, list := range []struct {
		key     string
		entries []string
	}{{"deny_packages", p.denyPackages}, {"allow_packages", p.allowPackages}} {
		for _, entry := range list.entries {
			if _, err := path.Match(entry, ""); err != nil || entry == "" {
				return bad(list.key, fmt.Sprintf("key %q: %q is no name of a package, and no pattern of them", "servers."+list.key, entry))
			}
		}
	}
	for _, list := range []struct {
		key     string
		entries []string
	}{{"allow", p.tools.Allow}, {"deny", p.tools.Deny}} {
		for _, entry := range list.entries {
			if err := berth.CheckToolPattern(entry); err != nil {
				return bad(entry, fmt.Sprintf("key %q: %s", "tools."+list.key, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")))
			}
		}
	}
	return nil
}

// trimmed keeps what is nil nil: a list that is not there allows all.
func trimmed(entries []string) []string {
	if entries == nil {
		return nil
	}
	list := make([]string, len(entries))
	for i, entry := range entries {
		list[i] = strings.TrimSpace(entry)
	}
	return list
}

func lowerRune(r rune) rune {
	if r < 0x80 {
		return rune(lower(byte(r)))
	}
	return r
}

// parseError turns the decoder's error into one that names the place, in words
// of the file and not of Go's types.
func parseError(file string, err error) error {
	var bad *toml.DecodeError
	if !errors.As(err, &bad) {
		return fmt.Errorf("%w: %s: %v", berth.ErrBadConfig, file, err)
	}
	line, _ := bad.Position()
	text := strings.TrimPrefix(bad.Error(), "toml: ")
	if key := bad.Key(); len(key) > 0 && strings.HasPrefix(text, "cannot ") {
		text = "key " + keyText(key) + " must be " + kindOf(key)
	}
	return fmt.Errorf("%w: %s: %s", berth.ErrBadConfig, place(file, line), text)
}

// kindOf says what the value of a key of the file, or of one in it, must be.
func kindOf(key toml.Key) string {
	switch {
	case len(key) == 1:
		return "a table, and the values in it of the right kind"
	case key[0] == "confinement":
		return `a word in quotes, such as "standard"`
	case len(key) == 2 && key[0] == "tools" && key[1] == "changes":
		return `a word in quotes, such as "withhold"`
	case key[0] == "servers", key[0] == "tools":
		return `an array of strings, such as ["name"]`
	default:
		return "true or false"
	}
}

// checkCase refuses a key that differs from one of ours in case or in a dash alone.
// The decoder takes a key of another case for ours, the last of two wins, and so the
// second could lift what the first denies.
func checkCase(file string, data []byte) error {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return parseError(file, err)
	}
	known := tables()
	wrong := func(key, want string) error {
		return fmt.Errorf("%w: %s: key %q: write it %s", berth.ErrBadConfig, place(file, lineOf(data, key)), key, want)
	}
	for _, table := range sortedKeys(tree) {
		for name, keys := range known {
			if !strings.EqualFold(table, name) {
				continue
			}
			if table != name {
				return wrong(table, name)
			}
			sub, _ := tree[table].(map[string]any)
			for _, key := range sortedKeys(sub) {
				for _, want := range keys {
					if key != want && strings.EqualFold(strings.ReplaceAll(key, "-", "_"), want) {
						return wrong(key, want)
					}
				}
			}
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// lineOf returns the number of the first line that holds text outside a
// comment, or 0.
func lineOf(data []byte, text string) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) && bytes.Contains(line, []byte(text)) {
			return n
		}
	}
	return 0
}

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

func keyText(key toml.Key) string {
	text := strings.Join(key, ".")
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	return fmt.Sprintf("%q", text)
}
