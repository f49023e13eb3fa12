package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/adopt"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/link"
	"github.com/spf13/cobra"
)

// importOptions are the flags of import.
type importOptions struct {
	all, dry, yes, asJSON, replace, noRun bool
	project, profile, require             string
	only, inputs                          []string
	timeout                               time.Duration
}

func newImport(a *app) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import CLIENT… | --all [--project DIR] [--only ENTRY]… [--replace-in-clients] [--dry-run] [--yes] [--json]",
		Short: "Take over the servers that AI clients have",
		Long: `Take over the servers that AI clients have in their settings: read the files that
berth link knows (docs/clients.md), show which servers are in them, what each will run
and what it may do, and after a yes add each as berth add does: the package of an npx or
uvx command is fetched and pinned, the server is confined, and run once. The clients'
files are left as they are, unless --replace-in-clients is given.

Values that are secrets go into the encrypted store of the home (berth secret): of
variables and headers whose names say so (TOKEN, KEY, PASSWORD, Authorization …), that
look like a known kind of token, or that the client would ask for as a password. They are
in no server's file and are not shown. An entry with a secret in its arguments or its URL
is not taken over, for others would see it there: the reason is said, and what to do.

What a client looks up is looked up now: ${env:X}, ${X} and their like in your environment,
${workspaceFolder} with --project. An ${input:X} is asked for at the terminal, or is what
--input X=env:VARIABLE or X=file:PATH says. What cannot be looked up has its entry not
taken over, and you are told why; that keeps no other from being.

A server is called what its entry is, in small letters, with - for what no name has. One
that several clients have is one server; of two that differ and are called the same, the
second (in the order of the clients' names) gets -2 behind its name, as does one whose
name a server of the home has. What is in the home as it is in the client stays as it is,
and entries that run Berth are passed over. One that is disabled in all its clients is
disabled here.

--project reads the files of that project as well. --only takes the entry of that name
alone. --replace-in-clients puts Berth into the settings of each client, as berth link
does, and takes out of them the entries that were taken over; it asks before, unless
--yes. Each file is kept as it was: berth link --original CLIENT prints it. --json prints
an array.

Exit codes: 0 done, 1 failed, for one of the entries at least, 2 wrong usage, or nobody was
there to say yes, 3 no such client.`,
		Example: `  berth import --all --dry-run
  berth import claude-code cursor
  berth import vscode --project . --input api-key=env:API_KEY --yes
  berth import cursor --replace-in-clients`,
		Args:              func(_ *cobra.Command, args []string) error { return clientsOrAll(args, o.all) },
		ValidArgsFunction: completeKnownClients,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.importAll(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "each client that is found on this machine")
	f.StringVar(&o.project, "project", "", "the files of the project in `directory`, too")
	f.StringArrayVar(&o.only, "only", nil, "the entry of that `name` alone; may be repeated")
	f.StringArrayVar(&o.inputs, "input", nil, "`X=env:VARIABLE` or X=file:PATH: what the client would ask for; may be repeated")
	f.StringVar(&o.profile, "profile", "", "how tightly they are confined: off, standard or strict (`word`; default "+string(home.NewProfile)+")")
	f.StringVar(&o.require, "require", "", "enforce or prefer: refuse to start where that cannot be kept, or say so (`word`; default enforce)")
	f.BoolVar(&o.replace, "replace-in-clients", false, "take what was taken over out of the clients' settings, and put Berth there")
	f.BoolVar(&o.noRun, "no-run", false, "do not run them now")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long the first run of each may take until it answers")
	f.BoolVar(&o.dry, "dry-run", false, "show what would be done and change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON array")
	_ = cmd.MarkFlagDirname("project")
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfileWords())
	_ = cmd.RegisterFlagCompletionFunc("require", cobra.FixedCompletions([]string{string(berth.RequireEnforce), string(berth.RequirePrefer)}, cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"only", "input"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
	return cmd
}

// importRow is a server that clients have, or an entry that is not taken over.
type importRow struct {
	// Server is what it is called here; "" for what is not taken over.
	Server string         `json:"server,omitzero"`
	From   []importSource `json:"from"`
	// Done is "imported", "planned" with --dry-run, "there", "own", "refused" or "failed".
	Done    string   `json:"done"`
	Reason  string   `json:"reason,omitzero"`
	Hint    string   `json:"hint,omitzero"`
	Command []string `json:"command,omitempty"`
	URL     string   `json:"url,omitzero"`
	// Secrets are the variables and headers whose values go into the store.
	Secrets  []string `json:"secrets,omitempty"`
	Allow    []string `json:"allow,omitempty"`
	Disabled bool     `json:"disabled,omitzero"`

	found adopt.Server
	taken []candidate
	add   *addition
}

// importSource is where an entry is.
type importSource struct {
	Client string `json:"client"`
	Scope  string `json:"scope"`
	Entry  string `json:"entry"`
	File   string `json:"file"`
	// Removed: it was taken out of there.
	Removed bool `json:"removed,omitzero"`
}

// importer imports servers.
type importer struct {
	*site
	app    *app
	o      importOptions
	system clients.System
	own    []link.Record
	inputs map[string]string // what --input says
	asked  map[string]answer // what was asked for, by file and ID
	rows   []*importRow
	failed bool
}

func (a *app) importAll(ctx context.Context, ids []string, o importOptions) error {
	i, err := a.newImporter(o)
	if err != nil {
		return err
	}
	if ids, err = chosen(ids, o.all, func() (found []string, err error) {
		for _, c := range clients.All() {
			if !c.OnlyNamed && (c.Installed(i.system, exec.LookPath) || i.hasProjectFile(c)) {
				found = append(found, c.ID)
			}
		}
		return found, nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		c, _ := clients.Find(id)
		if len(c.Files) == 0 {
			i.ui.say("berth: %s has no settings file that is documented: what it has is not known", c.Title)
		}
	}
	all := i.candidates(ids)
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(c candidate) bool { return c.Name() == name }) {
			return fmt.Errorf("--only %s: no entry is called that in the settings that were read", name)
		}
	}
	i.sort(all)
	if err := i.nameAll(); err != nil {
		return err
	}
	i.plan()
	planned := i.count("planned")
	i.show()
	if planned > 0 && !o.dry {
		if err := a.consent(fmt.Sprintf("import %s?", counted(planned, "server")), o.yes); err != nil {
			return err
		}
		for _, row := range i.rows {
			if row.Done == "planned" {
				i.do(ctx, row)
			}
		}
	}
	if err := i.leaveClients(ctx); err != nil {
		return err
	}
	return i.report()
}

