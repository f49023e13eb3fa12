package listing

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/lazy"
)

// Kind is what an entry is run from, in the words of server.json.
type Kind string

const (
	NPM    Kind = "npm"
	PyPI   Kind = "pypi"
	OCI    Kind = "oci" // an image of a container
	Go     Kind = "go"  // a program of a Go module
	Remote Kind = "remote"
	// MCPB is a bundle, and Binary a program, or an archive with one, that somebody offers
	// for download.
	MCPB   Kind = "mcpb"
	Binary Kind = "binary"
)

// Where an entry is from.
const (
	FromBerth    = "berth"    // the catalogue that is part of this program
	FromRegistry = "registry" // the MCP registry
	FromFile     = "file"     // a server.json
	FromName     = "name"     // a package or a URL that the user named
)

// Entry is a server that can be installed in one way.
type Entry struct {
	// Name is unique among the entries of one source.
	Name  string   `toml:"name" json:"name"`
	Title string   `toml:"title" json:"title,omitzero"`
	About string   `toml:"about" json:"description,omitzero"`
	Tags  []string `toml:"tags" json:"tags,omitempty"`
	// Version is the server's.
	Version    string `toml:"version" json:"version,omitzero"`
	Licence    string `toml:"licence" json:"licence,omitzero"`
	Repository string `toml:"repository" json:"repository,omitzero"`
	// Note is what one has to know before.
	Note string `toml:"note" json:"note,omitzero"`
	// Status is "" or what its registry says besides: "deprecated", "deleted".
	Status string `toml:"-" json:"status,omitzero"`
	// From is one of FromBerth and its like.
	From string `toml:"-" json:"from"`

	Kind Kind `toml:"kind" json:"kind"`
	// Package is its name in its registry, Program the one of its programs that is
	// run, "" for the only one. Hashes are those that the package's own file may
	// have, as its registry writes them. Of what is downloaded, Package is the URL, or
	// the path, and Program what is run, in which ${__dirname} is where it is unpacked.
	Package string `toml:"package" json:"package,omitzero"`
	// With is a package of PyPI, in versions, that is installed beside it: what it needs
	// and does not say. An author who asks for any version of a library gets one that has
	// changed since.
	With    string   `toml:"with" json:"with,omitzero"`
	Program string   `toml:"program" json:"program,omitzero"`
	Hashes  []string `toml:"hashes" json:"hashes,omitempty"`
	// URL is where a remote server is, Transport how it is spoken to: "" is stdio, or
	// streamable-http for a remote one.
	URL       string `toml:"url" json:"url,omitzero"`
	Transport string `toml:"transport" json:"transport,omitzero"`

	// Args, Env and Headers may have the values of settings in them: {key}. An argument
	// that is {key} and no more stands for the words of the setting. {data}, in a
	// variable, is the directory that the server has to itself.
	Args    []string          `toml:"args" json:"args,omitempty"`
	Env     map[string]string `toml:"env" json:"env,omitempty"`
	Headers map[string]string `toml:"headers" json:"headers,omitempty"`
	// Allow are permissions, with {key} as well. Directories is what the directories
	// among the arguments are to the server: "read", "write" or "".
	Allow       []string  `toml:"allow" json:"allow,omitempty"`
	Directories string    `toml:"directories" json:"directories,omitzero"`
	Settings    []Setting `toml:"setting" json:"settings,omitempty"`

	// Runtimes are the versions of node and python that a bundle says it needs, and Signed
	// is what is known of its signature.
	Runtimes map[string]string `toml:"-" json:"runtimes,omitempty"`
	Signed   string            `toml:"-" json:"signed,omitzero"`

	// Ran says when it was run from this version, and Tools what it listed; of one
	// that was not run nothing is known, and NotRun says why.
	Ran    string   `toml:"ran" json:"ran,omitzero"`
	Tools  []string `toml:"tools" json:"tools,omitempty"`
	NotRun string   `toml:"not_run" json:"notRun,omitzero"`
	// Unusable says why Berth cannot install it.
	Unusable string `toml:"-" json:"unusable,omitzero"`
}

