package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// Setting is a key of a policy and its value: a bool, a string or a []string. A nil
// value is a key that is not set.
type Setting struct {
	Table, Key string
	Value      any
}

// Name is the setting's key with its table before it.
func (s Setting) Name() string { return s.Table + "." + s.Key }

// Text is the value as the command line has it.
func (s Setting) Text() string {
	if list, ok := s.Value.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(s.Value)
}

// Keys lists the keys of a policy, with their tables.
func Keys() (names []string) {
	for table, keys := range tables() {
		for _, key := range keys {
			names = append(names, table+"."+key)
		}
	}
	slices.Sort(names)
	return names
}

// Settings returns what a policy says, in the order of Keys. The policy must parse.
func Settings(data []byte) (all []Setting) {
	var tree map[string]map[string]any
	if toml.Unmarshal(data, &tree) != nil {
		return nil
	}
	for _, name := range Keys() {
		table, key, _ := strings.Cut(name, ".")
		value, set := tree[table][key]
		if !set {
			continue
		}
		if list, ok := value.([]any); ok {
			texts := make([]string, len(list))
			for i, v := range list {
				texts[i] = fmt.Sprint(v)
			}
			value = texts
		}
		all = append(all, Setting{table, key, value})
	}
	return all
}

// ParseKey reads the name of a key.
func ParseKey(name string) (Setting, error) {
	table, key, _ := strings.Cut(name, ".")
	if !slices.Contains(tables()[table], key) {
		return Setting{}, berth.WithHint(fmt.Errorf("%w: %.100q is not a key of a policy", berth.ErrBadConfig, name), "the keys are "+strings.Join(Keys(), ", "))
	}
	return Setting{Table: table, Key: key}, nil
}

// ParseSetting reads "TABLE.KEY" and a value: true or false, a word, or a list with
// commas, of which "" is the empty one.
func ParseSetting(name, value string) (Setting, error) {
	s, err := ParseKey(name)
	if err != nil {
		return s, err
	}
	switch {
	case s.Table == "permissions":
		if value != "true" && value != "false" {
			return s, fmt.Errorf("%w: %s: %.100q is neither true nor false", berth.ErrBadConfig, name, value)
		}
		s.Value = value == "true"
	case s.Table == "confinement", s.Key == "changes":
		s.Value = value
	default:
		list := []string{}
		for entry := range strings.SplitSeq(value, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				list = append(list, entry)
			}
		}
		s.Value = list
	}
	return s, nil
}
