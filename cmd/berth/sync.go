package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/berth-run/berth/internal/team"
	"github.com/spf13/cobra"
)

// syncOptions are the flags of sync.
type syncOptions struct {
	check, dry, prune, yes, noRun, asJSON bool
	secrets                               []string
	timeout                               time.Duration
}

func newSync(a *app) *cobra.Command {
	var o syncOptions
	cmd := &cobra.Command{
		Use:   "sync [FILE] [--check] [--dry-run] [--prune] [--secret NAME/KEY=env:V]… [--yes] [--json]",
		Short: "Have this home be what a team's file says",
		Long: `Install the servers of FILE (` + teamFile + `), which berth export writes, and have those
that differ be as it says. What is to be run, what it may do, and what changes is shown
before, and nothing is done without a yes. Packages are those of berth.lock beside it,
each of the tree by its hash, or nothing is installed. What the file does not have is said,
and removed with --prune alone.

Secrets are in no such file. Those that the store does not have are taken from where
--secret says (NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH), else asked for at the terminal;
of a server that lacks one all else is done, it is not run, and the exit code is 1.

A sync does nothing where nothing differs. One that was interrupted has left each server
as it was or as it is to be; the next goes on. What you granted or revoked in this home
stays yours, and whether a server is enabled.

--check changes nothing, and fails if something would be done or a secret is missing, with
--prune also if there are further servers: for CI. --dry-run is the same and does not fail.

Exit codes: 0 done, nothing to do, or nothing differs; 1 failed, a secret is missing, or
with --check something differs; 2 a wrong file or flag, or nobody was there to say yes.`,
		Example: "  berth sync\n  berth sync tools.toml --yes --secret github/GITHUB_TOKEN=env:GITHUB_TOKEN\n  berth sync --check",
		Args:    oneFile,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.sync(cmd.Context(), fileOr(args), o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.check, "check", false, "only say what differs, and fail if something does")
	f.BoolVar(&o.dry, "dry-run", false, "only show what would be done")
	f.BoolVar(&o.prune, "prune", false, "remove servers that the file does not have")
	f.StringArrayVar(&o.secrets, "secret", nil, "`NAME/KEY=env:VARIABLE` or NAME/KEY=file:PATH: a secret; may be repeated")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.noRun, "no-run", false, "do not run them now")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long the first run of each may take until it answers")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON array")
	_ = cmd.RegisterFlagCompletionFunc("secret", cobra.NoFileCompletions)
	return cmd
}

// syncRow is a server of the file, or one that only the home has.
type syncRow struct {
	Server string `json:"server"`
	// Done is "unchanged", "extra" (only the home has it) or "failed"; "missing" or
	// "differs" for what would be done, and "installed", "updated" or "removed" for what was.
	Done        string            `json:"done"`
	Differences []team.Difference `json:"differences,omitempty"`
	// Missing are secrets that the store does not have.
	Missing []string `json:"missingSecrets,omitempty"`
	Error   string   `json:"error,omitzero"`
	Hint    string   `json:"hint,omitzero"`

	want  team.Server // with the paths of this machine
	locks []*catalog.Lock
	here  []stored // secrets that the server's file here has as they are
	add   *addition
}

func (r *syncRow) fail(err error) { r.Done, r.Error, r.Hint = "failed", err.Error(), hintOf(err) }

// syncer has a home be what a file says.
type syncer struct {
	*site
	app     *app
	o       syncOptions
	file    team.File
	lock    team.Lock
	places  team.Places
	secrets map[string]string // where --secret says they are
	rows    []*syncRow
}

