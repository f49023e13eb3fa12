package main

import (
	"github.com/berth-run/berth/internal/demo"
	"github.com/spf13/cobra"
)

// newDemoServer is the server of `berth up --demo`.
func newDemoServer(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "demo-server",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Serve(cmd.Context(), a.stdin, a.ui.out, a.ui.err)
		},
	}
}
