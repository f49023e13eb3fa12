package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

// newClientRules is `berth client`; a client, in this package, is also one end of
// a connection to a server.
func newClientRules(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "client set|list|show|remove",
		Short: "Say what a client may see and call",
		Long: `Say what a client may see and call, by the name that Berth knows it by. It adds
nothing to what the servers' own berth.allow-tools and berth.deny-tools allow; of
a client without a file nothing is said. A change holds from the next request on.

` + toolFlagsHelp + `

Files: clients/NAME.toml.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such client or profile.`,
		Example: `  berth client set cursor --profile work
  berth client set ci --read-only
  berth client list`,
	}, newClientSet(a), newClientList(a), newClientShow(a), newClientRemove(a))
}

func clientKeys() []string { return []string{"profile", "allow-tools", "deny-tools", "read-only"} }

func newClientSet(a *app) *cobra.Command {
	var (
		tools   toolFlags
		profile string
	)
	cmd := &cobra.Command{
		Use:   "set NAME [--profile P] [--allow-tool G]… [--deny-tool G]… [--read-only] [--unset KEY]…",
		Short: "Say or change what a client may see and call",
		Long: `Say or change what a client may see and call. A list that is given is in the
place of the one before; --unset takes one back. What is not named stays, and so
do comments in the file. A profile bounds the client also where it comes by
another one.

` + toolFlagsHelp + `

Files: clients/NAME.toml.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such profile.`,
		Example: `  berth client set cursor --profile work --deny-tool 'github/delete_*'
  berth client set cursor --unset deny-tools`,
		Args:              oneClient,
		ValidArgsFunction: a.completeClients,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := tools.check(clientKeys()...); err != nil {
				return err
			}
			setProfile := cmd.Flags().Changed("profile")
			if setProfile {
				if err := berth.CheckNameOf("profile", profile); err != nil {
					return usagef("--profile: %v", err)
				}
			}
			if cmd.Flags().NFlag() == 0 {
				return usagef("nothing to change").hint("usage: %s", cmd.UseLine())
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if setProfile {
				if _, err := s.profile(profile); err != nil {
					return err
				}
			}
			var done []string
			err = s.home.UpdateClient(args[0], func(c *home.Client) error {
				done = nil
				if setProfile {
					c.Profile = profile
					done = append(done, "set profile="+profile)
				}
				for _, key := range tools.unset {
					if key == "profile" {
						c.Profile = ""
					}
				}
				done = append(done, tools.apply(cmd, &c.AllowTools, &c.DenyTools, &c.ReadOnly)...)
				return nil
			})
			if err != nil {
				return err
			}
			s.ui.print("%s: changed", args[0])
			return s.recordRules("client", args[0], strings.Join(done, ", "))
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "bound the client by a `profile`")
	_ = cmd.RegisterFlagCompletionFunc("profile", a.completeProfileFlag)
	tools.add(cmd)
	tools.addUnset(cmd, clientKeys()...)
	return cmd
}

// clientView is what is shown of a client.
type clientView struct {
	Name       string   `json:"name"`
	Profile    string   `json:"profile,omitzero"`
	AllowTools []string `json:"allowTools"`
	DenyTools  []string `json:"denyTools"`
	ReadOnly   bool     `json:"readOnly"`
}

// viewClient is what is shown of a client; a profile that nobody has is a warning.
func (s *site) viewClient(name string) (clientView, error) {
	c, warnings, err := s.home.ReadClient(name)
	s.warn(warnings...)
	if errors.Is(err, home.ErrNoClient) {
		all, _, _ := s.home.Clients()
		return clientView{}, near(err, name, all, "nothing is said of it: berth client set "+name)
	}
	if err != nil {
		return clientView{}, err
	}
	if c.Profile != "" {
		if _, _, err := s.home.ReadProfile(c.Profile); err != nil {
			s.warn(fmt.Sprintf("client %s may call nothing: its profile cannot be read: %v", name, err))
		}
	}
	return clientView{name, c.Profile, notNil(c.AllowTools), notNil(c.DenyTools), c.ReadOnly}, nil
}

func newClientList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the clients of which something is said",
		Long: `List the clients of which something is said. One whose file cannot be read is
reported, and the exit code is 1: it may call nothing.

--json prints an array of {"name", "profile", "allowTools", "denyTools",
"readOnly"}.

Files: clients/NAME.toml.

Exit codes: 0 printed, also if there is none, 1 a file cannot be read.`,
		Example: "  berth client list",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			names, strays, err := s.home.Clients()
			if err != nil {
				return err
			}
			for _, stray := range strays {
				s.warn(fmt.Sprintf("%s is no client's: its name is not one that a client can have", stray))
			}
			views := []clientView{}
			var bad error
			for _, name := range names {
				if v, err := s.viewClient(name); readable(s.ui, &bad, err) {
					views = append(views, v)
				}
			}
			if asJSON {
				err = s.ui.json(views)
			} else {
				t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "NAME\tPROFILE\tALLOW-TOOLS\tDENY-TOOLS\tREAD-ONLY")
				for _, v := range views {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%v\n", v.Name, orDash(v.Profile), printable(listText(v.AllowTools, "all")),
						printable(listText(v.DenyTools, "none")), v.ReadOnly)
				}
				err = t.Flush()
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

func newClientShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME [--json]",
		Short: "Show what a client may see and call",
		Long: `Show what a client may see and call. --json prints {"name", "profile",
"allowTools", "denyTools", "readOnly"}.

Files: clients/NAME.toml.

Exit codes: 0 printed, 1 its file cannot be read, 3 nothing is said of it.`,
		Example:           "  berth client show cursor",
		Args:              oneClient,
		ValidArgsFunction: a.completeClients,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			v, err := s.viewClient(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(v)
			}
			t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
			row := func(key, value string) { fmt.Fprintf(t, "%s\t%s\n", key, printable(value)) }
			row("profile", orDash(v.Profile))
			rowsOfTools(row, v.AllowTools, v.DenyTools, v.ReadOnly)
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newClientRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Take back what is said of a client",
		Long: `Take back what is said of a client: it may call what the servers allow.

Files that go: clients/NAME.toml.

Exit codes: 0 removed, 1 failed, 3 nothing is said of it.`,
		Example:           "  berth client remove cursor",
		Args:              oneClient,
		ValidArgsFunction: a.completeClients,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			err = s.home.RemoveClient(args[0])
			if errors.Is(err, home.ErrNoClient) {
				all, _, _ := s.home.Clients()
				return near(err, args[0], all, "`berth client list` lists what there is")
			}
			if err != nil {
				return err
			}
			s.ui.print("%s: removed", args[0])
			return s.recordRules("client", args[0], "removed")
		},
	}
}

// completeClients completes the name of one client.
func (a *app) completeClients(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFrom(args, (*home.Home).Clients)
}
