package listing

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// FromIndex begins where an entry of an index of Berth 0.1 is from; then come a colon and the
// path or URL of the index.
const FromIndex = "index"

// MaxIndex bounds an index.
const MaxIndex = 32 << 20

// indexed is a server in an index of Berth 0.1, as far as it is read.
type indexed struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
	Version     string `json:"version"`
	Source      struct {
		Type       string `json:"type"`
		Package    string `json:"package"`
		Repository string `json:"repository"`
	} `json:"source"`
	Runtime struct {
		Command string   `json:"command"`
		Args    []string `json:"args"`
	} `json:"runtime"`
	Transport   string `json:"transport"`
	Permissions struct {
		Network    []string `json:"network"`
		Filesystem []string `json:"filesystem"`
		Exec       []string `json:"exec"`
	} `json:"permissions"`
	Config struct {
		Required []indexedKey `json:"required"`
		Optional []indexedKey `json:"optional"`
	} `json:"config"`
	Category string   `json:"category"`
	Tags     []string `json:"tags"`
	Trust    string   `json:"trustLevel"`
}

type indexedKey struct {
	Key         string `json:"key"`
	Env         string `json:"env"`
	Description string `json:"description"`
	Sensitive   bool   `json:"sensitive"`
	Default     string `json:"default"`
}

// ParseIndex reads an index of Berth 0.1, a JSON array of servers. An entry that cannot be
// read hides no other: bad has an error for each. Of two of one name the first counts.
func ParseIndex(doc []byte, from string) (list []Entry, bad []error, err error) {
	if len(doc) > MaxIndex {
		return nil, nil, fmt.Errorf("an index of %d bytes is too long", len(doc))
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(doc, &raw); err != nil {
		return nil, nil, fmt.Errorf("it is no index, which is a JSON array of servers: %v", err)
	}
	seen := map[string]bool{}
	for i, one := range raw {
		var x indexed
		err := json.Unmarshal(one, &x)
		switch {
		case err != nil:
		case !entryName(x.Name):
			err = fmt.Errorf("%.80q is no name of a server", x.Name)
		case seen[x.Name]:
			err = fmt.Errorf("%s is there twice", x.Name)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("entry %d: %v", i+1, err))
			continue
		}
		seen[x.Name] = true
		e := x.entry()
		e.From = FromIndex + ":" + from
		list = append(list, e)
	}
	return list, bad, nil
}

// entry is what Berth makes of it. The versions that the indexes name were never asked for,
// and many do not exist: the newest of the package is taken, and held to.
func (x indexed) entry() Entry {
	e := Entry{
		Name: x.Name, Title: shown(x.DisplayName), About: shown(x.Description), Repository: shown(x.Source.Repository),
		Package: x.Source.Package,
	}
	for _, tag := range append(slices.Clone(x.Tags), x.Category) {
		if tag = shown(tag); tag != "" && !slices.Contains(e.Tags, tag) {
			e.Tags = append(e.Tags, tag)
		}
	}
	if version := shown(x.Version); version != "" {
		e.Note = "its index says version " + version + ", which no version of Berth asked for: the newest of the package is taken"
	}
	switch strings.ToLower(x.Source.Type) {
	case "npm":
		e.Kind = NPM
	case "pypi", "pip", "python":
		e.Kind = PyPI
	case "oci", "docker":
		e.Kind = OCI
		if r, err := ofImage(x.Source.Package); err == nil {
			e.Package, e.Version = r.Package, r.Version
			if r.Digest != "" {
				e.Hashes = []string{r.Digest}
			}
		}
	case "go":
		e.Kind = Go
	default:
		e.Unusable = fmt.Sprintf("a package of kind %.40q is not installed from an index, which has no hash of it", x.Source.Type)
	}
	if x.Transport != "" && x.Transport != "stdio" {
		e.Transport = x.Transport
		e.Unusable = fmt.Sprintf("it speaks %.40q and not stdio", x.Transport)
	}
	e.Args = x.args()
	x.permissions(&e)
	for _, keys := range []struct {
		list     []indexedKey
		required bool
	}{{x.Config.Required, true}, {x.Config.Optional, false}} {
		for _, k := range keys.list {
			e.Settings = append(e.Settings, Setting{
				Key: k.Key, About: shown(k.Description), Env: k.Env, Secret: k.Sensitive, Default: k.Default, Required: keys.required,
			})
		}
	}
	if e.Unusable == "" {
		if err := e.Check(); err != nil {
			e.Unusable = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
	}
	return e
}

// args are those of the program: what stands after the package in the words of its runner.
func (x indexed) args() []string {
	for i, word := range x.Runtime.Args {
		if word == x.Source.Package || strings.HasPrefix(word, x.Source.Package+"@") || strings.HasPrefix(word, x.Source.Package+"=") {
			return slices.Clone(x.Runtime.Args[i+1:])
		}
	}
	switch x.Runtime.Command {
	case "npx", "uvx", "docker", "podman", "npm", "uv", "pipx":
		return nil // words of the runner's
	}
	return slices.Clone(x.Runtime.Args)
}

// permissions adds what the entry declares; what is no permission is left out, and named.
func (x indexed) permissions(e *Entry) {
	var odd []error
	for _, of := range []struct {
		kind string
		list []string
	}{{berth.PermissionNetwork, x.Permissions.Network}, {berth.PermissionFiles, x.Permissions.Filesystem}, {berth.PermissionExec, x.Permissions.Exec}} {
		for _, entry := range of.list {
			p, err := berth.ParsePermission(of.kind + ":" + strings.TrimPrefix(entry, of.kind+":"))
			if err != nil {
				odd = append(odd, err)
				continue
			}
			e.Allow = append(e.Allow, p.String())
		}
	}
	if err := errors.Join(odd...); err != nil {
		e.Note = strings.TrimPrefix(e.Note+"; it declares what is no permission: "+shown(err.Error()), "; ")
	}
}
