package home

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ConfigFault is something that is wrong with a berth.toml.
type ConfigFault struct {
	// Line and Column begin at 1; 0 is not known. Key is [table] key, "" for the whole.
	Line, Column int
	Key, Text    string
	// Warning: it keeps nothing from being done.
	Warning bool
}

// CheckConfig finds all faults of a berth.toml: each key is read by itself, as ReadConfig
// reads all of them.
func CheckConfig(doc []byte) (faults []ConfigFault) {
	var all map[string]any
	if err := toml.Unmarshal(doc, &all); err != nil {
		f := ConfigFault{Text: strings.TrimPrefix(err.Error(), "toml: ")}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			f.Line, f.Column = at.Position()
		}
		return []ConfigFault{f}
	}
	for _, table := range slices.Sorted(maps.Keys(all)) {
		keys, ok := all[table].(map[string]any)
		if !ok {
			faults = append(faults, checkKey(doc, "", table, all[table])...)
			continue
		}
		if len(keys) == 0 {
			faults = append(faults, checkKey(doc, "", table, keys)...)
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			faults = append(faults, checkKey(doc, table, key, keys[key])...)
		}
	}
	slices.SortStableFunc(faults, func(a, b ConfigFault) int { return a.Line - b.Line })
	return faults
}

// checkKey reads a document that has one key.
func checkKey(doc []byte, table, key string, value any) (faults []ConfigFault) {
	one, shown := map[string]any{key: value}, key
	if table != "" {
		one, shown = map[string]any{table: one}, "["+table+"] "+key
	}
	alone, err := toml.Marshal(one)
	if err != nil {
		return []ConfigFault{{Key: shown, Text: err.Error()}}
	}
	const file = "<config>"
	add := func(text string, warning bool) {
		// What stands before is the kind of the error, the file, and its place in the other document.
		if _, rest, ok := strings.Cut(text, file); ok {
			text = rest
		}
		for {
			number, rest, ok := strings.Cut(strings.TrimPrefix(text, ":"), ":")
			if _, err := strconv.Atoi(number); !ok || err != nil {
				break
			}
			text = ":" + rest
		}
		text = strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(text, ":")), shown+" ")
		text = strings.TrimPrefix(text, strings.TrimPrefix(table+"."+key+": ", "."))
		f := ConfigFault{Line: lineOf(doc, table, key), Key: shown, Text: text, Warning: warning}
		faults = append(faults, f)
	}
	_, warnings, err := decodeConfig(file, alone)
	if err != nil {
		add(err.Error(), false)
	}
	for _, w := range warnings {
		add(fmt.Sprint(w), true)
	}
	return faults
}
