package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/link"
	"github.com/berth-run/berth/internal/settings"
	"github.com/spf13/cobra"
)

// linkOptions are the flags of link.
type linkOptions struct {
	all, each, http, noToken, tokenInFile, force, dry, asJSON, repair bool
	scope, url                                                        string
}

func newLink(a *app) *cobra.Command {
	var (
		o                     linkOptions
		list, original, watch bool
	)
	cmd := &cobra.Command{
		Use:   "link CLIENT… | --all | --list | --watch [--repair] | --original CLIENT [--scope user|project] [--each] [--http] [--dry-run] [--force] [--json]",
		Short: "Put Berth into the settings of AI clients",
		Long: `Put Berth into the settings of AI clients, named as docs/clients.md has them:
claude-code, cursor, codex, vscode … What is written is one entry, "berth", which runs
` + "`berth proxy --as CLIENT`" + `: all servers, without a token and without an open
port. --all does so for each client that is found on this machine. A client whose own
command adds entries is asked to; one without a documented file gets instructions.

Nothing else in a file changes: neither comments, order, indentation and line ends, nor
its mode; of a symbolic link the file that it leads to is edited. A file that is
read-only, or cannot be read, is left alone, and the entry is printed. So is an entry
"berth" that is not Berth's own, or was edited since, unless you say so when asked, or
--force; ` + "`berth unlink`" + ` puts back what was replaced so. The file as it was is kept,
encrypted: --original prints it.

--scope project writes the client's file in this directory. --each has an entry
berth-NAME for each server in the place of one for all. --http has the address of
the gateway there: that of ` + "`berth service install`" + `, or http://` + defaultListen + `, unless
--url says another; the client takes its token from the variable ` + tokenVariable + `. One that
cannot has it in the file, where everybody who reads that has it, if you say yes when
asked, or --token-in-file; --no-token is for ` + "`berth up --no-auth`" + `.
--dry-run changes nothing and shows the difference.

--watch follows what was linked until Ctrl-C: an entry that is gone, was edited, or is in
a file that cannot be read is a line as soon as it happens. With --repair an entry that is
gone is put back as it was, up to three times a minute; what somebody edited is left to
him. With --all it tells of clients that come to this machine, and links none.

--list shows what was linked, and whether it is as it was written. --json prints an array.

Files: links.json, originals/.

Exit codes: 0 done, 1 failed, for one of the clients at least, 2 wrong usage, 3 no
such client.`,
		Example: `  berth link claude-code cursor
  berth link --all --dry-run
  berth link vscode --scope project
  berth link --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case list && (len(args) > 0 || original || o.all || watch):
				return usagef("--list stands alone")
			case watch && (original || o.each || o.http || o.dry || o.force):
				return usagef("--watch writes nothing new: only --all, --repair and --json go with it")
			case o.repair && !watch:
				return usagef("--repair goes with --watch")
			case list || watch && len(args) == 0:
				return nil
			case original && len(args) != 1:
				return usagef("the original of which client?").hint("usage: berth link --original CLIENT")
			}
			return clientsOrAll(args, o.all)
		},
		ValidArgsFunction: completeKnownClients,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			switch {
			case list:
				return a.listLinks(o.asJSON)
			case watch:
				return a.watchLinks(cmd.Context(), args, o)
			case original:
				return a.printOriginal(args[0], clients.Scope(o.scope))
			}
			return a.link(cmd.Context(), args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "each client that is found on this machine")
	f.BoolVar(&list, "list", false, "show what was linked")
	f.BoolVar(&original, "original", false, "print a client's file as it was before")
	f.BoolVar(&watch, "watch", false, "tell what happens to what was linked")
	f.BoolVar(&o.repair, "repair", false, "with --watch: put back what is gone")
	f.StringVar(&o.scope, "scope", "user", "for what it holds: `user` or project")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"user", "project"}, cobra.ShellCompDirectiveNoFileComp))
	f.BoolVar(&o.each, "each", false, "an entry for each server")
	f.BoolVar(&o.http, "http", false, "the address of berth up, not a command")
	f.StringVar(&o.url, "url", "", "that `address`, with --http (default http://"+defaultListen+")")
	_ = cmd.RegisterFlagCompletionFunc("url", cobra.NoFileCompletions)
	f.BoolVar(&o.noToken, "no-token", false, "with --http: no token is needed")
	f.BoolVar(&o.tokenInFile, "token-in-file", false, "with --http: make a token, and write it into the file")
	f.BoolVar(&o.dry, "dry-run", false, "show the difference and change nothing")
	f.BoolVar(&o.force, "force", false, "take over an entry that is not Berth's")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON array")
	return cmd
}

// clientsOrAll checks the arguments of a command about clients that the table has.
func clientsOrAll(args []string, all bool) error {
	switch {
	case all && len(args) > 0:
		return usagef("name clients or say --all, not both")
	case !all && len(args) == 0:
		return usagef("which client?").hint("name one or more, or say --all; there are %s", strings.Join(knownClients(), ", "))
	}
	for _, id := range args {
		if _, ok := clients.Find(id); ok {
			continue
		}
		err := &exitError{code: exitNoServer, err: fmt.Errorf("no client is known as %q", printable(id))}
		for _, other := range knownClients() {
			if distance(id, other) <= 2 || strings.Contains(other, id) && len(id) > 2 {
				return err.hint("did you mean %s?", other)
			}
		}
		return err.hint("there are %s; any other can be given the command `berth proxy --as NAME`", strings.Join(knownClients(), ", "))
	}
	return nil
}

func knownClients() (ids []string) {
	for _, c := range clients.All() {
		ids = append(ids, c.ID)
	}
	return ids
}

func completeKnownClients(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var left []cobra.Completion
	for _, c := range clients.All() {
		if !slices.Contains(args, c.ID) {
			left = append(left, cobra.CompletionWithDesc(c.ID, c.Title))
		}
	}
	return left, cobra.ShellCompDirectiveNoFileComp
}

func (o linkOptions) check() error {
	switch {
	case o.scope != string(clients.User) && o.scope != string(clients.Project):
		return usagef("--scope: %q is neither user nor project", o.scope)
	case !o.http && (o.url != "" || o.noToken || o.tokenInFile):
		return usagef("--url, --no-token and --token-in-file need --http")
	case o.noToken && o.tokenInFile:
		return usagef("--no-token or --token-in-file, not both")
	case o.url != "" && !strings.HasPrefix(o.url, "http://") && !strings.HasPrefix(o.url, "https://"):
		return usagef("--url: %q is no address such as http://%s", o.url, defaultListen)
	}
	return nil
}

// linked is what became of one entry of one client, or of a client without a file.
type linked struct {
	Client string `json:"client"`
	Scope  string `json:"scope,omitzero"`
	Entry  string `json:"entry,omitzero"`
	File   string `json:"file,omitzero"`
	// Done is "linked", "updated", "unchanged", "unlinked", "kept", "gone", "manual" or
	// "failed".
	Done   string `json:"done"`
	Reload string `json:"reload,omitzero"`
	Diff   string `json:"diff,omitzero"`
	Text   string `json:"text,omitzero"` // for a person to paste
	Error  string `json:"error,omitzero"`
	Hint   string `json:"hint,omitzero"`

	code  exitCode
	again func() (link.Outcome, error) // puts it there again
	state func() (link.State, error)
}

// linker links clients.
type linker struct {
	*site
	app    *app
	o      linkOptions
	book   *link.Book
	system clients.System
	made   *maker
	done   []linked
}

func (a *app) newLinker(o linkOptions) (*linker, error) {
	s, err := a.open(o.dry)
	if err != nil {
		return nil, err
	}
	system, err := clients.Here(runtime.GOOS)
	if err != nil {
		return nil, err
	}
	book, err := s.book()
	return &linker{site: s, app: a, o: o, book: book, system: system}, err
}

// book is what was written into clients' settings.
func (s *site) book() (*link.Book, error) {
	v, err := s.vault()
	if err != nil {
		return nil, err
	}
	return link.Open(s.home, v), nil
}

func (a *app) link(ctx context.Context, ids []string, o linkOptions) error {
	l, err := a.newLinker(o)
	if err != nil {
		return err
	}
	if l.made, err = newMaker(l.site, o, a.yes); err != nil {
		return err
	}
	ids, err = chosen(ids, o.all, func() (found []string, err error) {
		for _, c := range clients.All() {
			if _, ok := c.File(l.system, clients.Scope(o.scope)); ok && !c.OnlyNamed && c.Installed(l.system, exec.LookPath) {
				found = append(found, c.ID)
			}
		}
		return found, nil
	})
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		l.ui.say("berth: no client was found; `berth link CLIENT` writes its settings all the same")
	}
	for _, id := range ids {
		c, _ := clients.Find(id)
		l.client(ctx, c)
	}
	l.lookAgain(ctx)
	return l.report(berth.ActionLink)
}

// client links one client.
func (l *linker) client(ctx context.Context, c clients.Client) {
	file, ok := c.File(l.system, clients.Scope(l.o.scope))
	if !ok {
		l.manual(c)
		return
	}
	entries, err := l.made.entries(c)
	if err != nil {
		l.failed(linked{Client: c.ID, Scope: l.o.scope}, err)
		return
	}
	path := l.system.Path(file)
	var wanted []string
	for _, e := range entries {
		wanted = append(wanted, e.name)
		t := link.Target{Client: c.ID, Scope: l.o.scope, File: path, Format: file.Format, Path: file.Place(e.name).Path, ID: file.ID}
		l.put(ctx, c, t, e)
	}
	// What an earlier link wrote in another form is taken out.
	records, err := l.book.Records()
	if err != nil {
		l.failed(linked{Client: c.ID, Scope: l.o.scope}, err)
	}
	for _, r := range records {
		if r.Client == c.ID && r.Scope == l.o.scope && r.File == path && !slices.Contains(wanted, r.Name()) {
			l.take(ctx, r)
		}
	}
}

// manual says what to do for a client without a documented file.
func (l *linker) manual(c clients.Client) {
	row := linked{Client: c.ID, Done: "manual", Reload: c.Reload, Text: c.Manual}
	switch {
	case c.Manual == "" && l.o.scope == string(clients.Project):
		l.failed(linked{Client: c.ID, Scope: l.o.scope}, fmt.Errorf("%s has no settings file of a project", c.Title))
		return
	case c.Manual == "":
		l.failed(linked{Client: c.ID, Scope: l.o.scope}, fmt.Errorf("%s has no settings file on %s that is documented", c.Title, l.system.OS))
		return
	}
	entries, err := l.made.entries(c)
	if err != nil {
		l.failed(linked{Client: c.ID}, err)
		return
	}
	for _, e := range entries {
		row.Text += "\n" + settings.Text(settings.Entry{{Key: e.name, Value: e.entry}})
	}
	l.done = append(l.done, row)
}

func (l *linker) put(ctx context.Context, c clients.Client, t link.Target, e madeEntry) {
	row := linked{Client: c.ID, Scope: t.Scope, Entry: t.Name(), File: t.File, Reload: c.Reload}
	if c.Checked == "" {
		row.Hint = "what Berth knows of " + c.Title + " could not be compared with its documentation: if it does not find Berth, look at " + c.Source
	}
	o := &link.PutOptions{Force: l.o.force, Dry: l.o.dry, Program: e.program, Shared: t.Scope == string(clients.Project)}
	if c.Own != nil && t.Scope == string(clients.User) && !e.secret {
		if program, err := exec.LookPath(c.Own.Program); err == nil {
			o.Own = func(ctx context.Context) error { return runOwn(ctx, program, *c.Own, e) }
		}
	}
	out, err := l.book.Put(ctx, t, e.entry, o)
	if errors.Is(err, link.ErrForeign) && !l.o.dry && l.app.yes(fmt.Sprintf("%s has an entry %s that is not Berth's; replace it? [y/N] ", t.File, t.Name())) {
		o.Force = true
		out, err = l.book.Put(ctx, t, e.entry, o)
	}
	if err != nil {
		if errors.Is(err, link.ErrForeign) {
			err = berth.WithHint(fmt.Errorf("%s has an entry %s that Berth did not write, or that was edited since", t.File, t.Name()), "--force takes it over")
		} else if text, _, e2 := settings.Set(t.Format, nil, settings.Place{Path: t.Path, ID: t.ID}, e.shown()); e2 == nil {
			row.Text = "what belongs there:\n" + strings.TrimRight(string(text), "\n")
		}
		e.undo()
		l.failed(row, err)
		return
	}
	row.Done = out.Done
	if l.o.dry {
		row.Diff = diff(t.File, e.mask(out.Before), e.mask(out.After))
	}
	if out.Done == "unchanged" {
		row.Reload, row.Hint = "", ""
	}
	if out.Busy && c.Rewrites && out.Done != "unchanged" {
		row.again = func() (link.Outcome, error) {
			return l.book.Put(ctx, t, e.entry, &link.PutOptions{Program: e.program})
		}
		row.state = func() (link.State, error) { return l.state(t) }
	}
	l.done = append(l.done, row)
}

// runOwn has a client's own command add an entry.
func runOwn(ctx context.Context, program string, own clients.Own, e madeEntry) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	entry := e.entry
	if own.Named {
		entry = append(settings.Entry{{Key: "name", Value: e.name}}, entry...)
	}
	cmd := exec.CommandContext(ctx, program, own.Args(e.name, settings.Line(entry))...)
	cmd.WaitDelay = time.Second
	return cmd.Run()
}

func (l *linker) state(t link.Target) (link.State, error) {
	records, err := l.book.Records()
	for _, r := range records {
		if r.Client == t.Client && r.File == t.File && r.Name() == t.Name() {
			return r.State()
		}
	}
	return link.Gone, err
}

// take takes an entry out.
func (l *linker) take(ctx context.Context, r link.Record) {
	row := linked{Client: r.Client, Scope: r.Scope, Entry: r.Name(), File: r.File}
	out, err := l.book.Take(ctx, r, l.o.force, l.o.dry)
	if err != nil {
		l.failed(row, err)
		return
	}
	row.Done = out.Done
	if l.o.dry {
		row.Diff = diff(r.File, out.Before, out.After)
	}
	if out.Restored {
		row.Hint = "the entry that it had replaced is back"
	}
	if out.Done == "kept" {
		row.Hint = "somebody edited it; --force removes it all the same"
	}
	l.done = append(l.done, row)
}

func (l *linker) failed(row linked, err error) {
	row.Done, row.Error, row.Hint, row.Reload, row.code = "failed", err.Error(), hintOf(err), "", codeOf(err)
	l.done = append(l.done, row)
}

// lookAgain sees after two seconds whether clients that write their files all the
// time have left what was written, and writes it once more if not.
func (l *linker) lookAgain(ctx context.Context) {
	if l.o.dry || !slices.ContainsFunc(l.done, func(r linked) bool { return r.again != nil }) {
		return
	}
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return
	}
	for i := range l.done {
		row := &l.done[i]
		if row.again == nil {
			continue
		}
		state, err := row.state()
		if err == nil && state == link.Gone {
			l.ui.warn("%s: the client wrote %s meanwhile, without the entry; it is written again", row.Client, row.File)
			_, err = row.again()
		}
		if err != nil {
			row.Done, row.Error, row.code = "failed", err.Error(), exitFailed
		}
	}
}

// report prints what was done and writes it into the audit trail.
func (l *linker) report(action string) error {
	var (
		errs    []error
		records []berth.Record
	)
	code := exitOK
	for _, row := range l.done {
		if row.code != exitOK && code == exitOK {
			code = row.code
		}
		if changed := row.Done == "linked" || row.Done == "updated" || row.Done == "unlinked"; changed && !l.o.dry {
			what := action
			if row.Done == "unlinked" {
				what = berth.ActionUnlink
			}
			records = append(records, berth.Record{Action: what, Detail: row.Client + ": " + row.Entry + " in " + row.File})
		}
		if !l.o.asJSON {
			l.show(row)
		}
	}
	errs = append(errs, l.recordAll(records))
	if l.o.asJSON {
		if l.done == nil {
			l.done = []linked{}
		}
		errs = append(errs, l.ui.json(l.done))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if code != exitOK {
		return silent(code)
	}
	return nil
}

func (l *linker) show(row linked) {
	switch row.Done {
	case "failed":
		err := errors.New(row.Client + ": " + row.Error)
		if row.Hint != "" {
			err = berth.WithHint(err, row.Hint)
		}
		l.ui.fail(err)
		if row.Text != "" {
			l.ui.say("%s", row.Text)
		}
		return
	case "manual":
		l.ui.print("%s: %s", row.Client, row.Text)
		return
	}
	verb := row.Done
	if l.o.dry && verb != "unchanged" && verb != "kept" && verb != "gone" {
		verb = "would be " + verb
	}
	l.ui.print("%s: %s %s: %s", row.Client, row.Entry, verb, row.File)
	if row.Diff != "" {
		l.ui.print("%s", strings.TrimRight(row.Diff, "\n"))
	}
	if row.Hint != "" {
		l.ui.say("berth: %s: %s", row.Client, row.Hint)
	}
	if row.Reload != "" && !l.o.dry {
		l.ui.say("berth: %s: next: %s", row.Client, row.Reload)
	}
}