func (a *app) newImporter(o importOptions) (*importer, error) {
	if o.timeout <= 0 {
		return nil, usagef("--timeout must be more than nothing")
	}
	i := &importer{app: a, o: o, inputs: map[string]string{}, asked: map[string]answer{}}
	for _, entry := range o.inputs {
		id, from, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(from, "env:") && !strings.HasPrefix(from, "file:") {
			// What stands there may be the secret itself: it is not shown.
			return nil, usagef("--input %s: where its value is", printable(cut(id, 80))).hint("write --input X=env:VARIABLE or X=file:PATH")
		}
		i.inputs[id] = from
	}
	var err error
	if i.system, err = clients.Here(runtime.GOOS); err != nil {
		return nil, err
	}
	if o.project != "" {
		if o.project, err = filepath.Abs(o.project); err != nil {
			return nil, err
		}
		if info, err := os.Stat(o.project); err != nil || !info.IsDir() {
			return nil, usagef("--project: %s is not a directory", o.project)
		}
		i.o.project, i.system.Project = o.project, o.project
	}
	if i.site, err = a.open(o.dry); err != nil {
		return nil, err
	}
	if o.asJSON {
		i.site.ui = newUI(discard{}, a.ui.err)
	}
	i.own, err = link.Open(i.home, nil).Records()
	return i, err
}

// discard is where what is said of each server goes when stdout has JSON alone.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (i *importer) hasProjectFile(c clients.Client) bool {
	f, ok := c.File(i.system, clients.Project)
	if !ok || i.o.project == "" {
		return false
	}
	_, err := os.Stat(i.system.Path(f))
	return err == nil
}

func (i *importer) count(done string) (n int) {
	for _, row := range i.rows {
		if row.Done == done {
			n++
		}
	}
	return n
}

// do adds one server.
func (i *importer) do(ctx context.Context, row *importRow) {
	if err := i.put(ctx, row.add); err != nil {
		row.fail(err)
		i.ui.fail(berth.WithHint(fmt.Errorf("%s is not imported: %w", row.Server, err), hintOf(err)))
		return
	}
	row.Done = "imported"
	if i.o.noRun || row.Disabled {
		return
	}
	if err := i.firstRun(ctx, row.Server, i.o.timeout); err != nil {
		// It is there, as after berth add, and its user has to look at it.
		i.failed = true
		i.ui.fail(err)
	}
}

func (row *importRow) fail(err error) {
	row.Done, row.Reason, row.Hint = "failed", err.Error(), hintOf(err)
	var refusal *adopt.Refusal
	if errors.As(err, &refusal) {
		row.Done, row.Hint = "refused", refusal.Hint
	}
}

// report prints what was done.
func (i *importer) report() error {
	code := exitOK
	for _, row := range i.rows {
		if row.Done == "failed" || row.Done == "refused" || i.failed {
			code = exitFailed
		}
	}
	if i.o.asJSON {
		rows := i.rows
		if rows == nil {
			rows = []*importRow{}
		}
		if err := i.app.ui.json(rows); err != nil {
			return err
		}
	}
	if len(i.rows) == 0 {
		i.ui.say("berth: no server was found in the settings of clients")
	}
	if code != exitOK {
		return silent(code)
	}
	return nil
}

// where names the entries of a row for a person.
func (row *importRow) where() string {
	var list []string
	for _, s := range row.From {
		text := s.Client
		if s.Scope != string(clients.User) {
			text += " (" + s.Scope + ")"
		}
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return strings.Join(list, ", ")
}

// show says what was found, before it is asked whether to go on.
func (i *importer) show() {
	for _, row := range i.rows {
		switch row.Done {
		case "own":
		case "there":
			i.ui.print("%s: is here already, as %s has it", row.Server, row.where())
		case "refused", "failed":
			err := fmt.Errorf("%s: %s is not imported: %s", row.where(), printable(row.From[0].Entry), row.Reason)
			if row.From[0].Entry == "" {
				err = fmt.Errorf("%s: %s", row.where(), row.Reason)
			}
			i.ui.fail(berth.WithHint(err, row.Hint))
		case "planned":
			i.showPlanned(row)
		}
	}
}

func (i *importer) showPlanned(row *importRow) {
	say := i.ui.say
	if i.o.dry {
		say = i.ui.print
	}
	say("%s: from %s", row.Server, row.where())
	if row.URL != "" {
		say("  at       %s", row.URL)
	} else {
		say("  runs     %s", shellLine(row.Command))
	}
	for _, key := range row.Secrets {
		say("  secret   %s, into the encrypted store", key)
	}
	if row.URL == "" {
		say("  may use  %s", orNone(row.Allow, "no network, none of your files"))
	}
	if row.Disabled {
		say("  disabled, as it is there")
	}
}
