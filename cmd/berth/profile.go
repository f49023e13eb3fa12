package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

func newProfile(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "profile create|list|show|set|remove",
		Short: "Name sets of servers and tools, for clients that need not see all",
		Long: `A profile is a named set of servers and tools: what a client sees who comes by
its name. It adds nothing to what the servers' own berth.allow-tools and
berth.deny-tools allow. A change holds from the next request on.

` + toolFlagsHelp + `

Files: profiles/NAME.toml.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such profile or server.`,
		Example: `  berth profile create work --server files --server github --deny-tool @destructive
  berth profile set work --mode search
  berth profile show work`,
	}, newProfileCreate(a), newProfileList(a), newProfileShow(a), newProfileSet(a), newProfileRemove(a))
}

// profileFlags are those of create and set.
type profileFlags struct {
	toolFlags
	servers           []string
	mode, description string
}

func profileKeys() []string {
	return []string{"servers", "allow-tools", "deny-tools", "read-only", "mode", "description"}
}

func (p *profileFlags) add(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&p.servers, "server", nil, "a `server` that is part of it, in this order; may be repeated (default all)")
	p.toolFlags.add(cmd)
	f.StringVar(&p.mode, "mode", home.ModeAll, "all or search: `list` every tool, or three by which the others are found and called")
	f.StringVar(&p.description, "description", "", "a `text` for people")
	_ = cmd.RegisterFlagCompletionFunc("server", a.completeNames(-1))
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{home.ModeAll, home.ModeSearch}, cobra.ShellCompDirectiveNoFileComp))
}

func (p *profileFlags) check() error {
	for _, server := range p.servers {
		if err := berth.CheckName(server); err != nil {
			return usagef("--server: %v", err)
		}
	}
	if p.mode != home.ModeAll && p.mode != home.ModeSearch {
		return usagef("--mode: %q is neither %s nor %s", p.mode, home.ModeAll, home.ModeSearch)
	}
	return p.toolFlags.check(profileKeys()...)
}

// apply sets what was given, and says it in words for the audit trail.
func (p *profileFlags) apply(cmd *cobra.Command, profile *home.Profile) (done []string) {
	changed := cmd.Flags().Changed
	if changed("server") {
		profile.Servers = p.servers
		done = append(done, "set servers="+strings.Join(p.servers, ","))
	}
	if changed("mode") {
		profile.Mode = p.mode
		done = append(done, "set mode="+p.mode)
	}
	if changed("description") {
		profile.Description = p.description
		done = append(done, "set description")
	}
	for _, key := range p.unset {
		switch key {
		case "servers":
			profile.Servers = nil
		case "mode":
			profile.Mode = home.ModeAll
		case "description":
			profile.Description = ""
		}
	}
	return append(done, p.toolFlags.apply(cmd, &profile.AllowTools, &profile.DenyTools, &profile.ReadOnly)...)
}

// knownServers refuses a server that is not installed.
func (s *site) knownServers(names []string) error {
	installed, err := s.installed()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(installed, name) {
			return s.noServer(name)
		}
	}
	return nil
}

func newProfileCreate(a *app) *cobra.Command {
	var p profileFlags
	cmd := &cobra.Command{
		Use:   "create NAME [--server S]… [--allow-tool G]… [--deny-tool G]… [--read-only] [--mode search]",
		Short: "Make a profile",
		Long: `Make a profile. Without --server it has all servers, also those that are added
later.

` + toolFlagsHelp + `

Files: profiles/NAME.toml.

Exit codes: 0 made, 1 failed, or there is one of that name, 2 wrong usage, 3 no
such server.`,
		Example: `  berth profile create work --server files --server github --deny-tool @destructive
  berth profile create look --read-only --mode search`,
		Args:              oneProfile,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(); err != nil {
				return err
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if err := s.knownServers(p.servers); err != nil {
				return err
			}
			profile := home.Profile{Name: args[0]}
			p.apply(cmd, &profile)
			err = s.home.CreateProfile(profile)
			if errors.Is(err, home.ErrProfileExists) {
				return berth.WithHint(err, "change it: berth profile set "+args[0])
			}
			if err != nil {
				return err
			}
			s.ui.print("%s: created", args[0])
			return s.recordRules("profile", args[0], "created")
		},
	}
	p.add(a, cmd)
	return cmd
}

