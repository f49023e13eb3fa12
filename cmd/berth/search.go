package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

func newSearch(a *app) *cobra.Command {
	var (
		asJSON bool
		limit  int
	)
	cmd := &cobra.Command{
		Use:   "search [WORD…] [--limit N] [--json]",
		Short: "Find servers that can be installed",
		Long: `Find servers by words in their names, titles, tags and descriptions, the best first;
without words, list them. Words that are mistyped are found where nothing has them as
they are.

Those of Berth's own catalogue were looked at: their packages, versions and hashes are
in it, what they need is declared, and of those that were run what they listed.

Exit codes: 0 done, also when nothing was found, 1 failed, 2 wrong usage.`,
		Example: "  berth search files\n  berth search issue tracker --json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			return a.search(strings.Join(args, " "), limit, asJSON)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "list at most so many (`number`)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) search(words string, limit int, asJSON bool) error {
	all, err := listing.BuiltIn()
	if err != nil {
		return err
	}
	found := all
	if words != "" {
		found = []listing.Entry{}
		for _, hit := range listing.Search(all, words) {
			found = append(found, hit.Entry)
		}
	}
	more := max(0, len(found)-limit)
	found = found[:len(found)-more]
	if asJSON {
		return a.ui.json(found)
	}
	t := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	for _, e := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\n", printable(e.Name), printable(e.Version), printable(cut(e.About, 100)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case len(found) == 0:
		a.ui.say("nothing was found; npm:PACKAGE, pypi:PACKAGE, a URL and a server.json can be installed without a catalogue")
	case more > 0:
		a.ui.say("%d more: --limit", more)
	}
	return nil
}
