package find

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ParseFind reads the arguments of find_tools. Its error is for the model that made
// them: the revision of 2025-11-25 wants it as the result of the call, which
// ErrorResult makes.
func ParseFind(arguments json.RawMessage) (query string, limit int, err error) {
	m, err := parse(FindName, arguments, "query", "limit")
	if err != nil {
		return "", 0, err
	}
	if query, err = text(m, "query"); err != nil {
		return "", 0, err
	}
	limit = limitDefault
	if raw, given := m["limit"]; given {
		if json.Unmarshal(raw, &limit) != nil || limit < 1 || limit > limitMost {
			return "", 0, fmt.Errorf("limit must be a whole number between 1 and %d", limitMost)
		}
	}
	return query, limit, nil
}

// ParseDescribe reads the arguments of describe_tool.
func ParseDescribe(arguments json.RawMessage) (name string, err error) {
	m, err := parse(DescribeName, arguments, "name")
	if err != nil {
		return "", err
	}
	return text(m, "name")
}

// ParseCall reads the arguments of call_tool; with, the arguments of the tool that
// is called, are an object, {} if there are none, and otherwise unread.
func ParseCall(arguments json.RawMessage) (name string, with json.RawMessage, err error) {
	m, err := parse(CallName, arguments, "name", "arguments")
	if err != nil {
		return "", nil, err
	}
	if name, err = text(m, "name"); err != nil {
		return "", nil, err
	}
	with, given := m["arguments"]
	if !given || string(with) == "null" {
		return name, json.RawMessage("{}"), nil
	}
	if with[0] != '{' {
		return "", nil, fmt.Errorf("arguments must be a JSON object, not text that has one")
	}
	return name, with, nil
}

// parse returns the members of an object that has no others than those that are
// known: a model that puts a tool's arguments beside its name should hear of it.
func parse(tool string, arguments json.RawMessage, known ...string) (map[string]json.RawMessage, error) {
	m := members(arguments)
	if m == nil && len(arguments) > 0 {
		return nil, fmt.Errorf("the arguments of %s must be a JSON object", tool)
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if slices.Contains(known, key) {
			continue
		}
		err := fmt.Errorf("%s has no argument %.40q; it has %s", tool, key, strings.Join(known, " and "))
		if tool == CallName {
			err = fmt.Errorf("%w: the tool's own arguments belong into arguments", err)
		}
		return nil, err
	}
	return m, nil
}

func text(m map[string]json.RawMessage, key string) (string, error) {
	s := ""
	if json.Unmarshal(m[key], &s) != nil || strings.TrimSpace(s) == "" {
		return "", fmt.Errorf("%s must be text, and not empty", key)
	}
	return s, nil
}
