// Package clients knows the AI clients that can use MCP servers: where each has its
// settings, what an entry for a server looks like there, how it finds out about a
// change, and where its documentation says so. It is a table ([All]) and the
// functions that read it; it opens no file but to see whether it is there.
package clients

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth/internal/settings"
)

// Scope says for what an entry holds.
type Scope string

// The scopes.
const (
	User    Scope = "user"    // for all that the user does
	Project Scope = "project" // in one directory, for all who work there
	Local   Scope = "local"   // in one directory, for the user; only read, never written
)

// Client is an AI client.
type Client struct {
	ID    string // by which it is named on the command line, and known to the gateway
	Title string

	// Files are its settings files. A client without any has no documented one:
	// Manual says what to do then.
	Files  []File
	Manual string

	// Stdio is an entry for a program, HTTP one for an address; nil: it takes none.
	Stdio func(Program) settings.Entry
	HTTP  func(Remote) settings.Entry
	// Refer says that an HTTP entry can name an environment variable that has the
	// token. Without it, the token would stand in the file.
	Refer bool
	// Field is where an HTTP entry has the token.
	Field string

	// Tools is how many tools it takes at most, and Name how long the names of a
	// server and a tool may be together; 0: nothing is documented.
	Tools, Name int
	// Reload says how it takes notice of a change.
	Reload string
	// Rewrites says that it writes its file while it runs.
	Rewrites bool
	// Source is the page of its documentation that says so, and Checked the day on which
	// what is written here was last compared with that, or with its maker's sources; "" if
	// none of these could be read, or they do not say all of it.
	Source, Checked string
	// OnlyNamed says that it is meant only where it is named, never by --all: another client
	// has the same file.
	OnlyNamed bool
	// Note is what else is worth knowing.
	Note string

	// Signs are paths that show that it is installed, besides its settings file;
	// Programs are names of its program.
	Signs    []string
	Programs []string
	// Own is its own command that adds an entry; nil if it has none.
	Own *Own
}

// File is a settings file.
type File struct {
	Scope  Scope
	Format settings.Format
	// On has its path by system (GOOS); of several the first that is there is
	// meant, or else the first. "~" is the user's home directory, "{VAR:path}" what
	// a variable says, or else the path, and "." the project.
	On map[string][]string
	// Within are the keys that lead to the entries; of scope Local, "{project}" is the
	// directory.
	Within []string
	// ID is the member that names an entry where they are in a list.
	ID string
}

// Place is where the entry of a name is.
func (f File) Place(name string) settings.Place {
	return settings.Place{Path: append(slices.Clone(f.Within), name), ID: f.ID}
}

// Keys are the keys that lead to the entries of a project.
func (f File) Keys(project string) []string {
	keys := slices.Clone(f.Within)
	for i, key := range keys {
		if key == "{project}" && f.Scope == Local {
			keys[i] = project
		}
	}
	return keys
}

// Program is how Berth is run.
type Program struct {
	Name string // of the entry
	Path string
	Args []string
	Env  settings.Entry // may be empty
}

// Remote is where Berth is, by HTTP.
type Remote struct {
	Name string // of the entry
	URL  string
	// Variable names the environment variable that has the token, Token is the token
	// itself; with neither none is needed.
	Variable, Token string
}

// Own is a command of the client's that adds an entry for all that the user does.
type Own struct {
	Program string
	// Args are its arguments; text is the entry as JSON.
	Args func(name, text string) []string
	// Named says that the text has the name of the entry as its first member.
	Named bool
}

// System is what paths depend on.
type System struct {
	OS      string // GOOS
	Home    string // the user's home directory
	Project string // the directory of the project
	Getenv  func(string) string
}

// Here is the system that this process runs on.
func Here(goos string) (System, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return System{}, err
	}
	dir, err := os.Getwd()
	return System{OS: goos, Home: home, Project: dir, Getenv: os.Getenv}, err
}

// Expand is a path of the table on this system.
func (s System) Expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "{"); ok {
		variable, rest, _ := strings.Cut(rest, ":")
		fallback, rest, _ := strings.Cut(rest, "}")
		value := s.Getenv(variable)
		// The XDG specification ignores what is not absolute.
		if value != "" && !filepath.IsAbs(value) {
			if strings.HasPrefix(variable, "XDG_") {
				value = ""
			} else {
				value = filepath.Join(s.Project, value)
			}
		}
		if value == "" {
			value = s.Expand(fallback)
		}
		return filepath.Join(value, filepath.FromSlash(rest))
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		return filepath.Join(s.Home, filepath.FromSlash(rest))
	}
	return filepath.Join(s.Project, filepath.FromSlash(path))
}

// Path is where a file is on this system, or would be; "" if there is none.
func (s System) Path(f File) string {
	first := ""
	for _, p := range f.On[s.OS] {
		path := s.Expand(p)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if first == "" {
			first = path
		}
	}
	return first
}

// File returns the file of a scope that the client has on this system.
func (c *Client) File(s System, scope Scope) (File, bool) {
	for _, f := range c.Files {
		if f.Scope == scope && len(f.On[s.OS]) > 0 {
			return f, true
		}
	}
	return File{}, false
}

// Installed says whether something shows that the client is on this machine.
func (c *Client) Installed(s System, look func(string) (string, error)) bool {
	if f, ok := c.File(s, User); ok {
		if _, err := os.Stat(s.Path(f)); err == nil {
			return true
		}
	}
	for _, sign := range c.Signs {
		if _, err := os.Stat(s.Expand(sign)); err == nil {
			return true
		}
	}
	return slices.ContainsFunc(c.Programs, func(p string) bool {
		_, err := look(p)
		return err == nil
	})
}

// Find returns the client of that name.
func Find(id string) (Client, bool) {
	all := All()
	i := slices.IndexFunc(all, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return all[i], true
}
