package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

func newList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list [NAME…] [--json]",
		Aliases: []string{"ls"},
		Short:   "List the installed servers, and what each is from",
		Long: `List the servers of this home: what each is run from, in which version, where that is
from, the hash that it is held to, and how much of the disk its copy and its own directory
take. UPDATE is the version that its catalogue has, if that is another one and known without
asking the network: of Berth's own catalogue, of the copy of the MCP registry (berth search
--sync), or of a server.json that is a file. How servers are: berth status.

--json prints an array, one object for each server.

Exit codes: 0 done, 1 the file of a server does not parse, 3 no such server.`,
		Example:           "  berth list\n  berth list github --json",
		Args:              names(-1),
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			return s.list(cmd.Context(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listed is what is known of an installed server.
type listed struct {
	Name string `json:"name"`
	// Kind is npm, pypi, oci, go, remote, or command for one that was added.
	Kind    string `json:"kind"`
	Package string `json:"package,omitzero"`
	Version string `json:"version,omitzero"`
	// Source says where it is from, as info does; Entry is its name there.
	Source string `json:"source"`
	Entry  string `json:"entry,omitzero"`
	// Pinned are the hashes of the package itself, Lock that of all that it needs.
	Pinned []string `json:"pinned,omitempty"`
	Lock   string   `json:"lock,omitzero"`
	// Update is the version that its catalogue has now; "" if that is the same, or not
	// known.
	Update string `json:"update,omitzero"`
	// Bytes are those of its copy and of its own directory.
	Bytes int64  `json:"sizeBytes"`
	Error string `json:"error,omitzero"`
}

func (s *site) list(ctx context.Context, args []string, asJSON bool) error {
	names, err := s.listedNames(args)
	if err != nil {
		return err
	}
	rows, failed := []listed{}, false
	for _, name := range names {
		row := s.listed(name)
		failed = failed || row.Error != ""
		rows = append(rows, row)
	}
	if asJSON {
		err = s.ui.json(rows)
	} else {
		err = printList(s.ui, rows)
	}
	if err == nil && failed {
		err = silent(exitFailed)
	}
	return err
}

// listedNames are the servers that are asked for, or all that are installed.
func (s *site) listedNames(args []string) ([]string, error) {
	if len(args) == 0 {
		return s.installed()
	}
	for _, name := range args {
		if err := s.known(name); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func (s *site) listed(name string) listed {
	row := listed{Name: name}
	server, err := s.home.ReadServer(name)
	if err != nil {
		row.Error = err.Error()
		return row
	}
	row.Kind, row.Version, row.Package, row.Lock = "command", server.Info.Version, server.Source.Package, server.Source.Digest
	row.Source = "you: it was added by hand"
	switch {
	case server.Remote():
		row.Kind, row.Package = "remote", server.ShownURL()
	case server.Fetched():
		row.Kind, row.Version = server.Source.Type, server.Source.Version
		if l, err := catalog.New(s.home).Read(server); err != nil {
			row.Error = err.Error()
		} else {
			row.Pinned = l.Pinned()
		}
		row.Bytes += sizeOf(server.CopyDir())
	default:
		row.Package = server.Runtime.Command
		if row.Version == "0.0.0" {
			row.Version = "" // nobody said one
		}
	}
	if dir, err := s.home.DataDir(name); err == nil {
		row.Bytes += sizeOf(dir)
	}
	if was, err := declaration(server); err == nil {
		row.Source, row.Entry = sourceLine(was), was.Name
		row.Update = s.updateKnown(was, row.Version)
	}
	return row
}

// updateKnown is the version that a server's catalogue has, if that is another one and is known here.
func (s *site) updateKnown(was listing.Entry, have string) string {
	var now []listing.Entry
	var err error
	switch file, isFile := strings.CutPrefix(was.From, listing.FromFile+":"); {
	case was.From == listing.FromBerth:
		now, err = listing.BuiltIn()
	case was.From == listing.FromRegistry:
		now, err = s.copiedEntries(was.Name)
	case strings.HasPrefix(was.From, listing.FromIndex+":"):
		return "" // its versions are none
	case isFile && !strings.HasPrefix(file, "https://"):
		now, err = fileEntries(file)
	}
	if err != nil {
		return "" // it is said by update
	}
	for _, e := range now {
		if e.Name == was.Name && e.Kind == was.Kind && e.Version != "" && e.Version != have && e.Version != was.Version {
			return e.Version
		}
	}
	return ""
}

// copiedEntries are those of a server in the copy of the registry.
func (s *site) copiedEntries(name string) ([]listing.Entry, error) {
	c, err := s.registryCopy()
	if err != nil || c == nil {
		return nil, err
	}
	defer c.Close()
	entries, _, err := c.Lookup(name)
	return entries, err
}

// sizeOf is how many bytes the files below a directory have.
func sizeOf(dir string) (n int64) {
	if dir == "" {
		return 0
	}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // what is not there, or may not be read, is not counted
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

func printList(u *ui, rows []listed) error {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tKIND\tPACKAGE\tVERSION\tUPDATE\tPINNED\tSIZE\tFROM")
	for _, r := range rows {
		if r.Kind == "" {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t-\n", r.Name)
			continue
		}
		pinned := "-"
		if len(r.Pinned) > 0 {
			pinned = cut(r.Pinned[0], 20)
		}
		dash := func(text string) string {
			if text == "" {
				return "-"
			}
			return printable(text)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, printable(r.Kind), dash(cut(r.Package, 60)), dash(cut(r.Version, 30)),
			dash(cut(r.Update, 30)), printable(pinned), sizeText(uint64(r.Bytes)), printable(r.Source))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Error != "" {
			u.fail(fmt.Errorf("%s: %s", r.Name, r.Error))
		}
	}
	return nil
}