func (a *app) sync(ctx context.Context, file string, o syncOptions) error {
	if o.timeout <= 0 {
		return usagef("--timeout must be more than nothing")
	}
	y := &syncer{app: a, o: o, secrets: map[string]string{}}
	for _, entry := range o.secrets {
		key, from, ok := strings.Cut(entry, "=")
		if _, err := secret.ParseRef(secret.Scheme + key); err != nil || !ok || !strings.HasPrefix(from, "env:") && !strings.HasPrefix(from, "file:") {
			// What stands there may be the secret itself: it is not shown.
			return usagef("--secret %s: where its value is", printable(cut(key, 80))).hint("write --secret NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH")
		}
		y.secrets[key] = from
	}
	if err := y.read(file); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	var err error
	if y.site, err = a.open(o.check || o.dry); err != nil {
		return err
	}
	if o.asJSON {
		y.site.ui = newUI(discard{}, a.ui.err)
	}
	if err := y.compare(); err != nil {
		return err
	}
	y.show()
	if !o.check && !o.dry {
		if err := y.apply(ctx); err != nil {
			return err
		}
	}
	return y.report()
}

// read reads the file and its lock.
func (y *syncer) read(file string) error {
	doc, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return berth.WithHint(err, "berth export writes one")
	}
	if err != nil {
		return err
	}
	if y.file, err = team.Parse(file, doc); err != nil {
		return err
	}
	if y.places, err = placesOf(file); err != nil {
		return err
	}
	if doc, err = os.ReadFile(lockBeside(file)); errors.Is(err, fs.ErrNotExist) {
		return nil // each server that needs one says so
	}
	if err != nil {
		return err
	}
	y.lock, err = team.ParseLock(lockBeside(file), doc)
	return err
}

// compare makes the rows: what is the same, what is to be done, and what cannot be.
func (y *syncer) compare() error {
	names, err := y.installed()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(y.file.Servers)) {
		row := &syncRow{Server: name}
		y.rows = append(y.rows, row)
		if err := y.compareOne(row, slices.Contains(names, name)); err != nil {
			row.fail(err)
		}
	}
	for _, name := range names {
		if _, there := y.file.Servers[name]; there {
			continue
		}
		if server, err := y.home.ReadServer(name); err != nil || ownOfHome(server) == "" {
			y.rows = append(y.rows, &syncRow{Server: name, Done: "extra"})
		}
	}
	return nil
}

func (y *syncer) compareOne(row *syncRow, there bool) (err error) {
	places := y.places
	if places.Data, err = y.home.DataDir(row.Server); err != nil {
		return err
	}
	row.want = y.file.Servers[row.Server].In(places)
	if row.want.Settings = maps.Clone(row.want.Settings); row.want.Settings == nil {
		row.want.Settings = map[string]string{}
	}
	if _, said := row.want.Settings[home.KeySandbox]; !said && row.want.URL == "" {
		row.want.Settings[home.KeySandbox] = string(home.NewProfile)
	}
	if err := y.locksOf(row); err != nil {
		return err
	}
	if err := y.addition(row); err != nil {
		return err
	}
	row.Done = "missing"
	if row.Missing, err = y.missing(row.add.server); err != nil {
		return err
	}
	if there {
		old, err := y.home.ReadServer(row.Server)
		if err == nil {
			// Its own file has the value as it is: if it is changed, that goes into the store.
			row.Missing = slices.DeleteFunc(row.Missing, func(key string) bool {
				value := old.Env[key]
				plain := plainSecret(key, value)
				if plain {
					row.here = append(row.here, stored{secret.Ref{Server: row.Server, Key: key}, value})
				}
				return plain
			})
			row.Differences, err = y.differences(old, row)
		}
		if err != nil {
			return err
		}
		if row.Done = "differs"; len(row.Differences) == 0 {
			row.Done = "unchanged"
		}
		row.add.replace = true
	}
	return nil
}

// locksOf reads what the lock has of a server, and sees that it is of what the file says.
func (y *syncer) locksOf(row *syncRow) error {
	if row.want.Package == "" {
		return nil
	}
	for _, raw := range y.lock.Servers[row.Server].Packages {
		l, err := catalog.ParseShared(raw)
		if err != nil {
			return err
		}
		if string(l.Kind)+":"+l.Package != row.want.Package || l.Version != row.want.Version {
			return berth.WithHint(fmt.Errorf("the lock has %s:%s %s, and the file %s %s", l.Kind, l.Package, l.Version, row.want.Package, row.want.Version),
				"have it be so in a home (berth update, berth add --replace), and `berth export` writes both")
		}
		row.locks = append(row.locks, l)
	}
	if len(row.locks) == 0 {
		return berth.WithHint(fmt.Errorf("%s is not in the lock", row.want.Package), "`berth export` writes the lock beside the file")
	}
	return nil
}

