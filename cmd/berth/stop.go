package main

import (
	"context"
	"errors"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

func newStop(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "stop NAME…|--all",
		Short: "Stop servers",
		Long: `Stop servers, for good: the whole process tree of each, and no restart.

A stop goes up a ladder: the server's stdin is closed; if it is not gone after
its grace (5 s unless berth add --grace said otherwise), it gets SIGTERM; after
the same time again, whatever is left is killed. The command returns when nothing
is left. A process that escaped is named, and the exit code is 1.

With --all: every server that runs or is to be restarted.

Exit codes: 0 stopped, or not running already, 1 failed, 3 no such server.`,
		Example: `  berth stop everything
  berth stop --all`,
		Args:              namesOrAll(&all),
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			names, err := chosen(args, all, func() ([]string, error) { return s.stoppable(cmd.Context()) })
			if err != nil {
				return err
			}
			if len(names) == 0 {
				s.ui.note("no server runs")
			}
			return each(s.ui, names, 16, func(name string) error { return s.stopOne(cmd.Context(), name) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that run")
	return cmd
}

// stoppable are the servers of which something runs or would run again.
func (s *site) stoppable(ctx context.Context) ([]string, error) {
	rows, err := s.rows(ctx, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, st := range rows {
		down := st.Phase == berth.PhaseStopped || st.Phase == berth.PhaseExited ||
			st.Phase == berth.PhaseFailed && !s.orphaned(st.Name)
		if st.Status == berth.Running || !down {
			names = append(names, st.Name)
		}
	}
	return names, nil
}

func (s *site) stopOne(ctx context.Context, name string) error {
	if err := s.known(name); err != nil {
		return err
	}
	s.ui.show("%s: stopping", name)
	outcome, err := s.Stop(ctx, name)
	err = errors.Join(err, s.stopInstances(ctx, name))
	s.ui.clearProgress()
	if err != nil {
		return err
	}
	s.ui.print("%s: %s", name, outcome)
	return nil
}
