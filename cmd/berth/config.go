package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	var (
		set, unset []string
		ask        bool
		asJSON     bool
	)
	cmd := &cobra.Command{
		Use:   "config NAME [--set K=V]… [--unset K]… [--interactive] [--json] | config export | config import FILE",
		Short: "Show or change a server's settings",
		Long: `Show how a server is run, or change its settings. All changes of one command
are made together or not at all. A server that runs takes them at its next start
or restart.

` + configHelp() + `
A setting that the server was installed with (berth info shows them) is checked by its
declared type and choices, and put anew where it belongs: into the command line, the
variables, the URL, the permissions. Of one that may have several values --set is given
several times. --interactive asks for each at the terminal; secrets go into the encrypted
store. berth config export prints the settings of servers, and berth config import sets
them.

Any other key that does not begin with "berth." is kept in the file and has no
effect. Variables of the environment are given with berth add. Secrets are shown
as ***.

Files: servers/NAME.toml.

Exit codes: 0 done, 1 failed, 2 a key or a value that cannot be, 3 no such
server.`,
		Example: `  berth config everything
  berth config everything --set berth.max-memory=512M --set berth.max-restarts=5
  berth config everything --unset berth.max-memory --json`,
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.config(cmd.Context(), args[0], set, unset, ask, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&set, "set", nil, "set a `K=V`; may be repeated")
	f.StringArrayVar(&unset, "unset", nil, "go back to the default of `K`; may be repeated")
	f.BoolVarP(&ask, "interactive", "i", false, "ask for each setting that it was installed with")
	f.BoolVar(&asJSON, "json", false, "print the settings as JSON")
	for _, sub := range []*cobra.Command{newConfigExport(a), newConfigImport(a)} {
		sub.DisableFlagsInUseLine = true
		cmd.AddCommand(sub)
	}
	keys := func(suffix string) cobra.CompletionFunc {
		return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var words []string
			for _, k := range home.ConfigKeys() {
				words = append(words, cobra.CompletionWithDesc(k.Key+suffix, k.Help))
			}
			return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
	}
	_ = cmd.RegisterFlagCompletionFunc("set", keys("="))
	_ = cmd.RegisterFlagCompletionFunc("unset", keys(""))
	return cmd
}

func configHelp() string {
	var b strings.Builder
	b.WriteString("Keys, with what holds where they are not set:\n")
	for _, k := range home.ConfigKeys() {
		fmt.Fprintf(&b, "  %s (%s)\n      %s\n", k.Key, k.Default, k.Help)
	}
	return b.String()
}

func (a *app) config(ctx context.Context, name string, set, unset []string, ask, asJSON bool) error {
	pairs, err := readPairs(set)
	if err != nil {
		return err
	}
	change := len(pairs)+len(unset) > 0 || ask
	s, err := a.open(!change)
	if err != nil {
		return err
	}
	was, err := s.server(name)
	if err != nil {
		return err
	}
	if ask {
		more, secrets, err := a.askConfig(was)
		if err != nil {
			return err
		}
		if len(secrets) > 0 {
			if err := s.setSecrets(ctx, name, secrets, false); err != nil {
				return err
			}
		}
		pairs = append(pairs, more...)
	}
	if change {
		if err := s.changeConfig(ctx, name, pairs, unset); err != nil {
			return err
		}
	}
	server, err := s.server(name)
	if err != nil {
		return err
	}
	view := viewOf(server)
	view.Package = s.packageView(server)
	// What the file says is shown even if it cannot be run.
	_, unusable := s.plan(server)
	if asJSON {
		err = s.ui.json(view)
	} else {
		err = view.print(s.ui)
	}
	return cmp.Or(err, unusable)
}

// shown is a value as it may be shown.
func shown(key, value string) string {
	return secret.MaskEnv(map[string]string{key: value})[key]
}

// configView is what is shown of a server's file.
type configView struct {
	Name      string            `json:"name"`
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	Cwd       string            `json:"cwd,omitzero"`
	Transport string            `json:"transport"`
	URL       string            `json:"url,omitzero"`
	Headers   map[string]string `json:"headers,omitempty"`
	Package   *packageView      `json:"package,omitempty"`
	Enabled   bool              `json:"enabled"`
	Disabled  bool              `json:"disabled,omitzero"`
	Grace     string            `json:"grace,omitzero"`
	Env       map[string]string `json:"env"`
	Config    map[string]string `json:"config"`
}

func viewOf(s home.Server) configView {
	v := configView{
		Name: s.Name, Command: s.Runtime.Command, Args: secret.NewMasker(s.Env).Args(s.Runtime.Args),
		Cwd: s.Settings.Cwd, Transport: s.Runtime.Transport, Enabled: s.Settings.Autostart && !s.Settings.Disabled, Disabled: s.Settings.Disabled, Grace: s.Settings.Grace,
		Env: secret.MaskEnv(s.Env), Config: secret.MaskEnv(s.Config),
	}
	if s.Settings.CommandPath != "" {
		v.Command = s.Settings.CommandPath
	}
	if s.Remote() {
		v.URL, v.Headers = s.ShownURL(), map[string]string{}
		headers, _ := s.Headers() // what is wrong with them is said beside this
		for _, h := range headers {
			v.Headers[h.Name] = h.Value
			if _, _, isRef := refIn(h.Value); !isRef && !strings.HasPrefix(h.Value, fromEnv) {
				v.Headers[h.Name] = secret.Stars
			}
		}
	}
	if v.Args == nil {
		v.Args = []string{}
	}
	if v.Transport == "" {
		v.Transport = "stdio"
	}
	return v
}

func (v configView) print(u *ui) error {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	row := func(key, value string) { fmt.Fprintf(t, "%s\t%s\n", printable(key), printable(value)) }
	if v.URL != "" {
		row("url", v.URL)
	} else {
		row("command", shellLine(append([]string{v.Command}, v.Args...)))
	}
	v.Package.rows(row)
	for _, name := range slices.Sorted(maps.Keys(v.Headers)) {
		row("header "+name, v.Headers[name])
	}
	if v.Cwd != "" {
		row("cwd", v.Cwd)
	}
	row("transport", v.Transport)
	switch {
	case v.Disabled:
		row("enabled", "disabled: no client may use it")
	case v.Enabled:
		row("enabled", "yes: berth up starts it")
	default:
		row("enabled", "on demand: a client's first call starts it")
	}
	if v.Grace != "" {
		row("grace", v.Grace)
	}
	for _, key := range slices.Sorted(maps.Keys(v.Env)) {
		row("env "+key, v.Env[key])
	}
	known := map[string]bool{}
	for _, k := range home.ConfigKeys() {
		known[k.Key] = true
		value, set := v.Config[k.Key]
		if !set {
			value = "(" + k.Default + ")"
		}
		row(k.Key, value)
	}
	for _, key := range slices.Sorted(maps.Keys(v.Config)) {
		if !known[key] {
			row(key, v.Config[key])
		}
	}
	return t.Flush()
}
