package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

func newFetch(a *app) *cobra.Command {
	var scripts []string
	cmd := &cobra.Command{
		Use:   "fetch NAME… [--allow-scripts PACKAGE]…",
		Short: "Fetch a server's package, or check its copy",
		Long: `Fetch the package of a server that is run by npx, uvx or the like, so that from its
next start on it is run directly, as berth add does (see there).

Of a server that is run from a copy of its package, compare each file of the copy
with the lock. If the copy is damaged or gone it is fetched again, the same
versions by the same hashes. For another version, add the server again.

Files: servers/NAME.toml, packages/.

Exit codes: 0 done, or in order, 1 failed, 2 the server is run by no package runner,
3 no such server.`,
		Example:           `  berth fetch everything`,
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
			return each(s.ui, names, 1, func(name string) error { return s.fetchAgain(cmd.Context(), name, scripts) })
		},
	}
	cmd.Flags().StringArrayVar(&scripts, "allow-scripts", nil, "`package` that may run its install scripts while it is fetched; may be repeated")
	return cmd
}

// toFetch says which package a command is of; or, if it is of one that cannot be
// fetched, why not.
func toFetch(command []string, cwd string) (*catalog.Request, string) {
	r, is, err := catalog.Parse(command)
	switch {
	case !is:
		return nil, ""
	case err != nil:
		return nil, err.Error()
	}
	if r.Kind == catalog.NPM {
		if dir := ownPackage(cwd, r.Package); dir != "" {
			return nil, dir + " is there, which npx takes first"
		}
	}
	return &r, ""
}

// ownPackage is the package of that name in the project that cwd is part of, as npm
// finds it: the project is the nearest directory that has a package.json or a
// node_modules.
func ownPackage(cwd, name string) string {
	if cwd == "" {
		var err error
		if cwd, err = os.UserHomeDir(); err != nil {
			return ""
		}
	}
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	for dir := cwd; ; dir = filepath.Dir(dir) {
		modules := filepath.Join(dir, "node_modules")
		if there(modules) || there(filepath.Join(dir, "package.json")) {
			own := filepath.Join(modules, filepath.FromSlash(name))
			if there(filepath.Join(own, "package.json")) {
				return own
			}
			return ""
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// fetchOptions are how packages of a server are fetched: with its PATH, and nothing
// of its environment besides.
func (s *site) fetchOptions(server home.Server, scripts []string) catalog.Options {
	environ := os.Environ()
	path := cmp.Or(server.Env["PATH"], server.Settings.Path, valueOf(environ, "PATH"))
	return catalog.Options{
		Environ: environ, Path: path, AllowScripts: scripts, Get: openURL, Staged: s.staged,
		Look: func(name string) (string, error) {
			return proc.LookPath(name, server.Settings.Cwd, []string{"PATH=" + path})
		},
		Say:  func(text string) { s.ui.say("%s: %s", server.Name, text) },
		Show: func(text string) { s.ui.show("%s: %s", server.Name, text) },
	}
}

// fetch has the server be run from a copy of its package, and calls write when all
// is there.
func (s *site) fetch(ctx context.Context, server *home.Server, r catalog.Request, scripts []string, write func() error) error {
	// Where uvx is typed and is not there, what was typed is still what is meant.
	typed := append([]string{server.Runtime.Command}, server.Runtime.Args...)
	defer s.ui.clearProgress()
	c, err := catalog.New(s.home).Fetch(ctx, r, s.fetchOptions(*server, scripts), func(c *catalog.Copy) error {
		runFrom(server, c, r, typed)
		return write()
	})
	if err != nil {
		if errors.Is(err, berth.ErrExists) {
			return err
		}
		return fmt.Errorf("%s: %w", server.Name, err)
	}
	if !c.Fetched {
		s.ui.say("%s: %s %s is here already", server.Name, c.Lock.Package, c.Lock.Version)
	}
	if names := c.Scripted(); len(names) > 0 {
		s.ui.note("install scripts did not run: of %s; if the server needs one, --allow-scripts PACKAGE allows it", strings.Join(names, ", "))
	}
	return nil
}

// runFrom makes a server one that is run from a copy.
func runFrom(server *home.Server, c *catalog.Copy, r catalog.Request, typed []string) {
	server.Source.Type, server.Source.Package = string(r.Kind), c.Lock.Package
	server.Source.Copy, server.Source.Version, server.Source.Digest = c.ID, c.Lock.Version, c.Lock.Digest()
	server.Source.Typed = typed
	server.Info.Version = c.Lock.Version
	server.Runtime.Type = runtimeType(c, r.Kind)
	server.Runtime.Command, server.Settings.CommandPath = c.Command, c.CommandPath
	server.Runtime.Args = append(append([]string{}, c.Args...), r.Args...)
}

// packageLine names a server's package for a person and a record.
func packageLine(server home.Server) string {
	return fmt.Sprintf("%s %s %s (%s)", server.Source.Type, server.Source.Package, server.Source.Version, server.Source.Digest)
}

// fetchAgain is berth fetch.
func (s *site) fetchAgain(ctx context.Context, name string, scripts []string) error {
	server, err := s.server(name)
	if err != nil {
		return err
	}
	if server.Fetched() {
		defer s.ui.clearProgress()
		c, err := catalog.New(s.home).Restore(ctx, server, s.fetchOptions(server, nil))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.ui.clearProgress()
		if !c.Fetched {
			s.ui.print("%s: %s is as it was fetched", name, packageLine(server))
			return nil
		}
		s.ui.print("%s: %s was fetched again", name, packageLine(server))
		return s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Detail: "fetched again: " + packageLine(server)})
	}
	command := append([]string{server.Runtime.Command}, server.Runtime.Args...)
	r, why := toFetch(command, server.Settings.Cwd)
	if r == nil {
		return usagef("%s: %s", name, cmp.Or(why, "it is run by no package runner, so it has no package to fetch"))
	}
	// What else its file says stays, also what is changed meanwhile.
	err = s.fetch(ctx, &server, *r, scripts, func() error {
		return s.home.UpdateServer(name, func(now *home.Server) error {
			was := append([]string{now.Runtime.Command}, now.Runtime.Args...)
			if now.Fetched() || strings.Join(was, "\x00") != strings.Join(command, "\x00") {
				return errors.New("its command was changed meanwhile: try again")
			}
			now.Info.Version, now.Source, now.Runtime = server.Info.Version, server.Source, server.Runtime
			now.Settings.CommandPath = server.Settings.CommandPath
			return nil
		})
	})
	if err != nil {
		return err
	}
	args := secret.NewMasker(server.Env).Args(server.Runtime.Args)
	if err := s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Command: server.Runtime.Command, Args: args, Detail: "fetched " + packageLine(server)}); err != nil {
		return err
	}
	s.ui.print("%s: %s", name, printable(shellLine(append([]string{server.Settings.CommandPath}, args...))))
	if st, err := s.Status(ctx, name); err == nil && st.Status == berth.Running {
		s.ui.note("it runs as before until: berth restart %s", name)
	}
	return nil
}

