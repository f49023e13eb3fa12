package catalog

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth"
	"github.com/pelletier/go-toml/v2"
)

//go:embed known.toml
var knownTable []byte

// Known is what a well-known package needs to work.
type Known struct {
	Kind Kind   `toml:"kind"`
	Name string `toml:"name"`
	// Allow are permissions.
	Allow []string `toml:"allow"`
	// Directories is what the directories among the server's arguments are to it:
	// "read", "write" or "".
	Directories string `toml:"directories"`
	// Variables are of its environment. {data} is the server's own directory.
	Variables map[string]string `toml:"env"`
}

// AllKnown lists the packages that are known.
func AllKnown() ([]Known, error) {
	var table struct {
		Package []Known `toml:"package"`
	}
	if err := toml.Unmarshal(knownTable, &table); err != nil {
		return nil, fmt.Errorf("read the table of known packages: %w", err)
	}
	return table.Package, nil
}

// KnownAs returns what is known of a package.
func KnownAs(r Request) (Known, bool, error) {
	all, err := AllKnown()
	if err != nil {
		return Known{}, false, err
	}
	for _, k := range all {
		if k.Kind == r.Kind && (k.Name == r.Package || r.Kind == PyPI && sameProject(k.Name, r.Package)) {
			return k, true, nil
		}
	}
	return Known{}, false, nil
}

// sameProject says whether an index has both names for the same.
func sameProject(a, b string) bool {
	plain := strings.NewReplacer("_", "-", ".", "-")
	return strings.EqualFold(plain.Replace(a), plain.Replace(b))
}

// Permissions are those that it needs when it is run in cwd with args.
func (k Known) Permissions(args []string, cwd string) (list []berth.Permission, err error) {
	all := k.Allow
	for _, arg := range args {
		if dir := directory(arg, cwd); dir != "" && k.Directories != "" {
			all = append(all[:len(all):len(all)], berth.PermissionFiles+":"+k.Directories+":"+dir)
		}
	}
	for _, entry := range all {
		p, err := berth.ParsePermission(entry)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// directory is the directory that an argument, or the value of a flag, names; "" if
// none is there.
func directory(arg, cwd string) string {
	if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
		arg = value
	}
	if !filepath.IsAbs(arg) {
		if cwd == "" || arg == "" {
			return ""
		}
		arg = filepath.Join(cwd, arg)
	}
	if info, err := os.Stat(arg); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Clean(arg)
}

// Env are its variables, where data is the directory that the server has to itself.
func (k Known) Env(data string) map[string]string {
	env := map[string]string{}
	for key, value := range k.Variables {
		rest, inside := strings.CutPrefix(value, "{data}")
		if inside {
			value = filepath.Join(data, filepath.FromSlash(rest))
		}
		env[key] = value
	}
	return env
}
