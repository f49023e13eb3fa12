package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

// updateOptions are the flags of update.
type updateOptions struct {
	set, secrets, scripts []string
	yes, check, noRun     bool
	timeout               time.Duration
	from                  string
	file                  fileOptions
}

func newUpdate(a *app) *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:   "update NAME [--check] [--yes]",
		Short: "Have an installed server be of the version that its catalogue has now",
		Long: `Have a server that berth install installed be of the version that its catalogue has
now. What changes is shown first: version, command, permissions and settings; after a
yes the new package is fetched, the server's file changed, and the server run once,
after which the tools that came, went or changed are shown. All settings and secrets
stay, and so does what was added to its permissions and its environment. Until all is
there the server is as it was.

Tools that are not as they were approved are withheld until berth approve NAME. What was
there before is kept: berth rollback NAME goes back to it.

A bundle or a program of a URL stays what it is, for its hash says so: --from and --sha256
say what it is to be from now on. A bundle of this machine is read again.

--check only shows what would change.

Files: servers/NAME.toml, previous/NAME.toml, packages/.

Exit codes: 0 done, or there was nothing to do, 1 failed, 2 usage, a new setting has no
value, or nobody was there to say yes, 3 no such server.`,
		Example:           "  berth update github --check\n  berth update github --yes",
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.update(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask whether to change it")
	f.BoolVar(&o.check, "check", false, "only show what would change")
	f.StringArrayVar(&o.set, "set", nil, "`K=V`: a setting; may be repeated")
	f.StringArrayVar(&o.secrets, "secret", nil, "`K`, K=env:VARIABLE or K=file:PATH: a setting that is a secret; may be repeated")
	f.StringArrayVar(&o.scripts, "allow-scripts", nil, "`package` that may run its install scripts while it is fetched; may be repeated")
	f.StringVar(&o.from, "from", "", "of a bundle or a program: the `URL` or path of the new one")
	f.StringVar(&o.file.sum, "sha256", "", "and the hash that it must have (`hex`)")
	f.StringVar(&o.file.program, "program", "", "the `path`, in an archive, of the program that is run")
	f.BoolVar(&o.noRun, "no-run", false, "do not run it now")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long its first run may take until it answers")
	return cmd
}

// declaration is what was said of an installed server when it was installed.
func declaration(server home.Server) (e listing.Entry, err error) {
	if server.Source.Entry == "" {
		return e, berth.WithHint(fmt.Errorf("%s was not installed by berth install, but added", server.Name),
			"berth add --replace adds it anew")
	}
	if err := json.Unmarshal([]byte(server.Source.Declaration), &e); err != nil {
		return e, fmt.Errorf("%w: server %q: [source] declaration: %v", berth.ErrBadConfig, server.Name, err)
	}
	return e, nil
}

// offered is what the catalogue that a server is from has now.
func (s *site) offered(ctx context.Context, was listing.Entry, o updateOptions) (listing.Entry, error) {
	if was.Downloaded() && was.From == listing.FromName {
		return s.offeredFile(ctx, was, o.from, o.file)
	}
	if o.from != "" || o.file.given() {
		return was, usagef("--from, --sha256 and --program are for what was installed from a file")
	}
	name := was.Name
	if file, ok := strings.CutPrefix(was.From, listing.FromFile+":"); ok {
		name = file
	}
	if was.From == listing.FromName {
		if was.Kind == listing.Remote {
			return was, nil
		}
		name = newest(was)
	}
	return s.entry(ctx, name, string(was.Kind))
}