func newProfileSet(a *app) *cobra.Command {
	var p profileFlags
	cmd := &cobra.Command{
		Use:     "set NAME [--server S]… [--allow-tool G]… [--deny-tool G]… [--read-only] [--mode M] [--unset KEY]…",
		Aliases: []string{"edit"},
		Short:   "Change a profile",
		Long: `Change a profile. A list that is given is in the place of the one before; --unset
takes one back. What is not named stays, and so do comments in the file.

Files: profiles/NAME.toml.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such profile or server.`,
		Example: `  berth profile set work --server files --mode search
  berth profile set work --unset deny-tools`,
		Args:              oneProfile,
		ValidArgsFunction: a.completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(); err != nil {
				return err
			}
			if cmd.Flags().NFlag() == 0 {
				return usagef("nothing to change").hint("usage: %s", cmd.UseLine())
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if err := s.knownServers(p.servers); err != nil {
				return err
			}
			if _, err := s.profile(args[0]); err != nil {
				return err
			}
			var done []string
			err = s.home.UpdateProfile(args[0], func(profile *home.Profile) error {
				done = p.apply(cmd, profile)
				return nil
			})
			if err != nil {
				return err
			}
			s.ui.print("%s: changed", args[0])
			return s.recordRules("profile", args[0], strings.Join(done, ", "))
		},
	}
	p.add(a, cmd)
	p.addUnset(cmd, profileKeys()...)
	return cmd
}

// recordRules records a change of what clients may call.
func (s *site) recordRules(what, name, detail string) error {
	return s.recordOfHome(berth.ActionConfig, fmt.Sprintf("%s %s: %s", what, name, detail))
}

// profile reads a profile. What is odd about it is said.
func (s *site) profile(name string) (home.Profile, error) {
	p, warnings, err := s.home.ReadProfile(name)
	s.warn(warnings...)
	if errors.Is(err, home.ErrNoProfile) {
		all, _, _ := s.home.Profiles()
		return p, near(err, name, all, "make it: berth profile create "+name)
	}
	return p, err
}

// profileView is what is shown of a profile.
type profileView struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitzero"`
	Servers     []string `json:"servers"`
	AllowTools  []string `json:"allowTools"`
	DenyTools   []string `json:"denyTools"`
	ReadOnly    bool     `json:"readOnly"`
	Mode        string   `json:"mode"`
	// Missing are servers of it that are not installed.
	Missing []string `json:"missing,omitempty"`
}

// viewProfile is what is shown of a profile; servers that it names and nobody has
// are a warning.
func (s *site) viewProfile(name string) (profileView, error) {
	p, err := s.profile(name)
	if err != nil {
		return profileView{}, err
	}
	installed, err := s.installed()
	if err != nil {
		return profileView{}, err
	}
	v := profileView{
		Name: name, Description: p.Description, Servers: notNil(p.Servers), AllowTools: notNil(p.AllowTools), DenyTools: notNil(p.DenyTools),
		ReadOnly: p.ReadOnly, Mode: p.Mode, Missing: p.Missing(installed),
	}
	for _, server := range v.Missing {
		s.warn(fmt.Sprintf("profile %s: there is no server %s", name, server))
	}
	return v, nil
}

