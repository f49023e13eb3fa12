package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/link"
	"github.com/spf13/cobra"
)

func newUnlink(a *app) *cobra.Command {
	var o linkOptions
	cmd := &cobra.Command{
		Use:   "unlink CLIENT… | --all [--scope user|project] [--dry-run] [--force] [--json]",
		Short: "Take Berth out of the settings of AI clients",
		Long: `Take out of the settings of AI clients exactly what ` + "`berth link`" + ` has written there,
from the files as they are now: where nothing else has changed, they are as they were,
byte for byte. An entry that Berth replaced, since you said so, is put back. One that
somebody has edited since is kept and said, unless --force; it is Berth's no longer then.
A file that was made for the entry is removed.

--scope bounds it to entries of the user, or of projects, whichever those are.
--dry-run changes nothing and shows the difference. --json prints an array.

Files: links.json, originals/.

Exit codes: 0 done, also when there was nothing to take out, 1 failed, for one of the
clients at least, 2 wrong usage, 3 no such client.`,
		Example: `  berth unlink cursor
  berth unlink --all --dry-run`,
		Args:              func(_ *cobra.Command, args []string) error { return clientsOrAll(args, o.all) },
		ValidArgsFunction: completeKnownClients,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.scope != "" {
				if err := o.check(); err != nil {
					return err
				}
			}
			return a.unlink(cmd.Context(), args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "all that was linked")
	f.StringVar(&o.scope, "scope", "", "only entries of the `user`, or of projects")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"user", "project"}, cobra.ShellCompDirectiveNoFileComp))
	f.BoolVar(&o.dry, "dry-run", false, "show the difference and change nothing")
	f.BoolVar(&o.force, "force", false, "remove entries that were edited, too")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON array")
	return cmd
}

func (a *app) unlink(ctx context.Context, ids []string, o linkOptions) error {
	l, err := a.newLinker(o)
	if err != nil {
		return err
	}
	records, err := l.book.Records()
	if err != nil {
		return err
	}
	var found []string
	for _, r := range records {
		if (o.all || slices.Contains(ids, r.Client)) && (o.scope == "" || r.Scope == o.scope) {
			found = append(found, r.Client)
			l.take(ctx, r)
		}
	}
	for _, id := range ids {
		if !slices.Contains(found, id) {
			l.ui.say("berth: %s is not linked", id)
		}
	}
	if err := l.report(berth.ActionUnlink); err != nil {
		return err
	}
	tokens, err := l.home.Tokens()
	for _, token := range tokens {
		if slices.Contains(found, token.Name) && !o.dry {
			l.ui.say("berth: hint: %s has a token; berth token revoke %s takes it back", token.Name, token.Name)
		}
	}
	return err
}

// linkRow is a row of `berth link --list`.
type linkRow struct {
	Client string     `json:"client"`
	Scope  string     `json:"scope"`
	Entry  string     `json:"entry"`
	State  link.State `json:"state"`
	File   string     `json:"file"`
	// Checked is the day on which what Berth knows of the client was compared with its
	// documentation; "" if it could not be.
	Checked string `json:"checked,omitzero"`
	// Program is what the entry runs; "" for an address.
	Program string `json:"program,omitzero"`
	Error   string `json:"error,omitzero"`
}

func (a *app) listLinks(asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	rows, err := s.links()
	if err != nil {
		return err
	}
	if asJSON {
		return s.ui.json(rows)
	}
	t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLIENT\tSCOPE\tENTRY\tSTATE\tFILE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Client, r.Scope, r.Entry, r.State, printable(r.File))
	}
	err = t.Flush()
	for _, r := range rows {
		if r.Checked == "" {
			s.ui.note("what Berth knows of %s could not be compared with its documentation", r.Client)
		}
	}
	return err
}

// links are what was linked, as it is now.
func (s *site) links() ([]linkRow, error) {
	records, err := link.Open(s.home, nil).Records()
	rows := make([]linkRow, 0, len(records))
	for _, r := range records {
		row := linkRow{Client: r.Client, Scope: r.Scope, Entry: r.Name(), File: r.File}
		state, err := r.State()
		row.Program = r.Program
		if c, ok := clients.Find(r.Client); ok {
			row.Checked = c.Checked
		}
		if row.State = state; err != nil {
			row.Error = err.Error()
		}
		rows = append(rows, row)
	}
	return rows, err
}

// printOriginal prints a client's file as it was before it was linked.
func (a *app) printOriginal(id string, scope clients.Scope) error {
	l, err := a.newLinker(linkOptions{dry: true})
	if err != nil {
		return err
	}
	c, _ := clients.Find(id)
	file, ok := c.File(l.system, scope)
	if !ok {
		return fmt.Errorf("%s has no settings file for the %s that is documented", c.Title, scope)
	}
	path := l.system.Path(file)
	records, err := l.book.Records()
	if err != nil {
		return err
	}
	// It may have been somewhere else when it was linked.
	for _, r := range records {
		if r.Client == id && r.Scope == string(scope) {
			path = r.File
		}
	}
	plain, err := l.book.Original(path)
	if errors.Is(err, fs.ErrNotExist) {
		return berth.WithHint(fmt.Errorf("no original of %s is kept", path), "there is one of files that Berth has written to, until they are as they were")
	}
	if err != nil {
		return err
	}
	_, err = a.ui.out.Write(plain)
	return err
}
