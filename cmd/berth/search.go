package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

func newSearch(a *app) *cobra.Command {
	var (
		asJSON, sync bool
		limit        int
	)
	cmd := &cobra.Command{
		Use:   "search [WORD…] [--sync] [--limit N] [--json]",
		Short: "Find servers that can be installed",
		Long: `Find servers by words in their names, titles, tags and descriptions, the best first;
without words, list them. Other words for the same are found as well (gh, k8s), those that
are mistyped where few have them as they are, and where nothing has all words, what has
most of them.

Those of Berth's own catalogue were looked at: their packages, versions and hashes are
in it, what they need is declared, and of those that were run what they listed. Those of
the MCP registry are as their authors published them: --sync copies what it lists into
the home, or what changed since the last time, and from then on the copy is searched,
without the network. How old it is is said. [registry] url in berth.toml names another
registry, cache_ttl from which age on a copy is old (7 days); index there is the full path
or the https URL of an index of Berth 0.1 (so are BERTH_REGISTRY_INDEX_FILE and _URL), whose
servers are found, too, but for names that Berth's own catalogue has. --sync fetches it anew.

Files: registry/servers, registry/index-….json.

Exit codes: 0 done, also when nothing was found, 1 failed (also: --sync did not reach the
registry; what is there is searched), 2 wrong usage.`,
		Example: "  berth search files\n  berth search --sync\n  berth search issue tracker --json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			return a.search(cmd.Context(), strings.Join(args, " "), limit, sync, asJSON)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&sync, "sync", false, "copy the MCP registry first, or what changed in it")
	cmd.Flags().IntVar(&limit, "limit", 20, "list at most `number` of them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) search(ctx context.Context, words string, limit int, sync, asJSON bool) error {
	s, err := a.open(!sync)
	if err != nil {
		return err
	}
	var failed error
	if sync {
		if err := errors.Join(s.syncRegistry(ctx), s.syncIndex(ctx)); err != nil {
			if words == "" {
				return err
			}
			s.ui.fail(err)
			failed = silent(exitFailed)
		} else if words == "" {
			return nil
		}
	}
	found, more, err := s.find(ctx, words, limit)
	if err != nil {
		return err
	}
	return cmp.Or(a.showFound(found, more, asJSON), failed)
}

// find returns at most limit entries that answer words, and how many more there may be.
func (s *site) find(ctx context.Context, words string, limit int) (found []listing.Entry, more int, err error) {
	all, err := listing.BuiltIn()
	if err != nil {
		return nil, 0, err
	}
	all = withoutNamesOf(all, s.index(ctx))
	if words == "" {
		more := max(0, len(all)-limit)
		return all[:len(all)-more], more, nil
	}
	copied, err := s.registryCopy()
	if err != nil {
		s.ui.warn("%v", err)
	}
	sources := []listing.Source{listing.Catalogue(all)}
	if copied != nil {
		defer copied.Close()
		s.tellAge(copied)
		sources = append(sources, copied)
	} else {
		s.ui.say("of the MCP registry there is no copy yet: berth search --sync")
	}
	hits, n := listing.Search(words, limit, sources...)
	found = []listing.Entry{}
	for _, hit := range hits {
		found = append(found, hit.Entry)
	}
	return found, n - len(found), nil
}

// withoutNamesOf adds the entries of a source that is trusted less, but for those whose
// names are taken.
func withoutNamesOf(all, less []listing.Entry) []listing.Entry {
	taken := map[string]bool{}
	for _, e := range all {
		taken[e.Name] = true
	}
	for _, e := range less {
		if !taken[e.Name] {
			all = append(all, e)
		}
	}
	return all
}

func (a *app) showFound(found []listing.Entry, more int, asJSON bool) error {
	if asJSON {
		return a.ui.json(found)
	}
	t := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	for _, e := range found {
		about := cut(e.About, 100)
		if e.Status != "" {
			about = "(" + e.Status + ") " + about
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", printable(cut(e.Name, 80)), printable(cut(e.Version, 20)), printable(about))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case len(found) == 0:
		a.ui.say("nothing was found; npm:PACKAGE, pypi:PACKAGE, oci:IMAGE, go:PACKAGE, a URL and a server.json can be installed without a catalogue")
	case more > 0:
		a.ui.say("%d more: --limit", more)
	}
	return nil
}
