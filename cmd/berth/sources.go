package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

// entries returns the ways in which a server can be had that a user named: by a name of
// a catalogue, or by what it is (npm:PACKAGE, pypi:PACKAGE, a URL, a server.json).
func (s *site) entries(ctx context.Context, name string) ([]listing.Entry, error) {
	if kind, spec, ok := strings.Cut(name, ":"); ok && (kind == string(listing.NPM) || kind == string(listing.PyPI)) {
		e, err := packageEntry(listing.Kind(kind), spec)
		return []listing.Entry{e}, err
	}
	if strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://") {
		e, err := urlEntry(name)
		return []listing.Entry{e}, err
	}
	if strings.HasSuffix(name, ".json") {
		return fileEntries(name)
	}
	all, err := listing.BuiltIn()
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Name == strings.ToLower(name) {
			return []listing.Entry{e}, nil
		}
	}
	found, near, err := s.ofRegistry(ctx, name)
	if len(found) > 0 || err != nil {
		return found, err
	}
	return nil, noEntry(all, name, near)
}

// noEntry is the error for a name that nobody has, with what may have been meant.
func noEntry(all []listing.Entry, name string, names []string) error {
	err := &exitError{code: exitNoServer, err: fmt.Errorf("no catalogue has a server %q", cut(name, 80))}
	if len(names) > 0 {
		// Anybody may publish under any last name: it is the user who says whose is meant.
		return err.hint("the registry has %s: say it whole", strings.Join(names, ", "))
	}
	for _, hit := range listing.Search(all, name) {
		if names = append(names, hit.Entry.Name); len(names) == 3 {
			break
		}
	}
	if len(names) > 0 {
		return err.hint("did you mean %s? berth search finds by other words", strings.Join(names, " or "))
	}
	return err.hint("berth search finds one by words; npm:PACKAGE, pypi:PACKAGE, a URL and a server.json can be installed, too")
}

// entry is the one of entries that is installed; kind chooses among them.
func (s *site) entry(ctx context.Context, name, kind string) (listing.Entry, error) {
	all, err := s.entries(ctx, name)
	if err != nil {
		return listing.Entry{}, err
	}
	if kind != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(e listing.Entry) bool { return string(e.Kind) != kind })
		if len(all) == 0 {
			return listing.Entry{}, usagef("--kind: %s is not to be had as %s", name, kind).hint("berth info %s shows how it is", name)
		}
	}
	e := all[0]
	if e.Unusable != "" {
		return e, berth.WithHint(fmt.Errorf("%s cannot be installed: %s", name, e.Unusable), "berth add runs any command")
	}
	if err := e.Check(); err != nil {
		return e, fmt.Errorf("what is said of %s cannot be used: %w", name, err)
	}
	return e, nil
}

var packageSpec = regexp.MustCompile(`^((?:@[^@/=]+/)?[^@/=]+)(?:@|==)?([^@=]*)$`)

// packageEntry is a package of which nothing else is known, or that of the catalogue.
func packageEntry(kind listing.Kind, spec string) (listing.Entry, error) {
	m := packageSpec.FindStringSubmatch(spec)
	if m == nil {
		return listing.Entry{}, usagef("%s: %.80q is no package", kind, spec).hint("write %s:PACKAGE, or with a version %s", kind,
			map[listing.Kind]string{listing.NPM: "npm:PACKAGE@1.2.3", listing.PyPI: "pypi:PACKAGE==1.2.3"}[kind])
	}
	known, found, err := listing.OfPackage(kind, m[1])
	if err != nil {
		return listing.Entry{}, err
	}
	if found && (m[2] == "" || m[2] == known.Version) {
		return known, nil
	}
	e := listing.Entry{Name: strings.TrimPrefix(path.Base(m[1]), "@"), Kind: kind, Package: m[1], Version: m[2], From: listing.FromName}
	if err := e.Check(); err != nil {
		return e, usagef("%s: %v", kind, err)
	}
	return e, nil
}

// urlEntry is a remote server of which nothing else is known.
func urlEntry(at string) (listing.Entry, error) {
	u, err := guard.CheckURL(at)
	if err != nil {
		return listing.Entry{}, usagef("%v", err)
	}
	e := listing.Entry{Name: hostName(u), Kind: listing.Remote, URL: at, From: listing.FromName}
	return e, e.Check()
}

// hostName makes a name of a URL: of what stands before the last dot of its host.
func hostName(u *url.URL) string {
	parts := strings.Split(u.Hostname(), ".")
	if len(parts) > 1 {
		parts = parts[:len(parts)-1]
	}
	if len(parts) > 1 && (parts[0] == "mcp" || parts[0] == "www" || parts[0] == "api") {
		parts = parts[1:]
	}
	return strings.Join(parts, "-")
}

// fileEntries are those of a server.json.
func fileEntries(name string) ([]listing.Entry, error) {
	full, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(full)
	if errors.Is(err, os.ErrNotExist) {
		return nil, berth.WithHint(err, "a name that ends in .json is the path of a server.json")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, listing.MaxServerJSON+1))
	if err != nil {
		return nil, err
	}
	all, err := listing.ParseServerJSON(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range all {
		all[i].From = listing.FromFile + ":" + full
	}
	return all, nil
}

// sourceLine says where an entry is from.
func sourceLine(e listing.Entry) string {
	switch file, isFile := strings.CutPrefix(e.From, listing.FromFile+":"); {
	case isFile:
		return "the file " + file
	case e.From == listing.FromBerth:
		return "Berth's own catalogue"
	case e.From == listing.FromRegistry:
		return "the MCP registry, as its author published it"
	}
	return "you: nothing else is known of it"
}

// completeEntries completes names of the catalogue.
func completeEntries(_ *cobra.Command, args []string, word string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := listing.BuiltIn()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, e := range all {
		if strings.HasPrefix(e.Name, word) {
			words = append(words, cobra.CompletionWithDesc(e.Name, e.About))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