// Setting is something that its user decides.
type Setting struct {
	Key   string `toml:"key" json:"key"`
	About string `toml:"about" json:"description,omitzero"`
	// Type is string, number, boolean, directory, file or url.
	Type     string   `toml:"type" json:"type,omitzero"`
	Required bool     `toml:"required" json:"required,omitzero"`
	Secret   bool     `toml:"secret" json:"secret,omitzero"`
	Repeated bool     `toml:"repeated" json:"repeated,omitzero"`
	Default  string   `toml:"default" json:"default,omitzero"`
	Choices  []string `toml:"choices" json:"choices,omitempty"`
	// Env is the variable that its value is, Arg the words that it adds to the command
	// line, in which {} is the value. One of a boolean is added if it is true.
	Env string   `toml:"env" json:"env,omitzero"`
	Arg []string `toml:"arg" json:"arg,omitempty"`
	// Access is what the server does with the file or directory: "read", "write" or "".
	Access string `toml:"access" json:"access,omitzero"`
	// Min and Max bound a number.
	Min *float64 `toml:"-" json:"min,omitempty"`
	Max *float64 `toml:"-" json:"max,omitempty"`
}

// Setting returns a setting by its key, or by the variable that has it.
func (e *Entry) Setting(key string) (Setting, bool) {
	i := slices.IndexFunc(e.Settings, func(s Setting) bool { return s.Key == key || s.Env != "" && s.Env == key })
	if i < 0 {
		return Setting{}, false
	}
	return e.Settings[i], true
}

// types are those of a setting; "" is string.
func types() []string { return []string{"", "string", "number", "boolean", "directory", "file", "url"} }

