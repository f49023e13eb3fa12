package team

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// Bundle is the settings of servers, as berth config export prints them; the reference
// has the same form.
type Bundle struct {
	Version int                          `toml:"version"`
	Servers map[string]map[string]string `toml:"servers"`
}

// ParseBundle reads a bundle. An error names the line.
func ParseBundle(name string, doc []byte) (Bundle, error) {
	b := Bundle{}
	if len(doc) > most {
		return b, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	if err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(&b); err != nil {
		return Bundle{}, placed(name, err)
	}
	if b.Version != Version {
		return Bundle{}, berth.WithHint(fmt.Errorf("%s: version %d is not one that this Berth reads", name, b.Version), fmt.Sprintf("write version = %d", Version))
	}
	for _, server := range slices.Sorted(maps.Keys(b.Servers)) {
		if err := berth.CheckName(server); err != nil {
			return Bundle{}, fmt.Errorf("%s:%d: %w", name, lineOf(doc, server), err)
		}
	}
	return b, nil
}

// Encode writes the bundle.
func (b Bundle) Encode() ([]byte, error) {
	b.Version = Version
	return toml.Marshal(b)
}