// differences are those of a server of the home.
func (y *syncer) differences(old home.Server, row *syncRow) ([]team.Difference, error) {
	places, best := y.places, []team.Difference(nil)
	var err error
	if places.Data, err = y.home.DataDir(old.Name); err != nil {
		return nil, err
	}
	// A permission may be declared, or granted here.
	for _, effective := range []bool{false, true} {
		here, err := y.teamServer(old, places, effective)
		if err != nil {
			return nil, err
		}
		all := here.Differences(row.want.Out(places))
		if !effective || len(all) < len(best) {
			best = all
		}
	}
	if len(row.locks) > 0 && !slices.ContainsFunc(row.locks, func(l *catalog.Lock) bool {
		return l.On(runtime.GOOS+"-"+runtime.GOARCH).Digest() == old.Source.Digest
	}) {
		best = append(best, team.Difference{Key: "lock", Here: old.Source.Digest, File: row.locks[0].Digest()})
	}
	return best, nil
}

// missing are the secrets that a server refers to and the store does not have.
func (y *syncer) missing(server home.Server) (keys []string, err error) {
	refs := refsOf(server)
	if len(refs) == 0 {
		return nil, nil
	}
	have, err := y.secretKeys(server.Name)
	for _, key := range slices.Sorted(maps.Keys(refs)) {
		if !slices.Contains(have, key) {
			keys = append(keys, key)
		}
	}
	return keys, err
}

// show says what differs, before anything is done.
func (y *syncer) show() {
	say := y.ui.say
	if y.o.check || y.o.dry {
		say = y.ui.print
	}
	for _, row := range y.rows {
		switch row.Done {
		case "failed":
			y.ui.fail(berth.WithHint(fmt.Errorf("%s: %s", row.Server, row.Error), row.Hint))
		case "extra":
			if y.o.prune {
				say("%s: only in this home, to be removed", row.Server)
			} else {
				say("%s: only in this home; --prune removes it", row.Server)
			}
		case "missing":
			say("%s: to be installed", row.Server)
			y.showServer(say, row)
		case "differs":
			say("%s: to be changed", row.Server)
			for _, d := range row.Differences {
				say("  %s: %s → %s", d.Key, orNone(nonEmpty(shown(d.Key, d.Here)), "nothing"), orNone(nonEmpty(shown(d.Key, d.File)), "nothing"))
			}
			y.showServer(say, row)
		}
		if len(row.Missing) > 0 {
			say("%s: the store has no secret %s", row.Server, strings.Join(row.Missing, ", "))
		}
	}
}

func (y *syncer) showServer(say func(string, ...any), row *syncRow) {
	if row.want.URL != "" {
		say("  at       %s", row.add.server.ShownURL())
		return
	}
	if len(row.locks) > 0 {
		l := row.locks[0]
		say("  package  %s %s, %s, from %s", row.want.Package, row.want.Version, counted(len(l.Tree), "package"), strings.Join(l.Hosts(), ", "))
		if len(l.Scripts) > 0 {
			say("  scripts  of %s run while it is fetched", strings.Join(l.Scripts, ", "))
		}
	}
	say("  runs     %s", shellLine(row.want.Command))
	say("  may use  %s", orNone(declaredLines(row.add.server), "no network, none of your files"))
	if profile := row.want.Settings[home.KeySandbox]; profile != string(home.NewProfile) {
		say("  profile  %s", profile)
	}
}