// prunePackages removes the copies of packages that nothing is run from any more.
// That none is removed keeps nobody from anything.
func (s *site) prunePackages(ctx context.Context) {
	_, kept, err := catalog.New(s.home).Prune(ctx)
	if err != nil {
		s.ui.warn("copies of packages that are not used any more are kept: %v", err)
	}
	for _, file := range kept {
		s.ui.note("the copy of a package is kept, for a server wrote into it: %s", file)
	}
}

// packageView is what is shown of the package that a server is run from.
type packageView struct {
	Kind    string          `json:"kind"`
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Digest  string          `json:"digest"`
	Copy    string          `json:"copy"`
	Typed   []string        `json:"typed"`
	Scripts []string        `json:"scripts,omitempty"`
	Tree    []catalog.Entry `json:"tree"`
	// Error says why the lock is not to be believed.
	Error string `json:"error,omitzero"`
}

func (s *site) packageView(server home.Server) *packageView {
	if !server.Fetched() {
		return nil
	}
	v := &packageView{
		Kind: server.Source.Type, Name: server.Source.Package, Version: server.Source.Version, Digest: server.Source.Digest,
		Copy: server.CopyDir(), Typed: secret.NewMasker(server.Env).Args(server.Source.Typed), Tree: []catalog.Entry{},
	}
	l, err := catalog.New(s.home).Read(server)
	if err != nil {
		v.Error = err.Error()
		return v
	}
	v.Scripts, v.Tree = l.Scripts, l.Tree
	if _, err := os.Stat(v.Copy); errors.Is(err, fs.ErrNotExist) {
		v.Error = "the copy is gone"
	}
	return v
}

func (v *packageView) rows(row func(key, value string)) {
	if v == nil {
		return
	}
	row("package", fmt.Sprintf("%s %s %s, with all that it needs %d packages", v.Kind, v.Name, v.Version, len(v.Tree)))
	row("lock", v.Copy+".json, "+v.Digest)
	if len(v.Scripts) > 0 {
		row("scripts ran", strings.Join(v.Scripts, ", "))
	}
	row("typed", shellLine(v.Typed))
	if v.Error != "" {
		row("package error", v.Error)
	}
}
