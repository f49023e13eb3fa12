package listing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// RepositoryFiles are the files of a repository that say which server is in it, the one
// that says most first.
func RepositoryFiles() []string {
	return []string{"server.json", "berth.toml", "package.json", "pyproject.toml"}
}

// OfRepository returns the ways in which the server of a repository can be had, as one of
// its files says: those of RepositoryFiles. name is what the repository is called.
func OfRepository(name, file string, doc []byte) (list []Entry, err error) {
	var e Entry
	switch file {
	case "server.json":
		return ParseServerJSON(doc)
	case "berth.toml":
		e, err = ofBerthTOML(doc)
	case "package.json":
		e, err = ofPackageJSON(doc)
	case "pyproject.toml":
		e, err = ofPyProject(doc)
	default:
		err = fmt.Errorf("%s says nothing of servers", file)
	}
	if err != nil {
		return nil, err
	}
	e.From, e.About = FromName, shown(e.About)
	if e.Name == "" {
		e.Name = name
	}
	if err := e.Check(); err != nil && e.Unusable == "" {
		e.Unusable = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return []Entry{e}, nil
}

func ofPackageJSON(doc []byte) (Entry, error) {
	var p struct {
		Name, Version, Description string
		Private                    bool
		Bin                        json.RawMessage
	}
	if err := json.Unmarshal(doc, &p); err != nil {
		return Entry{}, fmt.Errorf("it is no package.json: %v", err)
	}
	e := Entry{About: p.Description, Kind: NPM, Package: p.Name, Version: p.Version}
	switch {
	case p.Name == "":
		return e, errors.New("it has no name")
	case p.Private:
		e.Unusable = "its package.json says that it is not published (private)"
	case len(p.Bin) == 0:
		e.Unusable = "its package has no program (bin)"
	}
	return e, nil
}

func ofPyProject(doc []byte) (Entry, error) {
	var p struct {
		Project struct {
			Name        string            `toml:"name"`
			Version     string            `toml:"version"`
			Description string            `toml:"description"`
			Scripts     map[string]string `toml:"scripts"`
		} `toml:"project"`
	}
	if err := toml.NewDecoder(bytes.NewReader(doc)).Decode(&p); err != nil {
		return Entry{}, fmt.Errorf("it is no pyproject.toml: %v", err)
	}
	e := Entry{About: p.Project.Description, Kind: PyPI, Package: p.Project.Name, Version: p.Project.Version}
	scripts := slices.Sorted(maps.Keys(p.Project.Scripts))
	switch {
	case p.Project.Name == "":
		return e, errors.New("it has no [project] name")
	case len(scripts) == 0:
		e.Unusable = "its package has no program ([project.scripts])"
	case len(scripts) == 1:
		e.Program = scripts[0]
	case !slices.Contains(scripts, p.Project.Name):
		e.Unusable = "its package has several programs: " + strings.Join(scripts, ", ")
	}
	return e, nil
}

// ofBerthTOML reads the file by which authors described a server to Berth 0.1: it has the
// tables of servers/NAME.toml.
func ofBerthTOML(doc []byte) (Entry, error) {
	var p struct {
		Server struct {
			Name        string `toml:"name"`
			Version     string `toml:"version"`
			Description string `toml:"description"`
		} `toml:"server"`
		Source struct {
			Type    string `toml:"type"`
			Package string `toml:"package"`
		} `toml:"source"`
		Permissions map[string][]string `toml:"permissions"`
	}
	if err := toml.NewDecoder(bytes.NewReader(doc)).Decode(&p); err != nil {
		return Entry{}, fmt.Errorf("it is no berth.toml of a server: %v", err)
	}
	if p.Source.Package == "" {
		return Entry{}, errors.New("it has no [source] package")
	}
	e := Entry{Name: p.Server.Name, About: p.Server.Description, Kind: Kind(p.Source.Type), Package: p.Source.Package, Version: p.Server.Version}
	for _, kind := range slices.Sorted(maps.Keys(p.Permissions)) {
		for _, entry := range p.Permissions[kind] {
			if kind == "env" { // a variable that it wants, of which nothing else is said
				if entry != "*" {
					e.Settings = append(e.Settings, Setting{Key: entry, Env: entry, Required: true, Secret: true})
				}
				continue
			}
			e.Allow = append(e.Allow, kind+":"+entry)
		}
	}
	return e, nil
}