func newProfileList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the profiles",
		Long: `List the profiles. One that cannot be read is reported, and the exit code is 1.

--json prints an array of {"name", "description", "servers", "allowTools",
"denyTools", "readOnly", "mode", "missing"}; no servers are all servers.

Files: profiles/NAME.toml.

Exit codes: 0 printed, also if there is none, 1 a file cannot be read.`,
		Example: "  berth profile list",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			names, strays, err := s.home.Profiles()
			if err != nil {
				return err
			}
			for _, stray := range strays {
				s.warn(fmt.Sprintf("%s is no profile: its name is not one that a profile can have", stray))
			}
			views := []profileView{}
			var bad error
			for _, name := range names {
				if v, err := s.viewProfile(name); readable(s.ui, &bad, err) {
					views = append(views, v)
				}
			}
			if asJSON {
				err = s.ui.json(views)
			} else {
				err = printProfiles(s.ui, views)
			}
			if bad != nil {
				return silent(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printProfiles(u *ui, views []profileView) error {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tMODE\tSERVERS\tDESCRIPTION")
	for _, v := range views {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Name, v.Mode, listText(v.Servers, "all"), printable(v.Description))
	}
	return t.Flush()
}

func newProfileShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME [--json]",
		Short: "Show a profile",
		Long: `Show a profile. --json prints {"name", "description", "servers", "allowTools",
"denyTools", "readOnly", "mode", "missing"}; no servers are all servers.

Files: profiles/NAME.toml.

Exit codes: 0 printed, 1 its file cannot be read, 3 no such profile.`,
		Example:           "  berth profile show work --json",
		Args:              oneProfile,
		ValidArgsFunction: a.completeProfiles,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			v, err := s.viewProfile(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(v)
			}
			t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
			row := func(key, value string) { fmt.Fprintf(t, "%s\t%s\n", key, printable(value)) }
			if v.Description != "" {
				row("description", v.Description)
			}
			row("servers", listText(v.Servers, "all"))
			rowsOfTools(row, v.AllowTools, v.DenyTools, v.ReadOnly)
			row("mode", v.Mode)
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func rowsOfTools(row func(key, value string), allow, deny []string, readOnly bool) {
	row("allow-tools", listText(allow, "all"))
	row("deny-tools", listText(deny, "none"))
	row("read-only", fmt.Sprint(readOnly))
}

func newProfileRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Remove a profile",
		Long: `Remove a profile. Who comes by its name finds nothing from then on, and a client
whose file names it may call nothing until the file names another.

Files that go: profiles/NAME.toml.

Exit codes: 0 removed, 1 failed, 3 no such profile.`,
		Example:           "  berth profile remove work",
		Args:              oneProfile,
		ValidArgsFunction: a.completeProfiles,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			err = s.home.RemoveProfile(args[0])
			if errors.Is(err, home.ErrNoProfile) {
				all, _, _ := s.home.Profiles()
				return near(err, args[0], all, "`berth profile list` lists what there is")
			}
			if err != nil {
				return err
			}
			s.ui.print("%s: removed", args[0])
			names, _, _ := s.home.Clients()
			for _, name := range names {
				if c, _, err := s.home.ReadClient(name); err == nil && c.Profile == args[0] {
					s.ui.warn("client %s has this profile and may call nothing until: berth client set %s --profile OTHER", name, name)
				}
			}
			tokens, _ := s.home.Tokens()
			for _, t := range tokens {
				if t.Profile == args[0] {
					s.ui.warn("the token of %s is held to this profile and lets nothing be called until there is one of that name", t.Name)
				}
			}
			return s.recordRules("profile", args[0], "removed")
		},
	}
}

// warnOfProfiles says which profiles name a server that was removed.
func (s *site) warnOfProfiles(server string) {
	names, _, _ := s.home.Profiles()
	for _, name := range names {
		if p, _, err := s.home.ReadProfile(name); err == nil && slices.Contains(p.Servers, server) {
			s.ui.warn("profile %s names %s, which is no more", name, server)
		}
	}
}

// completeProfiles completes the name of one profile.
func (a *app) completeProfiles(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFrom(args, (*home.Home).Profiles)
}

// completeProfileFlag completes the value of --profile.
func (a *app) completeProfileFlag(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFrom(nil, (*home.Home).Profiles)
}

// completeFrom completes one name of a list. It changes nothing and says nothing.
func (a *app) completeFrom(args []string, list func(*home.Home) (names, strays []string, err error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := a.open(true)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s.ui = newUI(io.Discard, io.Discard)
	names, _, _ := list(s.home)
	return names, cobra.ShellCompDirectiveNoFileComp
}
