package listing

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/pelletier/go-toml/v2"
)

//go:embed servers.toml
var builtIn []byte

// BuiltIn returns the catalogue that is part of this program.
func BuiltIn() ([]Entry, error) {
	var doc struct {
		Server []Entry `toml:"server"`
	}
	if err := toml.Unmarshal(builtIn, &doc); err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", err)
	}
	for i := range doc.Server {
		doc.Server[i].From = FromBerth
	}
	return doc.Server, nil
}

// OfPackage returns the entry of the catalogue that is of a package.
func OfPackage(kind Kind, name string) (Entry, bool, error) {
	all, err := BuiltIn()
	for _, e := range all {
		if e.Kind == kind && (e.Package == name || kind == PyPI && sameProject(e.Package, name)) {
			return e, true, nil
		}
	}
	return Entry{}, false, err
}

// sameProject says whether an index has both names for the same.
func sameProject(a, b string) bool {
	plain := strings.NewReplacer("_", "-", ".", "-")
	return strings.EqualFold(plain.Replace(a), plain.Replace(b))
}

// Needs are the permissions and variables of the entry for a server whose command
// line its user typed: what no setting decides.
func (e *Entry) Needs(data string) ([]berth.Permission, map[string]string, error) {
	lax := *e
	lax.Settings = slices.Clone(e.Settings)
	for i := range lax.Settings {
		lax.Settings[i].Required, lax.Settings[i].Access = false, ""
		if lax.Settings[i].Type == "url" {
			lax.Settings[i].Type = "" // where it is, the command line says
		}
	}
	plan, err := lax.Fill(nil, nil, data)
	if err != nil {
		return nil, nil, err
	}
	maps.DeleteFunc(plan.Env, func(key, _ string) bool { _, fixed := e.Env[key]; return !fixed })
	return plan.Allow, plan.Env, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