var (
	npmName  = lazy.Regexp(`^(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*$`)
	pypiName = lazy.Regexp(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	// requirement is one of PyPI: a name, and what its version is compared with.
	requirement = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]*(?:[<>=!~]=?[0-9A-Za-z.*]+)(?:,[<>=!~]=?[0-9A-Za-z.*]+)*$`)
	exact       = lazy.Regexp(`^[0-9A-Za-z][0-9A-Za-z.+!_-]*$`)
	keyName     = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)
	variable    = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// most bounds what is taken of a text that others wrote.
const mostText = 8 << 10

// Check says what is wrong with an entry.
func (e *Entry) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !entryName(e.Name) {
		bad("%.80q is no name of a server", e.Name)
	}
	switch e.Kind {
	case NPM:
		if !npmName().MatchString(e.Package) {
			bad("%.80q is no package of npm", e.Package)
		}
	case PyPI:
		if !pypiName().MatchString(e.Package) {
			bad("%.80q is no package of PyPI", e.Package)
		}
	case OCI:
		if !imageName().MatchString(e.Package) || wholeImage(e.Package) != e.Package {
			bad("%.80q is no image", e.Package)
		}
	case Go:
		if !goPath().MatchString(e.Package) {
			bad("%.80q is no package of Go", e.Package)
		}
	case Remote:
		if e.URL == "" {
			bad("it has no URL")
		}
	case MCPB, Binary:
		if err := e.checkFile(); err != nil {
			errs = append(errs, err)
		}
	default:
		bad("it is of kind %.40q, which is not one that Berth installs", e.Kind)
	}
	if e.With != "" && (e.Kind != PyPI || !requirement().MatchString(e.With)) {
		bad("%.80q is nothing that is installed beside it", e.With)
	}
	if !e.versionIsExact() {
		bad("%.40q is no exact version", e.Version)
	}
	seen := map[string]bool{"data": true}
	for _, s := range e.Settings {
		switch {
		case !keyName().MatchString(s.Key) || strings.HasPrefix(s.Key, "berth."):
			bad("%.80q is no name of a setting", s.Key)
		case seen[s.Key]:
			bad("the setting %s is there twice", s.Key)
		case !slices.Contains(types(), s.Type):
			bad("the setting %s is of type %.40q, which is not known", s.Key, s.Type)
		case s.Env != "" && !variable().MatchString(s.Env):
			bad("the setting %s is the variable %.80q, which is none", s.Key, s.Env)
		case s.Secret && (len(s.Arg) > 0 || slices.ContainsFunc(e.Args, func(a string) bool { return strings.Contains(a, "{"+s.Key+"}") })):
			bad("the secret %s would be an argument, which every user of the machine sees", s.Key)
		case !slices.Contains([]string{"", "read", "write"}, s.Access):
			bad("the setting %s: access is %.40q", s.Key, s.Access)
		}
		seen[s.Key] = true
	}
	for key := range e.Env {
		if !variable().MatchString(key) {
			bad("%.80q is no variable", key)
		}
	}
	for _, entry := range e.Allow {
		if _, err := berth.ParsePermission(entry); err != nil && !strings.Contains(entry, "{") {
			bad("%v", err)
		}
	}
	if !slices.Contains([]string{"", "read", "write"}, e.Directories) {
		bad("directories is %.40q", e.Directories)
	}
	for _, text := range append([]string{e.Name, e.URL, e.Package, e.Program, e.Version}, e.Args...) {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(text) > mostText {
			bad("%.40q has control characters, or is too long", text)
		}
	}
	return errors.Join(errs...)
}

// versionIsExact: a tag of an image may move, and is held to what it was by its digest.
func (e *Entry) versionIsExact() bool {
	switch {
	case e.Kind == Remote, e.Version == "":
		return true
	case e.Kind == OCI:
		return imageTag().MatchString(e.Version)
	case e.Kind == Go:
		return goVersion().MatchString(e.Version)
	}
	return exact().MatchString(e.Version) && e.Version != "latest"
}

// entryName: what people type and files are not named by. A name of the registry has
// one slash.
func entryName(name string) bool {
	space, server, both := strings.Cut(name, "/")
	part := func(s string) bool {
		return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
		})
	}
	return len(name) <= 200 && part(space) && (!both || part(server))
}

// ShortName is a name that a server of the entry may have in a home: the last part of
// its own, "" if nothing of that can be.
func (e *Entry) ShortName() string {
	name := e.Name[strings.LastIndexByte(e.Name, '/')+1:]
	name = strings.Trim(outside().ReplaceAllString(strings.ToLower(name), "-"), "-._")
	if len(name) > 64 {
		name = strings.Trim(name[:64], "-._")
	}
	if berth.CheckName(name) != nil {
		return ""
	}
	return name
}

var outside = lazy.Regexp(`[^a-z0-9._-]+`)

// Command is the command line by which the package's own runner runs it.
func (e *Entry) Command() []string {
	switch e.Kind {
	case NPM:
		spec := e.Package
		if e.Version != "" {
			spec += "@" + e.Version
		}
		if e.Program == "" {
			return []string{"npx", "-y", spec}
		}
		return []string{"npx", "-y", "--package", spec, e.Program}
	case PyPI:
		spec := e.Package
		if e.Version != "" {
			spec += "==" + e.Version
		}
		command := []string{"uvx", "--from", spec}
		if e.With != "" {
			command = append(command, "--with", e.With)
		}
		return append(command, cmp.Or(e.Program, e.Package))
	case OCI:
		return []string{"docker", "run", "-i", "--rm", e.Image()}
	case Go:
		return []string{"go", "run", e.Package + "@" + cmp.Or(e.Version, "latest")}
	case MCPB, Binary:
		return nonEmpty(e.Program)
	}
	return nil
}

// Image is the image of an entry as the engines read it: by its digest, if that is known.
func (e *Entry) Image() string {
	if len(e.Hashes) == 1 {
		return e.Package + "@" + e.Hashes[0]
	}
	return e.Package + ":" + cmp.Or(e.Version, "latest")
}

// EntryOf is an entry of what a user named, of which nothing else is known.
func (r Reference) EntryOf(name string) Entry {
	e := Entry{Name: name, Kind: r.Kind, Package: r.Package, Version: r.Version, From: FromName}
	if r.Digest != "" {
		e.Hashes = []string{r.Digest}
	}
	return e
}

// ArgPermissions are those that the entry's Directories gives for arguments that the
// server has in cwd.
func (e *Entry) ArgPermissions(args []string, cwd string) (list []berth.Permission, err error) {
	if e.Directories == "" {
		return nil, nil
	}
	for _, arg := range args {
		dir := directory(arg, cwd)
		if dir == "" {
			continue
		}
		p, err := berth.ParsePermission(berth.PermissionFiles + ":" + e.Directories + ":" + dir)
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