func (a *app) update(ctx context.Context, name string, o updateOptions) error {
	if o.timeout <= 0 {
		return usagef("--timeout must be more than nothing")
	}
	s, err := a.open(o.check)
	if err != nil {
		return err
	}
	old, err := s.server(name)
	if err != nil {
		return err
	}
	was, err := declaration(old)
	if err != nil {
		return err
	}
	defer s.unstage()
	now, err := s.offered(ctx, was, o)
	if err != nil {
		return err
	}
	asBefore := same(was, now) && len(o.set)+len(o.secrets) == 0
	if asBefore && now.Kind == listing.Remote {
		s.ui.print("%s: it is at %s, as before", name, old.ShownURL())
		return nil
	}
	if asBefore && settled(now) {
		s.ui.print("%s: %s %s is what its catalogue has", name, now.Name, now.Version)
		return nil
	}
	v, err := a.carryOver(old, was, now, o)
	if err != nil {
		return err
	}
	x, err := s.installation(name, now, v, installOptions{scripts: o.scripts, profile: old.Config[home.KeySandbox], prefix: old.Config["berth.prefix"]})
	if err != nil {
		return err
	}
	if err := s.keepWhatWasAdded(old, was, now, v, &x.server); err != nil {
		return err
	}
	s.showChange(old, x.server, was, now)
	if o.check {
		return nil
	}
	if err := a.consent(fmt.Sprintf("update %s?", name), o.yes); err != nil {
		return err
	}
	before := s.listedTools(name)
	changed, err := s.exchange(ctx, x, old, asBefore)
	if err != nil {
		return err
	}
	switch from, to := old.Info.Version, x.server.Info.Version; {
	case !changed:
		s.ui.print("%s: %s %s is the newest that there is", name, old.Source.Package, from)
		return nil
	case from == to: // what it needs has other versions, or it has other settings
		s.ui.print("%s: updated, still of version %s", name, to)
	default:
		s.ui.print("%s: updated from %s to %s", name, orNone(nonEmpty(from), "?"), to)
	}
	s.ui.say("back to what it was: berth rollback %s", name)
	if st, err := s.Status(ctx, name); err == nil && st.Status == berth.Running {
		s.ui.say("it still runs as it was: berth restart %s", name)
		return nil
	}
	if o.noRun {
		return nil
	}
	if err := s.firstRun(ctx, name, o.timeout); err != nil {
		return berth.WithHint(err, "berth rollback "+name+" goes back to what it was; `berth logs "+name+"` shows what it printed")
	}
	s.showTools(before, s.listedTools(name))
	return nil
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// same says whether two entries declare the same.
func same(a, b listing.Entry) bool {
	// When it was run and what it listed is no part of it.
	a.Ran, b.Ran, a.Tools, b.Tools, a.NotRun, b.NotRun = "", "", nil, nil, "", ""
	a.Signed, b.Signed = "", "" // that depends on the day
	one, errA := json.Marshal(a)
	two, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(one) == string(two)
}

// carryOver are the settings of a server as far as what it is now has them: what is new
// is given or asked for.
func (a *app) carryOver(old home.Server, was, now listing.Entry, o updateOptions) (answers, error) {
	v := answers{values: settingsOf(now, old.Config), kept: map[string]bool{}}
	for _, set := range now.Settings {
		before, there := was.Setting(set.Key)
		if set.Secret && there && before.Secret && hasSecret(old, was, before) {
			v.kept[set.Key] = true
		}
	}
	lacks := now
	lacks.Settings = slices.DeleteFunc(slices.Clone(now.Settings), func(set listing.Setting) bool {
		return v.kept[set.Key] || len(v.values[set.Key]) > 0
	})
	given, err := a.settings(now, installOptions{set: o.set, secrets: o.secrets})
	if len(o.set)+len(o.secrets) == 0 {
		given, err = a.settings(lacks, installOptions{})
	}
	if err != nil {
		return v, err
	}
	for key, values := range given.values {
		v.values[key] = values
		delete(v.kept, key)
	}
	return v, nil
}

// hasSecret says whether a server was given a secret.
func hasSecret(server home.Server, e listing.Entry, set listing.Setting) bool {
	if set.Env != "" && secret.IsRef(server.Env[set.Env]) {
		return true
	}
	for key, template := range e.Env {
		if strings.Contains(template, "{"+set.Key+"}") && secret.IsRef(server.Env[key]) {
			return true
		}
	}
	headers, err := server.Headers()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(headers, func(h home.Header) bool {
		return strings.Contains(e.Headers[h.Name], "{"+set.Key+"}")
	})
}

// keepWhatWasAdded has a server that is to take the place of another keep what was done to
// that since it was installed.
func (s *site) keepWhatWasAdded(old home.Server, was, now listing.Entry, v answers, to *home.Server) error {
	data, err := s.home.DataDir(old.Name)
	if err != nil {
		return err
	}
	plan, err := was.Fill(settingsOf(was, old.Config), allSecrets(was), data)
	if err != nil {
		plan = &listing.Plan{} // its file was changed by hand: then all is kept
	}
	declared, err := was.ArgPermissions(plan.Args, "")
	if err != nil {
		return err
	}
	declared = append(declared, plan.Allow...)
	for key, value := range old.Env {
		if _, declared := plan.Env[key]; !declared && !plan.Secret[key] {
			to.Env[key] = value
		}
	}
	fresh, err := now.Fill(v.values, v.kept, data)
	if err != nil {
		return err
	}
	for key := range fresh.Kept {
		if value, there := old.Env[key]; there {
			to.Env[key] = value
			continue
		}
		for _, h := range old.Settings.Headers {
			if name, _, _ := strings.Cut(h, "="); name == key && !slices.Contains(to.Settings.Headers, h) {
				to.Settings.Headers = append(to.Settings.Headers, h)
			}
		}
	}
	for key, value := range old.Config {
		if _, set := to.Config[key]; strings.HasPrefix(key, "berth.") || !set && !declares(was, key) {
			to.Config[key] = value
		}
	}
	for _, entry := range declaredLines(old) {
		p, err := berth.ParsePermission(entry)
		if err == nil && !slices.Contains(declared, p) {
			to.Declare(p)
		}
	}
	to.Settings = mergeSettings(old.Settings, to.Settings)
	return nil
}

func declares(e listing.Entry, key string) bool {
	_, known := e.Setting(key)
	return known
}

func allSecrets(e listing.Entry) map[string]bool {
	all := map[string]bool{}
	for _, set := range e.Settings {
		all[set.Key] = set.Secret
	}
	return all
}

// mergeSettings are those of before, with what the new command decides.
func mergeSettings(old, now home.Settings) home.Settings {
	old.CommandPath, old.Path, old.URL, old.Headers = now.CommandPath, now.Path, now.URL, now.Headers
	return old
}

// exchange has the server's file be another, once all that it needs is there. Where all
// else is as before, the file stays if what was fetched is what there was, each file of it:
// what the server was before its last update stays, too.
func (s *site) exchange(ctx context.Context, x *addition, old home.Server, asBefore bool) (changed bool, err error) {
	name := old.Name
	server := &x.server
	write := func() error {
		if asBefore && server.Fetched() && server.Source.Digest == old.Source.Digest {
			return nil
		}
		changed = true
		// Its other headers stay, so that this is not keepAll.
		if all := append(x.kept, x.hidden...); len(all) > 0 {
			if err := s.setSecrets(ctx, name, all, false); err != nil {
				return err
			}
		}
		return s.home.ExchangeServer(name, func(now *home.Server) error {
			if now.Source.Digest != old.Source.Digest || now.Source.Declaration != old.Source.Declaration || !maps.Equal(now.Config, old.Config) || !maps.Equal(now.Env, old.Env) {
				return errors.New("its file was changed meanwhile: try again")
			}
			now.Info.Version, now.Info.DisplayName, now.Info.Description = server.Info.Version, server.Info.DisplayName, server.Info.Description
			now.Source, now.Runtime, now.Permissions = server.Source, server.Runtime, server.Permissions
			now.Config, now.ConfigMeta, now.Env = server.Config, server.ConfigMeta, server.Env
			now.Settings = mergeSettings(now.Settings, server.Settings)
			return nil
		})
	}
	if x.want != nil {
		err = s.fetch(ctx, server, *x.want, x.scripts, write)
	} else {
		err = write()
	}
	if err != nil || !changed {
		return false, err
	}
	s.prunePackages(ctx)
	args := secret.NewMasker(server.Env).Args(server.Runtime.Args)
	detail := fmt.Sprintf("updated from %s", old.Info.Version)
	if server.Fetched() {
		detail += " to " + packageLine(*server)
	}
	return true, s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Command: server.Runtime.Command, Args: args, Detail: detail})
}

