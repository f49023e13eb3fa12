package main

import (
	"cmp"
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
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

// installOptions are the flags of install.
type installOptions struct {
	as, kind     string
	set, secrets []string
	allow        []string
	scripts      []string
	profile      string
	require      string
	prefix       string
	yes, ask     bool
	file         fileOptions
	noRun        bool
	timeout      time.Duration
}

func newInstall(a *app) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install NAME [--as SERVER] [--set K=V]… [--secret K]… [--yes]",
		Short: "Install a server by its name",
		Long: `Install a server: ask for what it needs, show what will be run and what it may do, and
after a yes fetch its package and all that this needs, each by its hash, add the server,
and run it once, as berth add does. --yes is the yes of scripts.

NAME is one of a catalogue (berth search), npm:NAME[@VERSION] or @SCOPE/NAME,
pypi:NAME[@VERSION], oci:IMAGE[:TAG|@DIGEST], go:PACKAGE[@VERSION], the https URL of a
remote server, the path or https URL of a server.json, or the page of a package on
npmjs.com, pypi.org, hub.docker.com or pkg.go.dev; berth info NAME shows all of it, and
where that is from. docs/install.md says what each kind needs, and what is run. Of a package that Berth's own catalogue has, it is what the
catalogue says. The server is called the last part of that, or what --as says. A package
of the catalogue is of the version and has the hash that are written there, or it is not
installed.

NAME is also an MCPB bundle (a file or a URL that ends in .mcpb or .dxt), or the URL of a
program, or of a zip or tar.gz file with one (--program names it if there are several);
what follows -- are its arguments. Of a URL --sha256 says which hash the file must have. A
bundle whose signature is bad is refused; whether it has one is shown.

What it needs (settings) is asked for at the terminal; secrets are not shown, and are
kept in the encrypted store of the home. Elsewhere --set K=V gives a setting, again for
one that takes several values. --secret K takes the value of a secret from the variable
that it is for, else asks for it, else reads a line of standard input; --secret K=env:V
takes that of the variable V, and K=file:PATH the first line of a file. A required
setting that is in your environment by its own variable is taken from there. Values go
where the declaration says, never through a shell; an argument is never a secret.

What it may do is what its entry declares, and what settings are about: a directory, the
host of a URL. --allow, --profile and --require are those of berth add. An interrupted
install leaves no server; what was fetched is found by the next one.

Exit codes: 0 installed, 1 failed (also: it was installed and its first run failed), 2
usage, a setting has no value, or nobody was there to say yes, 3 there is no such
server, 4 installed, but the policy does not let it run.`,
		Example: `  berth install memory
  berth install github --secret token
  berth install filesystem --as notes --set directory=/srv/notes --yes
  berth install npm:@scope/server@1.2.3
  berth install https://mcp.example.com/mcp --as docs
  berth install ./notes.mcpb --set directory=/srv/notes
  berth install https://example.com/tool-linux-amd64.tar.gz --sha256 HEX -- stdio`,
		Args:              entryWithArgs,
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file.args = args[1:]
			return a.install(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.as, "as", "", "what the `server` is called here")
	f.StringVar(&o.kind, "kind", "", "which of its ways it is installed by: the `word` npm, pypi, oci, go, remote or mcpb")
	f.StringArrayVar(&o.set, "set", nil, "`K=V`: a setting; may be repeated")
	f.StringArrayVar(&o.secrets, "secret", nil, "`K`, K=env:VARIABLE or K=file:PATH: a setting that is a secret; may be repeated")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask whether to install it")
	f.BoolVar(&o.ask, "ask", false, "ask for what may be left out as well")
	f.StringArrayVar(&o.allow, "allow", nil, "let it do that (`permission`); may be repeated")
	f.StringVar(&o.profile, "profile", "", "how tightly it is confined: off, standard or strict (`word`; default "+string(home.NewProfile)+")")
	f.StringVar(&o.require, "require", "", "enforce or prefer: refuse to start where that cannot be kept, or say so (`word`; default enforce)")
	f.StringVar(&o.prefix, "prefix", "", "what its tools' names begin with among those of all servers (default its name; `word`)")
	f.StringArrayVar(&o.scripts, "allow-scripts", nil, "`package` that may run its install scripts while it is fetched; may be repeated")
	f.StringVar(&o.file.sum, "sha256", "", "the hash that the bundle or the program at a URL must have (`hex`)")
	f.StringVar(&o.file.program, "program", "", "the `path`, in an archive, of the program that is run")
	f.BoolVar(&o.noRun, "no-run", false, "do not run it now")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long its first run may take until it answers")
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfileWords())
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"npm", "pypi", "oci", "go", "remote", "mcpb"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("require", cobra.FixedCompletions([]string{string(berth.RequireEnforce), string(berth.RequirePrefer)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) install(ctx context.Context, name string, o installOptions) error {
	if o.timeout <= 0 {
		return usagef("--timeout must be more than nothing")
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.unstage()
	e, err := s.asked(ctx, name, o.kind, o.file)
	if err != nil {
		return err
	}
	return a.installEntry(ctx, s, e, name, o)
}

// installEntry installs an entry that a user named.
func (a *app) installEntry(ctx context.Context, s *site, e listing.Entry, name string, o installOptions) error {
	as := cmp.Or(o.as, e.ShortName())
	if as == "" {
		return usagef("no name for the server follows from %s", name).hint("give one: --as SERVER")
	}
	if err := berth.CheckName(as); err != nil {
		return err
	}
	if _, err := s.home.ReadServer(as); !errors.Is(err, berth.ErrNoServer) {
		return berth.WithHint(fmt.Errorf("%w: %s", berth.ErrExists, as), "--as SERVER installs it by another name; berth update "+as+" has it be of another version")
	}
	if err := haveRunner(e.Kind, valueOf(os.Environ(), "PATH")); err != nil {
		return err
	}
	if err := s.haveRuntime(ctx, e); err != nil {
		return err
	}
	asked, err := a.settings(e, o)
	if err != nil {
		return err
	}
	x, err := s.installation(as, e, asked, o)
	if err != nil {
		return err
	}
	s.showPlan(e, x)
	if err := a.consent(fmt.Sprintf("install it as %s?", as), o.yes); err != nil {
		return err
	}
	if err := s.put(ctx, x); err != nil {
		return err
	}
	if o.noRun {
		a.ui.say("start it: berth start %s", as)
		return nil
	}
	return s.firstRun(ctx, as, o.timeout)
}

// consent asks for a yes. Where nobody can be asked, only --yes is one.
func (a *app) consent(question string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) || !a.ui.errTerm {
		return usagef("nobody is here to be asked").hint("--yes says yes")
	}
	if !a.yes(question + " [y/N] ") {
		return errors.New("it was not done, for the answer was not yes")
	}
	return nil
}

// installation is what is added of an entry whose settings were answered.
func (s *site) installation(name string, e listing.Entry, v answers, o installOptions) (*addition, error) {
	data, err := s.home.DataDir(name)
	if err != nil {
		return nil, err
	}
	at, err := s.placed(e)
	if err != nil {
		return nil, err
	}
	plan, err := at.Fill(v.values, v.kept, data)
	if err != nil {
		return nil, missingSetting(err)
	}
	x := &addition{first: true, scripts: o.scripts}
	if e.Kind == listing.Remote {
		err = s.remoteOf(name, e, plan, x)
	} else {
		err = s.packaged(name, at, plan, x, o)
	}
	if err != nil {
		return nil, err
	}
	if e.Downloaded() {
		x.want = fileRequest(e, plan.Args)
	}
	server := &x.server
	server.Info.DisplayName = cmp.Or(e.Title, name)
	server.Info.Description, server.Info.Version = cmp.Or(e.About, server.Info.Description), cmp.Or(e.Version, server.Info.Version)
	server.Source.Repository, server.Source.Entry, server.Source.From = e.Repository, e.Name, e.From
	said, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	server.Source.Declaration = string(said)
	for _, set := range e.Settings {
		if set.Required {
			server.ConfigMeta.RequiredKeys = append(server.ConfigMeta.RequiredKeys, set.Key)
		} else {
			server.ConfigMeta.OptionalKeys = append(server.ConfigMeta.OptionalKeys, set.Key)
		}
		if values := v.values[set.Key]; len(values) > 0 && !set.Secret {
			server.Config[set.Key] = strings.Join(values, "\n")
		}
	}
	if err := setLimits(server, addOptions{maxRestarts: 10}); err != nil {
		return nil, err
	}
	if err := checkRefs(*server); err != nil {
		return nil, err
	}
	if _, _, err := server.Spec(os.Environ(), home.Permissions{}); err != nil {
		return nil, err
	}
	return x, s.givePrefix(server, o.prefix)
}

// packaged makes a server of a package.
func (s *site) packaged(name string, e listing.Entry, plan *listing.Plan, x *addition, o installOptions) error {
	command := append(e.Command(), plan.Args...)
	x.server = home.NewServer(name, command[0], command[1:])
	server := &x.server
	server.Info.Description = "installed by berth install"
	server.Env, server.Settings.Path = map[string]string{}, valueOf(os.Environ(), "PATH")
	if err := setRights(server, addOptions{allow: o.allow, profile: o.profile, require: o.require}); err != nil {
		return err
	}
	given, err := e.ArgPermissions(plan.Args, "")
	if err != nil {
		return err
	}
	if _, err := declare(server, append(slices.Clone(plan.Allow), given...), o.allow); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(plan.Env)) {
		value := plan.Env[key]
		if plan.Secret[key] {
			ref, err := ownRef(name, secret.Ref{Server: name, Key: key}.String())
			if err != nil {
				return fmt.Errorf("the secret %s: %w", key, err)
			}
			x.kept = append(x.kept, stored{ref, value})
			value = ref.String()
		}
		server.Env[key] = value
	}
	if e.Downloaded() {
		return nil // what is to be fetched is said by the entry, not by a command
	}
	x.want, err = requestOf(e, command, plan.Args)
	return err
}

// remoteOf makes a server of a URL.
func (s *site) remoteOf(name string, e listing.Entry, plan *listing.Plan, x *addition) error {
	if _, err := guard.CheckURL(plan.URL); err != nil {
		return fmt.Errorf("its URL: %w", err)
	}
	var headers []home.Header
	hidden := map[int]bool{}
	for _, key := range slices.Sorted(maps.Keys(plan.Headers)) {
		if err := home.CheckHeader(key, plan.Headers[key]); err != nil {
			return err
		}
		hidden[len(headers)] = plan.Secret[key]
		headers = append(headers, home.Header{Name: key, Value: plan.Headers[key]})
	}
	x.hidden = putAway(name, headers, hidden)
	x.server = home.NewRemote(name, plan.URL, headers)
	x.server.Env = map[string]string{}
	x.server.Info.Description = "installed by berth install"
	return nil
}

// missingSetting says how a setting is given.
func missingSetting(err error) error {
	var missing *listing.MissingError
	if !errors.As(err, &missing) {
		return &exitError{code: exitUsage, err: err}
	}
	set := missing.Setting
	flag := "--set " + set.Key + "=VALUE"
	if set.Secret {
		flag = "--secret " + set.Key
	}
	if set.Env != "" {
		flag += ", or the variable " + set.Env
	}
	if set.About != "" {
		flag += ": " + set.About
	}
	return usagef("%v", err).hint("give it: %s", flag)
}

// showPlan says what will be run and what it may do, before it is asked whether to.
func (s *site) showPlan(e listing.Entry, x *addition) {
	server := x.server
	s.ui.say("%s", strings.TrimSpace(e.Name+"  "+e.About))
	s.ui.say("  from     %s", sourceLine(e))
	if server.Remote() {
		s.ui.say("  at       %s", server.ShownURL())
		for _, h := range server.Settings.Headers {
			key, _, _ := strings.Cut(h, "=")
			s.ui.say("  header   %s", key)
		}
	} else {
		s.ui.say("  package  %s %s %s", e.Kind, e.Package, cmp.Or(e.Version, "(the newest)"))
		if e.Signed != "" {
			s.ui.say("  signed   %s", e.Signed)
		}
		if len(e.Hashes) > 0 {
			s.ui.say("  hash     %s", strings.Join(e.Hashes, " or "))
		} else {
			s.ui.say("  hash     none is known: what the registry has now is taken, and kept to")
		}
		s.ui.say("  runs     %s", runLine(server, e))
		for _, key := range slices.Sorted(maps.Keys(server.Env)) {
			s.ui.say("  env      %s=%s", key, shown(key, server.Env[key]))
		}
		s.ui.say("  may use  %s", orNone(declaredLines(server), "no network, none of your files"))
	}
	for _, note := range []string{e.Status, e.Note} {
		if note != "" {
			s.ui.note("%s", note)
		}
	}
}

// declaredLines are the permissions that a server's file declares.
func declaredLines(server home.Server) (list []string) {
	for _, kind := range []struct {
		name    string
		entries []string
	}{
		{berth.PermissionNetwork, server.Permissions.Network}, {berth.PermissionFiles, server.Permissions.Filesystem},
		{berth.PermissionExec, server.Permissions.Exec}, {berth.PermissionEnv, server.Permissions.Env},
	} {
		for _, entry := range kind.entries {
			list = append(list, kind.name+":"+entry)
		}
	}
	return list
}
