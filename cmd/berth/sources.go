package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

// entries returns the ways in which a server can be had that a user named: by a name of
// a catalogue, or by what it is; see listing.ParseReference.
func (s *site) entries(ctx context.Context, name string) ([]listing.Entry, error) {
	if fileKind(name) == listing.MCPB {
		e, err := s.bundleAt(ctx, name)
		return []listing.Entry{e}, err
	}
	r, direct, err := listing.ParseReference(name)
	if err != nil {
		return nil, misnamed(err)
	}
	if direct {
		return s.direct(ctx, r)
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
	index := s.index(ctx)
	for _, e := range index {
		if e.Name == name {
			return []listing.Entry{e}, nil
		}
	}
	all = append(all, index...)
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
	hits, _ := listing.Search(name, 3, listing.Catalogue(all))
	for _, hit := range hits {
		names = append(names, hit.Entry.Name)
	}
	if len(names) > 0 {
		return err.hint("did you mean %s? berth search finds by other words", strings.Join(names, " or "))
	}
	return err.hint("berth search finds one by words; npm:PACKAGE, pypi:PACKAGE, oci:IMAGE, go:PACKAGE, a URL and a server.json can be installed, too")
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
	if e.Kind == listing.MCPB && e.Program == "" {
		if e, err = s.readBundle(ctx, e); err != nil {
			return e, err
		}
		return e, usable(e, name)
	}
	return e, nil
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
