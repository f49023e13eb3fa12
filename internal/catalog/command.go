package catalog

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth/internal/lazy"
)

// Kind is where packages come from, in the word that server.json has for it.
type Kind string

const (
	NPM  Kind = "npm"
	PyPI Kind = "pypi"
	OCI  Kind = "oci"
	Go   Kind = "go"
)

// Request is a package that is to be fetched, and its program.
type Request struct {
	Kind Kind
	// Package is its name, Version what is asked for: a version, a tag or a range,
	// in the language of its kind; "" for the newest. Extras are those of PyPI.
	Package, Version string
	Extras           string
	// With is another package of PyPI that is to be there, in a version: what the author
	// of a package should have asked for.
	With string
	// Program is the name of the program; "" for the one that the package is for.
	Program string
	// Args are the program's.
	Args []string
	// Hashes are those that the package's own file may have; any may if there are none.
	Hashes []string
	// Locks are what it was resolved to, for one system each; it is resolved anew if there
	// are none.
	Locks []*Lock
}

// String is the package as one asks for it.
func (r Request) String() string {
	name := r.Package
	if r.Extras != "" {
		name += "[" + r.Extras + "]"
	}
	switch {
	case r.Version == "":
		return name
	case r.Kind == PyPI:
		return name + r.Version
	}
	return name + "@" + r.Version
}

// Parse reads a command line. It returns false for one that is of no package
// runner, and an error for one that is, but in words that are not certain to be
// understood: such a command can only be run as it is.
func Parse(command []string) (Request, bool, error) {
	if len(command) == 0 {
		return Request{}, false, nil
	}
	name, words := command[0], command[1:]
	if runtime.GOOS == "windows" {
		name = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), ".cmd"), ".exe")
	}
	var (
		r   Request
		err error
	)
	second := ""
	if len(words) > 0 {
		second = words[0]
	}
	switch {
	case name == "npx":
		r, err = parseNPX(words)
	case name == "npm" && (second == "exec" || second == "x"):
		r, err = parseNPMExec(words[1:])
	case name == "uvx":
		r, err = parseUVX(words)
	case name == "uv" && second == "tool" && len(words) > 1 && words[1] == "run":
		r, err = parseUVX(words[2:])
	case name == "pipx" && second == "run":
		r, err = parsePipx(words[1:])
	default:
		return Request{}, false, nil
	}
	return r, true, err
}

// flags takes the options at the beginning of words. Each of plain stands alone,
// and each of named has a value, which is returned by the first name of its list;
// any other is an error.
func flags(words []string, plain []string, named ...[]string) (values map[string]string, rest []string, dashes bool, err error) {
	values = map[string]string{}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		word := words[0]
		words = words[1:]
		if word == "--" {
			return values, words, true, nil
		}
		if slices.Contains(plain, word) {
			continue
		}
		key, value, joined := strings.Cut(word, "=")
		i := slices.IndexFunc(named, func(names []string) bool { return slices.Contains(names, key) })
		if i < 0 || joined && !strings.HasPrefix(key, "--") {
			return nil, nil, false, fmt.Errorf("the option %s is not one that Berth knows", word)
		}
		if !joined {
			if len(words) == 0 {
				return nil, nil, false, fmt.Errorf("the option %s has no value", word)
			}
			value, words = words[0], words[1:]
		}
		if _, twice := values[named[i][0]]; twice {
			return nil, nil, false, fmt.Errorf("the option %s is given twice", key)
		}
		values[named[i][0]] = value
	}
	return values, words, false, nil
}

// parseNPX: npx [-y] [-p PKG] PKG[@VERSION] ARGS. All that follows the first word
// that is no option is the program's.
func parseNPX(words []string) (Request, error) {
	values, rest, _, err := flags(words, []string{"-y", "--yes", "-q", "--quiet"}, []string{"--package", "-p"})
	if err != nil {
		return Request{}, err
	}
	return npmRequest(values, rest)
}

// parseNPMExec: npm reads options everywhere before a --, the program's as well.
func parseNPMExec(words []string) (Request, error) {
	values, rest, dashes, err := flags(words, []string{"-y", "--yes", "-q", "--quiet"}, []string{"--package", "-p"})
	if err != nil {
		return Request{}, err
	}
	for i, word := range rest {
		if dashes {
			break
		}
		if word == "--" {
			rest = slices.Delete(slices.Clone(rest), i, i+1)
			break
		}
		if strings.HasPrefix(word, "-") {
			return Request{}, fmt.Errorf("npm takes %s for an option of its own, since no -- stands before it", word)
		}
	}
	return npmRequest(values, rest)
}

