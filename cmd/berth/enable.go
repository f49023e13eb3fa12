package main

import (
	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

func newEnable(a *app) *cobra.Command {
	return a.newAutostart("enable", true, `Mark servers to be started by `+"`berth up`"+`. Nothing is started now.

Files: [berth] autostart in servers/NAME.toml.

Exit codes: 0 done, also if it was enabled already, 3 no such server.`)
}

func newDisable(a *app) *cobra.Command {
	return a.newAutostart("disable", false, `Take back `+"`berth enable`"+`. A server that runs goes on.

Files: [berth] autostart in servers/NAME.toml.

Exit codes: 0 done, also if it was not enabled, 3 no such server.`)
}

func (a *app) newAutostart(verb string, on bool, long string) *cobra.Command {
	short := map[bool]string{true: "Have berth up start a server", false: "Have berth up leave a server alone"}[on]
	return &cobra.Command{
		Use:               verb + " NAME…",
		Short:             short,
		Long:              long,
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
			return each(s.ui, names, 1, func(name string) error {
				server, err := s.server(name)
				if err != nil {
					return err
				}
				if server.Settings.Autostart == on {
					s.ui.print("%s: already %sd", name, verb)
					return nil
				}
				err = s.home.UpdateServer(name, func(server *home.Server) error {
					server.Settings.Autostart = on
					return nil
				})
				if err != nil {
					return err
				}
				s.ui.print("%s: %sd", name, verb)
				return s.record(cmd.Context(), berth.Record{Server: name, Action: berth.ActionConfig, Detail: verb + "d"})
			})
		},
	}
}
