package team

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/berth-run/berth"
)

// Lock is what berth.lock says.
type Lock struct {
	Version int               `json:"version"`
	Servers map[string]Locked `json:"servers"`
}

// Locked is what is fixed of one server.
type Locked struct {
	// Packages are what its package was resolved to, for one system each; package catalog
	// reads them.
	Packages []json.RawMessage `json:"packages,omitempty"`
	// Declaration is what the catalogue said of it when it was installed.
	Declaration json.RawMessage `json:"declaration,omitempty"`
}

// ParseLock reads a lock. An error names the line.
func ParseLock(name string, doc []byte) (Lock, error) {
	l := Lock{}
	if len(doc) > most {
		return l, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	err := dec.Decode(&l)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more follows the end")
		}
	}
	if err != nil {
		at := int(dec.InputOffset())
		var syntax *json.SyntaxError
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			at = len(doc)
		case errors.As(err, &syntax):
			at = int(syntax.Offset)
		}
		return Lock{}, fmt.Errorf("%s:%d: %w", name, 1+bytes.Count(doc[:min(at, len(doc))], []byte("\n")), err)
	}
	if l.Version != Version {
		return Lock{}, berth.WithHint(fmt.Errorf("%s: version %d is not one that this Berth reads", name, l.Version), "berth export writes it anew")
	}
	for _, server := range slices.Sorted(maps.Keys(l.Servers)) {
		if err := berth.CheckName(server); err != nil {
			return Lock{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return l, nil
}

// Encode writes the lock.
func (l Lock) Encode() ([]byte, error) {
	l.Version = Version
	if l.Servers == nil {
		l.Servers = map[string]Locked{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // what others compute of its text is as they wrote it
	enc.SetIndent("", "  ")
	err := enc.Encode(l)
	return b.Bytes(), err
}
