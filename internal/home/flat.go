package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// A profile and a client are files of a few keys without a table, which the
// command line writes and a user may edit. What they share is here.

// kind is one of the two.
type kind struct {
	what string // in messages
	dir  string
	none error // there is no such file
}

func (h *Home) flatPath(k kind, name string) (string, error) {
	if err := berth.CheckNameOf(k.what, name); err != nil {
		return "", err
	}
	return h.path(k.dir, name+".toml"), nil
}

// readFlat returns a file's text, an error that wraps k.none if there is none.
func (h *Home) readFlat(k kind, name string) (path string, doc []byte, err error) {
	if path, err = h.flatPath(k, name); err != nil {
		return "", nil, err
	}
	doc, err = readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, fmt.Errorf("%w: %s", k.none, name)
	}
	if err != nil {
		return path, nil, fmt.Errorf("read the %s %q: %w", k.what, name, err)
	}
	return path, doc, nil
}

// listFlat lists the names of one kind in alphabetical order, whether their
// files parse or not, and the files beside them whose name none can have.
func (h *Home) listFlat(k kind) (names, strays []string, err error) {
	names, strays, err = h.names(k.dir, func(name string) error { return berth.CheckNameOf(k.what, name) })
	if err != nil {
		return nil, nil, fmt.Errorf("list the %ss: %w", k.what, err)
	}
	return names, strays, nil
}

// changeFlat runs change while no other process changes one of the kind.
func (h *Home) changeFlat(k kind, name string, change func(path string) error) error {
	path, err := h.flatPath(k, name)
	if err != nil {
		return err
	}
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock(k.dir))
	if err != nil {
		return fmt.Errorf("change the %s %q: %w", k.what, name, h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	return change(path)
}

// putFlat makes the fields of a document what is given and writes it; the rest of
// it, comments above all, stays.
func (h *Home) putFlat(k kind, name, path string, doc []byte, fields []field) error {
	doc, err := editFlat(doc, fields)
	if err == nil {
		err = h.replace(path, doc)
	}
	if err != nil {
		return fmt.Errorf("write the %s %q: %w", k.what, name, err)
	}
	return nil
}

func editFlat(doc []byte, fields []field) ([]byte, error) {
	want := map[string]any{}
	if err := toml.Unmarshal(doc, &want); err != nil {
		return nil, fmt.Errorf("%w: %v", berth.ErrBadConfig, err)
	}
	text := splitText(doc)
	for _, f := range fields {
		was, there := want[f.key]
		switch {
		case f.value == nil:
			delete(want, f.key)
			text.unset("", f.key)
		case !there || !sameValue(was, f.value):
			want[f.key] = f.value
			text.set("", f.key, f.value)
		}
	}
	edited, got := text.bytes(), map[string]any{}
	if toml.Unmarshal(edited, &got) == nil && sameValue(got, want) {
		return edited, nil
	}
	return writeDocument(want, nil), nil
}

// removeFlat removes a file; an error that wraps k.none if there is none.
func (h *Home) removeFlat(k kind, name string) error {
	return h.changeFlat(k, name, func(path string) error {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s", k.none, name)
		}
		if err := h.remove(path); err != nil {
			return fmt.Errorf("remove the %s %q: %w", k.what, name, err)
		}
		return nil
	})
}

// listField is a field that is left out if it holds nothing.
func listField(key string, list []string) field {
	if len(list) == 0 {
		return field{key: key}
	}
	return field{key: key, value: list}
}

func textField(key, text string) field {
	if text == "" {
		return field{key: key}
	}
	return field{key: key, value: text}
}

func flagField(key string, on bool) field {
	if !on {
		return field{key: key}
	}
	return field{key: key, value: true}
}

// checkPatterns finds the entry of a list of tools that is no pattern. file and
// doc tell the place; file may be "".
func checkPatterns(file string, doc []byte, key string, entries []string) error {
	for _, entry := range entries {
		if err := berth.CheckToolPattern(entry); err != nil {
			return atKey(file, doc, key, withoutKind(err))
		}
	}
	return nil
}

// atKey is an error of configuration in a key of a file, or of the key alone. It
// keeps its hint.
func atKey(file string, doc []byte, key string, err error) error {
	if file == "" {
		return fmt.Errorf("%w: %s: %w", berth.ErrBadConfig, key, err)
	}
	return fmt.Errorf("%w: %s: %s: %w", berth.ErrBadConfig, atLine(file, lineOf(doc, "", key)), key, err)
}

// exactKeys refuses a key that differs from one of ours in case or in its dashes
// alone. The decoder takes the one for ours, and of two the last wins; the other
// has no effect, and to pass over a denial that was mistyped would be to allow it.
func exactKeys(file string, doc []byte, fields []field) error {
	var all map[string]any
	if err := decodeTOML(file, doc, &all, berth.ErrBadConfig); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		plain := strings.ToLower(strings.ReplaceAll(key, "_", "-"))
		for _, f := range fields {
			if key != f.key && plain == f.key {
				return atKey(file, doc, key, fmt.Errorf("write it %s", f.key))
			}
		}
	}
	return nil
}
