package main

import (
	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

// inUse is whether a server may be used, and starts with berth up.
type inUse struct {
	autostart, disabled bool
	done                string // what is said of a server that is made so
}

func newEnable(a *app) *cobra.Command {
	var onDemand bool
	cmd := a.newInUse("enable", "Have berth up start a server, and let clients use it", func() inUse {
		if onDemand {
			return inUse{done: "enabled on demand"}
		}
		return inUse{autostart: true, done: "enabled"}
	})
	cmd.Use = "enable NAME… [--on-demand]"
	cmd.Long = `Have ` + "`berth up`" + ` start servers, and let clients use those that were disabled:
clients that are connected are told that there are more tools. Nothing is started
now. With --on-demand, ` + "`berth up`" + ` does not start them, and the first call of a client
does; so it is of a server that was just added.

Files: [berth] autostart and disabled in servers/NAME.toml.

Exit codes: 0 done, also if it was so already, 3 no such server.`
	cmd.Example += "\n  berth enable everything --on-demand"
	cmd.Flags().BoolVar(&onDemand, "on-demand", false, "let clients use it, and have their first call start it")
	return cmd
}

func newDisable(a *app) *cobra.Command {
	cmd := a.newInUse("disable", "Have no client use a server", func() inUse { return inUse{disabled: true, done: "disabled"} })
	cmd.Long = `Take servers out of use: no client sees their tools, prompts and resources any
more, at any address, and calls are refused, berth call's among them. Clients that
are connected are told that their lists have changed. ` + "`berth up`" + ` does not start them.
A call that runs is answered, and a server that runs goes on until ` + "`berth stop`" + `.
` + "`berth enable`" + ` takes it back, for clients that are connected, too.

Files: [berth] autostart and disabled in servers/NAME.toml.

Exit codes: 0 done, also if it was disabled already, 3 no such server.`
	return cmd
}

func (a *app) newInUse(verb, short string, wanted func() inUse) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME…",
		Short:             short,
		Example:           "  berth " + verb + " everything",
		Args:              someNames,
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			names, err := chosen(args, false, nil)
			if err != nil {
				return err
			}
			want := wanted()
			return each(s.ui, names, 1, func(name string) error {
				server, err := s.server(name)
				if err != nil {
					return err
				}
				if server.Settings.Autostart == want.autostart && server.Settings.Disabled == want.disabled {
					s.ui.print("%s: already %s", name, want.done)
					return nil
				}
				err = s.home.UpdateServer(name, func(server *home.Server) error {
					server.Settings.Autostart, server.Settings.Disabled = want.autostart, want.disabled
					return nil
				})
				if err != nil {
					return err
				}
				s.ui.print("%s: %s", name, want.done)
				if st, err := s.Status(cmd.Context(), name); err == nil && st.Status == berth.Running && want.disabled {
					s.ui.say("it still runs: berth stop %s", name)
				}
				return s.record(cmd.Context(), berth.Record{Server: name, Action: berth.ActionConfig, Detail: want.done})
			})
		},
	}
}
