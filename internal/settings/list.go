package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Named is an entry of a document.
type Named struct {
	// Name is "" for an element of a list that has none.
	Name string
	// Value is what it says, as package json would decode it, and Sum the hash of that,
	// as Get returns it.
	Value any
	Sum   string
}

// List returns the entries of a document by name: what stands at the keys of within,
// which is a table, or if id is not "", a list whose elements have their names in the
// member id. A document without any has none.
func List(f Format, doc []byte, within []string, id string) ([]Named, error) {
	value, err := At(f, doc, within)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Named
	switch v := value.(type) {
	case nil: // "mcpServers:" and no more
	case map[string]any:
		if id != "" {
			return nil, fmt.Errorf("%s is not a list", strings.Join(within, "."))
		}
		for _, key := range sortedKeys(v) {
			list = append(list, Named{key, v[key], sumOfValue(v[key])})
		}
	case []any:
		if id == "" {
			return nil, fmt.Errorf("%s is not a table", strings.Join(within, "."))
		}
		for _, e := range v {
			m, _ := e.(map[string]any)
			name, _ := m[id].(string)
			list = append(list, Named{name, e, sumOfValue(e)})
		}
	default:
		return nil, fmt.Errorf("%s has no entries", strings.Join(within, "."))
	}
	return list, nil
}

// At returns what stands at the keys of a path, as package json would decode it;
// ErrMissing if there is nothing.
func At(f Format, doc []byte, path []string) (value any, err error) {
	_, body := splitBOM(doc)
	if Empty(body) {
		return nil, ErrMissing
	}
	d, err := parse(f, body)
	if err != nil {
		return nil, err
	}
	if value, err = d.value(Place{Path: path}); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(path, "."), err)
	}
	value = nil
	err = json.Unmarshal(text, &value)
	return value, err
}
