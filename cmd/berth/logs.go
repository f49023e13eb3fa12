package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newLogs(a *app) *cobra.Command {
	var (
		tail   int
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "logs NAME [--tail N] [-f]",
		Short: "Print a server's log",
		Long: `Print the last lines of a server's log: its stderr, what it printed on stdout
that is not MCP, and between them Berth's own lines, which begin with the time in
seconds since 1970: START, STOP, EXIT, AUTO_RESTART.

Bytes pass as they are, but on a terminal control characters are shown by their
codes. -f goes on with what is added, across rotation, until Ctrl-C.

Files: logs/NAME.log, and logs/NAME.log.1 and on, which are older.

Exit codes: 0 printed, also if there is nothing, 3 no such server.`,
		Example: `  berth logs everything
  berth logs everything --tail 20 -f`,
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < 0 {
				return usagef("--tail: %d is less than nothing", tail)
			}
			return a.logs(cmd.Context(), args[0], tail, follow)
		},
	}
	cmd.Flags().IntVarP(&tail, "tail", "n", 100, "how many `lines` of the end")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is added")
	return cmd
}

func (a *app) logs(ctx context.Context, name string, n int, follow bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	if err := s.known(name); err != nil {
		// The log of a server that was removed is still there to be read.
		if lines, logErr := s.Logs(name, 1); logErr != nil || len(lines) == 0 {
			return err
		}
	}
	if follow {
		err := s.FollowLogs(ctx, name, n, s.ui.write)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx))) {
			return nil // Ctrl-C is how it ends
		}
		return err
	}
	lines, err := s.Logs(name, n)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if err := s.ui.write(line); err != nil {
			return err
		}
	}
	return nil
}
