package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

// useOptions are the flags that commands share which need a server to be up.
type useOptions struct {
	noStart bool
	steal   bool
	timeout time.Duration
}

func (o *useOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.noStart, "no-start", false, "do not start a server that is down")
	f.BoolVar(&o.steal, "steal", false, "take the server from a client that has shown no life for 10 s")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long to wait for all of it")
}

const useHelp = `A server that is installed and down is started first, unless --no-start is given
or it gave up after too many restarts; a restart in progress is waited for. While
the gateway has the server, this command is one of its clients; while another
command has it, this one waits 3 s, and then says who that is.
`

const useCodes = `3 no such server, 5 it is disabled, or not
running and may not be started.`

func newTools(a *app) *cobra.Command {
	var (
		o      useOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "tools NAME [--json] [--no-start] [--steal] [--timeout 90s]",
		Short: "List a server's tools",
		Long: `List the tools that a server offers.

` + useHelp + `
--json prints an array of the tools as the server described them, byte for byte.

Exit codes: 0 listed, 1 failed, ` + useCodes,
		Example: `  berth tools everything
  berth tools everything --json`,
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tools(cmd.Context(), args[0], o, asJSON)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// use opens the home and a session with a server, starting it if need be.
func (a *app) use(ctx context.Context, name string, o useOptions, f func(context.Context, *site, *client) error) error {
	if o.timeout <= 0 {
		return usagef("--timeout must be more than nothing")
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the %v of --timeout are over", o.timeout))
	defer cancel()
	if err := notDisabled(s.home, berth.ServerOf(name)); err != nil {
		return err
	}
	if err := s.bringUp(ctx, name, !o.noStart); err != nil {
		return err
	}
	stop := s.tick(name)
	c, err := s.reach(ctx, name, reachOptions{steal: o.steal, patience: 3 * time.Second})
	stop()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, s, c)
}

func (a *app) tools(ctx context.Context, name string, o useOptions, asJSON bool) error {
	return a.use(ctx, name, o, func(ctx context.Context, s *site, c *client) error {
		tools, err := c.Tools(ctx)
		if err != nil {
			return err
		}
		s.remember(ctx, name, c)
		tools, withheld, err := s.approvedTools(name, c, tools)
		if err != nil {
			return err
		}
		if withheld > 0 {
			s.ui.note("%s withheld: berth approve %s shows what is new", plural(withheld, "tool", "is", "are"), name)
		}
		if asJSON {
			raw := make([]json.RawMessage, len(tools))
			for i, t := range tools {
				raw[i] = t.Raw
			}
			return printRawArray(a.ui, raw)
		}
		t := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "TOOL\tDESCRIPTION")
		for _, tool := range tools {
			first, _, _ := strings.Cut(strings.TrimSpace(tool.Description), "\n")
			if first == "" {
				first = tool.Title
			}
			fmt.Fprintf(t, "%s\t%s\n", printable(tool.Name), cut(printable(first), 100))
		}
		return t.Flush()
	})
}

// printRawArray prints JSON values whose bytes are not to be touched.
func printRawArray(u *ui, values []json.RawMessage) error {
	if len(values) == 0 {
		_, err := fmt.Fprintln(u.out, "[]")
		return err
	}
	for i, v := range values {
		before := ",\n"
		if i == 0 {
			before = "[\n"
		}
		if _, err := fmt.Fprintf(u.out, "%s  %s", before, v); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(u.out, "\n]\n")
	return err
}
