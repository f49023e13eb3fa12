package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

func newInfo(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info NAME [--json]",
		Short: "Show what a server is, needs and runs, before it is installed",
		Long: `Show what is known of a server that can be installed: what is run, with the version
and hash of its package; what it may do; what it asks for; which tools it listed when
it was run, or that it was not run; and where all that is from.

NAME is one of a catalogue (berth search; one of the MCP registry that is not in the copy
of it is asked for there), npm:NAME[@VERSION] or @SCOPE/NAME, pypi:NAME[@VERSION],
oci:IMAGE[:TAG|@DIGEST], go:PACKAGE[@VERSION], the https URL of a remote server, the path
or https URL of a server.json, or the page of a package on npmjs.com, pypi.org,
hub.docker.com or pkg.go.dev. An MCPB bundle (a file or a URL that ends in .mcpb or .dxt)
is read, one of a URL after it was downloaded, and its hash is shown. Of one that is there
in several ways, all are shown; the first that can be is installed.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 there is no such server.`,
		Example:           "  berth info github\n  berth info npm:@playwright/mcp --json",
		Args:              oneEntry,
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			// What is looked at in a bundle of a URL is kept in the home meanwhile.
			s, err := a.open(!isURL(args[0]) || fileKind(args[0]) == "")
			if err != nil {
				return err
			}
			return s.info(cmd.Context(), args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func oneEntry(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("name one server").hint("usage: %s; `berth search WORD` finds one", cmd.UseLine())
	}
	return nil
}

// infoView is an entry, and what follows from it.
type infoView struct {
	listing.Entry
	// Runs is the command by which the package's own runner would run it; Berth fetches
	// the package and runs its program directly.
	Runs []string `json:"runs,omitempty"`
	// Installed are the servers of this home that were installed from it.
	Installed []string `json:"installed,omitempty"`
}

func (s *site) info(ctx context.Context, name string, asJSON bool) error {
	all, err := s.entries(ctx, name)
	if err != nil {
		return err
	}
	views := make([]infoView, len(all))
	for i, e := range all {
		views[i] = infoView{Entry: e, Installed: s.installedFrom(e)}
		if command := e.Command(); command != nil {
			views[i].Runs = append(command, argForms(e)...)
		}
	}
	if asJSON {
		return s.ui.json(views)
	}
	for i, v := range views {
		if i > 0 {
			s.ui.print("")
		}
		if err := v.print(s.ui); err != nil {
			return err
		}
	}
	return nil
}

// installedFrom lists the servers that were installed from an entry.
func (s *site) installedFrom(e listing.Entry) (names []string) {
	all, err := s.installed()
	if err != nil {
		return nil
	}
	for _, name := range all {
		if server, err := s.home.ReadServer(name); err == nil && server.Source.Entry == e.Name && server.Source.From == e.From {
			names = append(names, name)
		}
	}
	return names
}

// argForms are the arguments of an entry, with what a setting adds in angle brackets.
func argForms(e listing.Entry) (args []string) {
	form := func(s listing.Setting) {
		words := s.Arg
		if len(words) == 0 {
			words = []string{"{}"}
		}
		for _, w := range words {
			args = append(args, strings.ReplaceAll(w, "{}", "<"+s.Key+">"))
		}
	}
	said := map[string]bool{}
	for _, arg := range e.Args {
		if key, ok := strings.CutPrefix(arg, "{"); ok {
			if set, known := e.Setting(strings.TrimSuffix(key, "}")); known {
				said[set.Key] = true
				form(set)
				continue
			}
		}
		args = append(args, arg)
	}
	for _, set := range e.Settings {
		if len(set.Arg) > 0 && !said[set.Key] {
			form(set)
		}
	}
	return args
}

func (v infoView) print(u *ui) error {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	row := func(key, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", printable(key), printable(value))
		}
	}
	row("name", strings.TrimSpace(v.Name+"  "+v.Title))
	row("what", v.About)
	row("from", sourceLine(v.Entry))
	row("status", v.Status)
	row("note", v.Note)
	if v.Unusable != "" {
		row("not installed", v.Unusable)
	}
	if v.Kind == listing.Remote {
		row("url", v.URL)
		row("transport", cmp.Or(v.Transport, "streamable-http"))
		for _, key := range slices.Sorted(maps.Keys(v.Headers)) {
			row("header "+key, v.Headers[key])
		}
	} else {
		row("package", fmt.Sprintf("%s %s %s", v.Kind, v.Package, cmp.Or(v.Version, "(the newest)")))
		for _, h := range v.Hashes {
			row("hash", h)
		}
		row("signed", v.Signed)
		row("runs", shellLine(v.Runs))
		row("transport", cmp.Or(v.Transport, "stdio"))
		for _, key := range slices.Sorted(maps.Keys(v.Env)) {
			row("env "+key, v.Env[key])
		}
		for _, p := range v.Allow {
			row("may use", p)
		}
		if len(v.Allow) == 0 {
			row("may use", "nothing besides its own directory and what settings give it")
		}
	}
	row("licence", v.Licence)
	row("source", v.Repository)
	for _, set := range v.Settings {
		row("setting "+set.Key, settingLine(set))
	}
	if v.Kind != listing.Remote {
		if v.Ran == "" {
			row("tools", strings.TrimSuffix("not run: "+v.NotRun, ": "))
		} else {
			row("tools", fmt.Sprintf("%d, when it was run on %s: %s", len(v.Tools), v.Ran, strings.Join(v.Tools, ", ")))
		}
	}
	row("installed as", strings.Join(v.Installed, ", "))
	return t.Flush()
}

// settingLine says what a setting is in a line.
func settingLine(s listing.Setting) string {
	words := []string{cmp.Or(s.Type, "string")}
	for _, is := range []struct {
		yes  bool
		word string
	}{{s.Required, "required"}, {s.Secret, "secret"}, {s.Repeated, "may be repeated"}} {
		if is.yes {
			words = append(words, is.word)
		}
	}
	if len(s.Choices) > 0 {
		words = append(words, "one of "+strings.Join(s.Choices, " "))
	}
	if s.Default != "" {
		words = append(words, "default "+s.Default)
	}
	if s.Env != "" {
		words = append(words, "variable "+s.Env)
	}
	if s.Access != "" {
		words = append(words, "it may "+s.Access+" it")
	}
	line := strings.Join(words, ", ")
	if s.About != "" {
		line = s.About + " (" + line + ")"
	}
	return line
}
