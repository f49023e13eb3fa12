package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/team"
	"github.com/spf13/cobra"
)

func newConfigExport(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export [NAME…] [--file FILE]",
		Short: "Print the settings of servers, for config import",
		Long: `Print the settings ([config]) of all servers, or of those that are named, as TOML that
berth config import reads, in this home or another: version = 1, and a table
[servers.NAME] for each. Values that are secrets are left out. For whole servers with
their packages: berth export.

Exit codes: 0 done, 1 failed, 3 no such server.`,
		Example:           "  berth config export > settings.toml\n  berth config export notes --file notes.toml",
		Args:              names(-1),
		ValidArgsFunction: a.completeNames(-1),
		RunE:              func(_ *cobra.Command, args []string) error { return a.configExport(args, file) },
	}
	cmd.Flags().StringVar(&file, "file", "", "write into `file`")
	return cmd
}

func (a *app) configExport(args []string, file string) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	list, err := chosen(args, len(args) == 0, s.installed)
	if err != nil {
		return err
	}
	b := team.Bundle{Servers: map[string]map[string]string{}}
	for _, name := range list {
		server, err := s.server(name)
		if err != nil {
			return err
		}
		b.Servers[name] = map[string]string{}
		for key, value := range server.Config {
			if plainSecret(key, value) {
				s.ui.note("%s: %s is a secret, and left out", name, printable(key))
				continue
			}
			b.Servers[name][key] = value
		}
	}
	doc, err := b.Encode()
	if err != nil {
		return err
	}
	if file == "" {
		_, err = s.ui.out.Write(doc)
		return err
	}
	if err := replaceFile(file, doc); err != nil {
		return err
	}
	s.ui.print("%s: %s", file, counted(len(b.Servers), "server"))
	return nil
}

func newConfigImport(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "import FILE [--dry-run]",
		Short: "Set what config export has printed",
		Long: `Set the settings of servers that are in FILE (- is standard input), as berth config NAME
--set does: each is checked, and those that the server was installed with are put into its
command line. Settings that are not in FILE stay. Of one server all are set or none; one
that fails keeps no other from being.

Exit codes: 0 done, 1 failed, for one of the servers at least, 2 a wrong file, 3 no such
server.`,
		Example: "  berth config import settings.toml --dry-run",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which file?").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.configImport(cmd.Context(), args[0], dry) },
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would be set and change nothing")
	return cmd
}

func (a *app) configImport(ctx context.Context, file string, dry bool) error {
	var doc []byte
	var err error
	if file == "-" {
		doc, err = io.ReadAll(a.stdin)
	} else {
		doc, err = os.ReadFile(file)
	}
	if err != nil {
		return err
	}
	bundle, err := team.ParseBundle(file, doc)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	s, err := a.open(dry)
	if err != nil {
		return err
	}
	return each(s.ui, slices.Sorted(maps.Keys(bundle.Servers)), 1, func(name string) error {
		server, err := s.server(name)
		if err != nil {
			return err
		}
		var pairs []pair
		var lines []string
		for _, key := range slices.Sorted(maps.Keys(bundle.Servers[name])) {
			value := bundle.Servers[name][key]
			if err := home.ValidateConfig(key, value); err != nil {
				return berth.WithHint(fmt.Errorf("%s: %w", name, err), hintOf(err))
			}
			if have, there := server.Config[key]; there && have == value {
				continue
			}
			pairs = append(pairs, pair{key, value})
			lines = append(lines, key+"="+shown(key, value))
		}
		if len(pairs) == 0 {
			s.ui.print("%s: unchanged", name)
			return nil
		}
		if dry {
			_, err = s.setConfig(&server, pairs, nil)
		} else {
			err = s.changeConfig(ctx, name, pairs, nil)
		}
		if err != nil {
			return berth.WithHint(fmt.Errorf("%s: %w", name, err), hintOf(err))
		}
		verb := "set"
		if dry {
			verb = "would set"
		}
		s.ui.print("%s: %s %s", name, verb, printable(strings.ReplaceAll(strings.Join(lines, ", "), "\n", " ")))
		return nil
	})
}
