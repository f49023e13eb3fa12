package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	var (
		set, unset []string
		asJSON     bool
	)
	cmd := &cobra.Command{
		Use:   "config NAME [--set K=V]… [--unset K]… [--json]",
		Short: "Show or change a server's settings",
		Long: `Show how a server is run, or change its settings. All changes of one command
are made together or not at all. A server that runs takes them at its next start
or restart.

` + configHelp() + `
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
			return a.config(cmd.Context(), args[0], set, unset, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&set, "set", nil, "set a `K=V`; may be repeated")
	f.StringArrayVar(&unset, "unset", nil, "go back to the default of `K`; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print the settings as JSON")
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

func (a *app) config(ctx context.Context, name string, set, unset []string, asJSON bool) error {
	type pair struct{ key, value string }
	var pairs []pair
	for _, entry := range set {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			return usagef("--set %s: no value", printable(key)).hint("write --set %s=VALUE", printable(key))
		}
		if err := home.ValidateConfig(key, value); err != nil {
			return usagef("--set: %s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
		}
		pairs = append(pairs, pair{key, value})
	}
	change := len(pairs)+len(unset) > 0
	s, err := a.open(!change)
	if err != nil {
		return err
	}
	if _, err := s.server(name); err != nil {
		return err
	}
	if change {
		prefixed := slices.Contains(unset, "berth.prefix") || slices.ContainsFunc(pairs, func(p pair) bool { return p.key == "berth.prefix" })
		var done []string
		err := s.home.UpdateServer(name, func(server *home.Server) error {
			if server.Config == nil {
				server.Config = map[string]string{}
			}
			for _, p := range pairs {
				server.Config[p.key] = p.value
				done = append(done, "set "+p.key+"="+shown(p.key, p.value))
			}
			for _, key := range unset {
				if _, there := server.Config[key]; there {
					delete(server.Config, key)
					done = append(done, "unset "+key)
				} else {
					s.ui.note("%s was not set", key)
				}
			}
			if !prefixed {
				return nil
			}
			return s.freePrefix(*server)
		})
		if err != nil {
			return err
		}
		if len(done) > 0 {
			if err := s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Detail: strings.Join(done, ", ")}); err != nil {
				return err
			}
			if st, err := s.Status(ctx, name); err == nil && st.Status == berth.Running {
				s.ui.note("it runs as before until: berth restart %s", name)
			}
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
