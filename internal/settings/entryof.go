package settings

import (
	"errors"
	"fmt"
	"math"
)

// EntryOf makes an entry of what one says, as [Get] returns it, with its members in
// order of their names; an error if it has what entries cannot have.
func EntryOf(value any) (Entry, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it is not a table")
	}
	e := Entry{}
	for _, key := range sortedKeys(m) {
		v, err := valueOf(m[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		e = append(e, Field{key, v})
	}
	return e, nil
}

func valueOf(v any) (any, error) {
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return nil, errors.New("it is not a whole number")
		}
		return int(v), nil
	case map[string]any:
		return EntryOf(v)
	case []any:
		list := []string{}
		for _, each := range v {
			s, ok := each.(string)
			if !ok {
				return nil, errors.New("it is not a list of texts")
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New("it is no value of an entry")
}