// apply does what is to be done.
func (y *syncer) apply(ctx context.Context) error {
	var todo []string
	for _, row := range y.rows {
		if row.Done == "missing" || row.Done == "differs" || row.Done == "extra" && y.o.prune {
			todo = append(todo, row.Server)
		}
	}
	if len(todo) > 0 {
		if err := y.app.consent(fmt.Sprintf("do so with %s?", strings.Join(todo, ", ")), y.o.yes); err != nil {
			return err
		}
	}
	for _, row := range y.rows {
		var err error
		switch {
		case row.Done == "missing" || row.Done == "differs":
			err = y.put(ctx, row)
		case row.Done == "unchanged" && len(row.Missing) > 0:
			var got []stored
			if got, err = y.getSecrets(row); err == nil && len(got) > 0 {
				err = y.setSecrets(ctx, row.Server, got, false)
			}
		case row.Done == "extra" && y.o.prune:
			if err = y.app.remove(ctx, y.site, row.Server, false, false, false); err == nil {
				row.Done = "removed"
			}
		}
		if err != nil {
			row.fail(err)
			y.ui.fail(berth.WithHint(fmt.Errorf("%s: %w", row.Server, err), row.Hint))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// put installs or changes one server.
func (y *syncer) put(ctx context.Context, row *syncRow) error {
	got, err := y.getSecrets(row)
	if err != nil {
		return err
	}
	row.add.kept = append(row.here, got...)
	done := map[string]string{"missing": "installed", "differs": "updated"}[row.Done]
	if err := y.site.put(ctx, row.add); err != nil {
		return err
	}
	row.Done = done
	switch st, err := y.Status(ctx, row.Server); {
	case err == nil && st.Status == berth.Running:
		y.ui.say("it still runs as it was: berth restart %s", row.Server)
	case !y.o.noRun && len(row.Missing) == 0 && row.want.Transport != "http" && !row.add.server.Settings.Disabled:
		return y.firstRun(ctx, row.Server, y.o.timeout)
	}
	return nil
}

// getSecrets gets the secrets of a server that are missing: from where --secret says, or
// from whoever sits at the terminal.
func (y *syncer) getSecrets(row *syncRow) (got []stored, err error) {
	var left []string
	for _, key := range row.Missing {
		ref, value := secret.Ref{Server: row.Server, Key: key}, ""
		switch from, given := y.secrets[row.Server+"/"+key]; {
		case given:
			if value, err = fromPlace(from); err != nil {
				return nil, fmt.Errorf("--secret %s/%s: %w", row.Server, key, err)
			}
		case isTerminal(y.app.stdin) && y.ui.errTerm:
			// Nothing is an answer, too: later.
			value, err = y.app.askFor("value of " + row.Server + "/" + key)
			if errors.Is(err, context.Canceled) {
				return nil, err
			}
			err = nil
		}
		if value == "" {
			left = append(left, key)
			continue
		}
		got = append(got, stored{ref, value})
	}
	row.Missing = left
	return got, nil
}

// report prints what was done or is to be.
func (y *syncer) report() error {
	code := exitOK
	for _, row := range y.rows {
		changes := row.Done == "missing" || row.Done == "differs" || row.Done == "extra" && y.o.prune
		if row.Done == "failed" || len(row.Missing) > 0 && !y.o.dry || changes && y.o.check {
			code = exitFailed
		}
		for _, key := range row.Missing {
			if !y.o.check && !y.o.dry && row.Done != "failed" {
				y.ui.say("berth: hint: %s lacks a secret: berth secret set %[1]s/%s", row.Server, key)
			}
		}
	}
	if y.o.asJSON {
		rows := y.rows
		if rows == nil {
			rows = []*syncRow{}
		}
		for _, row := range rows {
			for i, d := range row.Differences {
				row.Differences[i].Here, row.Differences[i].File = shown(d.Key, d.Here), shown(d.Key, d.File)
			}
		}
		if err := y.app.ui.json(rows); err != nil {
			return err
		}
	}
	if code == exitOK && !slices.ContainsFunc(y.rows, func(r *syncRow) bool { return r.Done != "unchanged" && r.Done != "extra" }) {
		y.ui.say("berth: this home is as the file says")
	}
	if code != exitOK {
		return silent(code)
	}
	return nil
}