// showChange says what an update changes.
func (s *site) showChange(old, now home.Server, was, is listing.Entry) {
	s.ui.say("%s: %s, from %s", old.Name, is.Name, sourceLine(is))
	row := func(what, before, after string) {
		if before == after {
			s.ui.say("  %-9s %s, as before", what, after)
		} else {
			s.ui.say("  %-9s - %s\n  %-9s + %s", what, before, what, after)
		}
	}
	row("version", old.Info.Version, orNone(nonEmpty(is.Version), "the newest"))
	if now.Remote() {
		row("url", old.ShownURL(), now.ShownURL())
	} else {
		row("command", shellLine(old.Source.Typed), shellLine(append([]string{now.Runtime.Command}, now.Runtime.Args...)))
	}
	listChange("may use", declaredLines(old), declaredLines(now), s.ui)
	keys := func(e listing.Entry) (list []string) {
		for _, set := range e.Settings {
			list = append(list, set.Key+": "+settingLine(set))
		}
		return list
	}
	listChange("setting", keys(was), keys(is), s.ui)
	if is.Note != "" && is.Note != was.Note {
		s.ui.note("%s", is.Note)
	}
}

// listChange says which lines of a list went and came.
func listChange(what string, before, after []string, u *ui) {
	for _, l := range before {
		if !slices.Contains(after, l) {
			u.say("  %-9s - %s", what, l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			u.say("  %-9s + %s", what, l)
		}
	}
}

// listedTools are the tools that a server listed in its last run, by name, as they are.
func (s *site) listedTools(name string) map[string]string {
	data, err := s.home.ReadManifest(name, mcp.MaxManifest+1)
	if err != nil {
		return nil
	}
	m, err := mcp.ParseManifest(data)
	if err != nil {
		return nil
	}
	tools := map[string]string{}
	for _, tool := range gateway.ToolsOf(m) {
		tools[tool.Name] = tool.Digest
	}
	return tools
}

func (s *site) showTools(before, after map[string]string) {
	if before == nil || after == nil {
		return
	}
	changed := false
	say := func(mark, name string) {
		changed = true
		s.ui.say("  tool      %s %s", mark, name)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[name]; !still {
			say("-", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if text, was := before[name]; !was {
			say("+", name)
		} else if text != after[name] {
			say("~", name)
		}
	}
	if !changed {
		s.ui.say("  tools     as before, all %d", len(after))
	}
}

func newRollback(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rollback NAME [--yes]",
		Short: "Have a server be what it was before its last update",
		Long: `Have a server be what it was before its last berth update: its package, which was kept,
its command, its permissions and its settings, but for those that begin with "berth.",
which stay as they are now. A second rollback undoes the first.

Files: servers/NAME.toml, previous/NAME.toml.

Exit codes: 0 done, 1 failed, or there was no update, 2 nobody was there to say yes, 3 no
such server.`,
		Example:           "  berth rollback github --yes",
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.rollback(cmd.Context(), args[0], yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) rollback(ctx context.Context, name string, yes bool) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	now, err := s.server(name)
	if err != nil {
		return err
	}
	before, err := s.home.ReadPrevious(name)
	if errors.Is(err, berth.ErrNoServer) || err == nil && before.Source.Digest == now.Source.Digest && before.Source.Declaration == now.Source.Declaration {
		return fmt.Errorf("%s was not updated, so there is nothing to go back to", name)
	}
	if err != nil {
		return err
	}
	if before.Fetched() {
		if _, err := catalog.New(s.home).Restore(ctx, before, s.fetchOptions(before, nil)); err != nil {
			return fmt.Errorf("%s: what it was before: %w", name, err)
		}
		s.ui.clearProgress()
	}
	s.ui.say("%s: from %s back to %s", name, now.Info.Version, before.Info.Version)
	if err := a.consent("go back?", yes); err != nil {
		return err
	}
	back := func(server *home.Server) error {
		if server.Source.Digest != now.Source.Digest {
			return errors.New("its file was changed meanwhile: try again")
		}
		config, autostart, disabled := server.Config, server.Settings.Autostart, server.Settings.Disabled
		*server = before
		for key := range server.Config {
			if _, still := config[key]; strings.HasPrefix(key, "berth.") && !still {
				delete(server.Config, key)
			}
		}
		for key, value := range config {
			if strings.HasPrefix(key, "berth.") {
				server.Config[key] = value
			}
		}
		server.Settings.Autostart, server.Settings.Disabled = autostart, disabled
		return nil
	}
	err = catalog.New(s.home).Hold(ctx, func() error {
		if _, err := os.Stat(before.CopyDir()); before.Fetched() && err != nil {
			return fmt.Errorf("its copy was removed in this moment: %w", err)
		}
		return s.home.ExchangeServer(name, back)
	})
	if err != nil {
		return err
	}
	if err := s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Command: before.Runtime.Command,
		Args: secret.NewMasker(before.Env).Args(before.Runtime.Args), Detail: "rolled back from " + now.Info.Version + " to " + before.Info.Version}); err != nil {
		return err
	}
	s.ui.print("%s: back to %s", name, before.Info.Version)
	s.noteRestart(ctx, name)
	return nil
}