func npmRequest(values map[string]string, rest []string) (Request, error) {
	r := Request{Kind: NPM}
	if len(rest) == 0 {
		return r, fmt.Errorf("no package is named")
	}
	spec, from := values["--package"]
	if from {
		r.Program = rest[0]
		if !programName().MatchString(r.Program) {
			return r, fmt.Errorf("%q is no program's name", r.Program)
		}
	} else {
		spec = rest[0]
	}
	r.Args = slices.Clone(rest[1:])
	m := npmSpec().FindStringSubmatch(spec)
	if m == nil {
		return r, fmt.Errorf("%q is not the name of a package of a registry", spec)
	}
	r.Package, r.Version = m[1], strings.TrimPrefix(m[2], "@")
	return r, nil
}

// The names that are taken. What has a slash, a colon or a leading dot is a
// directory, a repository or a URL to npm.
var (
	npmSpec     = lazy.Regexp(`^((?:@[A-Za-z0-9~][A-Za-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*)(@[A-Za-z0-9.^~<>=|*+ -]+)?$`)
	programName = lazy.Regexp(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	pypiSpec    = lazy.Regexp(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[([A-Za-z0-9._-]+(?:,[A-Za-z0-9._-]+)*)\])?((?:(?:==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!-]+)(?:,(?:==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!-]+)*)?$`)
	version     = lazy.Regexp(`^[A-Za-z0-9.+!-]+$`)
)

// parseUVX: uvx [--from SPEC] [--with SPEC] PROGRAM[@VERSION] ARGS.
func parseUVX(words []string) (Request, error) {
	values, rest, _, err := flags(words, []string{"-q", "--quiet"}, []string{"--from"}, []string{"--with"})
	if err != nil {
		return Request{}, err
	}
	if len(rest) == 0 {
		return Request{}, fmt.Errorf("no program is named")
	}
	r, err := uvxRequest(values, rest)
	if with, ok := values["--with"]; ok && err == nil {
		if r.With = strings.ReplaceAll(with, " ", ""); !pypiSpec().MatchString(r.With) {
			return r, fmt.Errorf("%q is not the name of a package of an index", with)
		}
	}
	return r, err
}

func uvxRequest(values map[string]string, rest []string) (Request, error) {
	if from, ok := values["--from"]; ok {
		return pypiRequest(from, rest[0], rest[1:])
	}
	name, want, pinned := strings.Cut(rest[0], "@")
	if strings.ContainsAny(name, "[=<>~!") {
		return Request{}, fmt.Errorf("%q is no program's name: --from takes what it comes from", rest[0])
	}
	spec := name
	if pinned && want != "latest" {
		if !version().MatchString(want) {
			return Request{}, fmt.Errorf("%q is no version", want)
		}
		spec += "==" + want
	}
	return pypiRequest(spec, name, rest[1:])
}

// parsePipx: pipx run [--spec SPEC] PROGRAM ARGS.
func parsePipx(words []string) (Request, error) {
	values, rest, _, err := flags(words, []string{"-q", "--quiet"}, []string{"--spec"})
	if err != nil {
		return Request{}, err
	}
	if len(rest) == 0 {
		return Request{}, fmt.Errorf("no program is named")
	}
	spec, ok := values["--spec"]
	if !ok {
		spec = rest[0]
	}
	name := rest[0]
	if m := pypiSpec().FindStringSubmatch(name); !ok && m != nil {
		name = m[1]
	}
	return pypiRequest(spec, name, rest[1:])
}

func pypiRequest(spec, program string, args []string) (Request, error) {
	r := Request{Kind: PyPI, Program: program, Args: slices.Clone(args)}
	m := pypiSpec().FindStringSubmatch(strings.ReplaceAll(spec, " ", ""))
	if m == nil {
		return r, fmt.Errorf("%q is not the name of a package of an index", spec)
	}
	if !programName().MatchString(program) {
		return r, fmt.Errorf("%q is no program's name", program)
	}
	r.Package, r.Extras, r.Version = m[1], m[2], m[3]
	return r, nil
}
