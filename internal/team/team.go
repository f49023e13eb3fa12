// Package team is a set of servers as two files that a team keeps with its sources:
//
//	berth-team.toml   what each server is, for people to write and review
//	berth.lock        what their packages were resolved to, each by its hash
//
// The first has secrets by name only, and paths that hold on other machines (see
// [Places]). Both are written in one order always, so that a difference is a change. It
// is pure: text in, text out.
package team

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// Version is that of both files.
const Version = 1

// most bounds a file, in bytes.
const most = 64 << 20

// File is what berth-team.toml says.
type File struct {
	Version int               `toml:"version"`
	Servers map[string]Server `toml:"servers"`
}

// Server is one server of a team.
type Server struct {
	Description string `toml:"description,omitempty"`
	// Entry is the name of a catalogue's that it was installed by, From whose.
	Entry string `toml:"entry,omitempty"`
	From  string `toml:"from,omitempty"`
	// Package is what is fetched for it, "npm:NAME" or "pypi:NAME", and Version which.
	Package string `toml:"package,omitempty"`
	Version string `toml:"version,omitempty"`
	// Command is the program and its arguments; of a package, the command of its runner.
	Command []string `toml:"command,omitempty"`
	// URL is where a remote server is, and Headers what it is sent.
	URL       string            `toml:"url,omitempty"`
	Transport string            `toml:"transport,omitempty"`
	Cwd       string            `toml:"cwd,omitempty"`
	Grace     string            `toml:"grace,omitempty"`
	Allow     []string          `toml:"allow,omitempty,multiline"`
	Env       map[string]string `toml:"env,omitempty"`
	Headers   map[string]string `toml:"headers,omitempty"`
	Settings  map[string]string `toml:"settings,omitempty"`
}

// Parse reads a file. An error names the line.
func Parse(name string, doc []byte) (File, error) {
	f := File{}
	if len(doc) > most {
		return f, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	d := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return File{}, placed(name, err)
	}
	if f.Version != Version {
		return File{}, berth.WithHint(fmt.Errorf("%s: version %d is not one that this Berth reads", name, f.Version), fmt.Sprintf("write version = %d", Version))
	}
	for _, server := range slices.Sorted(maps.Keys(f.Servers)) {
		if err := check(server, f.Servers[server]); err != nil {
			return File{}, fmt.Errorf("%s:%d: server %q: %w", name, lineOf(doc, server), server, err)
		}
	}
	return f, nil
}

// placed says where something is wrong.
func placed(name string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		line, _ := strict.Errors[0].Position()
		return fmt.Errorf("%s:%d: there is no key %s", name, line, strings.Join(strict.Errors[0].Key(), "."))
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, column := bad.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, line, column, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// lineOf is where the table of a server begins, as far as it can be found.
func lineOf(doc []byte, server string) int {
	n := 0
	for line := range bytes.Lines(doc) {
		n++
		text := strings.TrimSpace(string(line))
		for _, begin := range []string{"[servers." + server, "[servers.\"" + server + "\"", "[servers.'" + server + "'"} {
			if rest, ok := strings.CutPrefix(text, begin); ok && (strings.HasPrefix(rest, "]") || strings.HasPrefix(rest, ".")) {
				return n
			}
		}
	}
	return 1
}

func check(name string, s Server) error {
	if err := berth.CheckName(name); err != nil {
		return err
	}
	kind, _, known := strings.Cut(s.Package, ":")
	switch {
	case (len(s.Command) == 0) == (s.URL == ""):
		return errors.New("it has a command or a url")
	case s.URL != "" && (s.Package != "" || s.Cwd != "" || len(s.Allow) > 0 || s.Transport != ""):
		return errors.New("package, cwd, allow and transport are of a command, not of a url")
	case s.URL == "" && len(s.Headers) > 0:
		return errors.New("headers are of a url")
	case s.Package != "" && (!known || kind != "npm" && kind != "pypi"):
		return fmt.Errorf("package %.80q is neither npm:NAME nor pypi:NAME", s.Package)
	case (s.Package == "") != (s.Version == "") && s.Entry == "":
		return errors.New("a package has a version, and only that")
	case len(s.Command) > 0 && strings.TrimSpace(s.Command[0]) == "":
		return errors.New("the command is empty")
	case s.Transport != "" && s.Transport != "stdio" && s.Transport != "http":
		return fmt.Errorf("transport %.40q is neither stdio nor http", s.Transport)
	}
	for _, entry := range s.Allow {
		if _, err := berth.ParsePermission(entry); err != nil {
			return err
		}
	}
	return nil
}

const head = `# Servers of Berth, for everybody who works here: berth sync has a home be as this says,
# and berth export writes it. Secrets are named and never here. In paths, ~ is the user's
# home directory, {here} the directory of this file, {data} that of the server's own.
`

// Encode writes the file.
func (f File) Encode() ([]byte, error) {
	f.Version = Version
	var b bytes.Buffer
	b.WriteString(head)
	enc := toml.NewEncoder(&b)
	enc.SetTablesInline(false)
	if err := enc.Encode(f); err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(b.String(), "[servers]\n", "")
	out := []byte(strings.TrimRight(text, "\n") + "\n")
	if back, err := Parse("what was written", out); err != nil || !back.Equal(f) {
		return nil, cmp.Or(err, errors.New("the file would not say what was meant"))
	}
	return out, nil
}

// Equal says whether two files say the same.
func (f File) Equal(o File) bool {
	return maps.EqualFunc(f.Servers, o.Servers, func(a, b Server) bool { return len(a.Differences(b)) == 0 })
}

// Difference is a key of which two servers say different things, as text.
type Difference struct {
	Key  string `json:"key"`
	Here string `json:"here"`
	File string `json:"file"`
}

// Differences are those of a server here and the one of the file.
func (s Server) Differences(file Server) (all []Difference) {
	add := func(key, a, b string) {
		if a != b {
			all = append(all, Difference{key, a, b})
		}
	}
	line := func(words []string) string {
		text, _ := json.Marshal(words) // of strings it never fails
		if len(words) == 0 {
			return ""
		}
		return string(text)
	}
	add("package", s.Package, file.Package)
	add("version", s.Version, file.Version)
	add("command", line(s.Command), line(file.Command))
	add("url", s.URL, file.URL)
	add("transport", cmp.Or(s.Transport, "stdio"), cmp.Or(file.Transport, "stdio"))
	add("cwd", s.Cwd, file.Cwd)
	add("grace", s.Grace, file.Grace)
	add("allow", line(sorted(s.Allow)), line(sorted(file.Allow)))
	for _, t := range []struct {
		key     string
		a, file map[string]string
	}{{"env", s.Env, file.Env}, {"headers", s.Headers, file.Headers}, {"settings", s.Settings, file.Settings}} {
		keys := slices.Collect(maps.Keys(t.a))
		keys = slices.AppendSeq(keys, maps.Keys(t.file))
		for _, key := range slices.Compact(sorted(keys)) {
			a, inA := t.a[key]
			b, inB := t.file[key]
			if inA != inB || a != b {
				all = append(all, Difference{t.key + "." + key, a, b})
			}
		}
	}
	add("description", s.Description, file.Description)
	add("entry", s.Entry, file.Entry)
	add("from", s.From, file.From)
	return all
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
