package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/adopt"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/berth-run/berth/internal/team"
	"github.com/spf13/cobra"
)

// teamFile is the team's file where none is named.
const teamFile = "berth-team.toml"

func newExport(a *app) *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "export [FILE] [--only NAME]…",
		Short: "Write down the servers of this home for a team",
		Long: `Write the servers of this home into FILE (` + teamFile + `), for berth sync on other
machines: of each its package and version, command, URL, environment, permissions and
settings; and into berth.lock beside it what their packages were resolved to, each of
the tree by its hash. Both are for people to review and for version control: the same home
makes the same files.

Secrets are there by name only, as secret://NAME/KEY: a variable or header that is a secret,
whether its value is in the encrypted store or not. A server with a secret in its arguments
or its URL cannot be written. In paths, ~ stands for your home directory, {here} for the
directory of the file, {data} for that of the server's own. What you granted or revoked
counts as permissions; whether a server is enabled is of this home, and not written. What is
neither of npm, of PyPI, a command nor a URL is left out, with a warning.

What a lock that is there has for other systems, of the same versions, stays. A FILE of
another name has its lock beside it: tools.toml has tools.lock.

Exit codes: 0 done, 1 failed: nothing was written then, 3 no such server.`,
		Example: "  berth export\n  berth export tools.toml --only github --only files",
		Args:    oneFile,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.export(cmd.Context(), fileOr(args), only) },
	}
	cmd.Flags().StringArrayVar(&only, "only", nil, "the server of that `name` alone; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("only", a.completeNames(1))
	return cmd
}

func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("one file, not %d", len(args)).hint("usage: %s", cmd.UseLine())
	}
	return nil
}

func fileOr(args []string) string {
	if len(args) == 0 {
		return teamFile
	}
	return args[0]
}

// lockBeside is the lock beside a team's file.
func lockBeside(file string) string {
	if filepath.Base(file) == teamFile {
		return filepath.Join(filepath.Dir(file), "berth.lock")
	}
	return strings.TrimSuffix(file, ".toml") + ".lock"
}

func (a *app) export(ctx context.Context, file string, only []string) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	names, err := chosen(only, len(only) == 0, s.installed)
	if err != nil {
		return err
	}
	places, err := placesOf(file)
	if err != nil {
		return err
	}
	before := team.Lock{}
	if doc, err := os.ReadFile(lockBeside(file)); err == nil {
		if before, err = team.ParseLock(lockBeside(file), doc); err != nil {
			return berth.WithHint(err, "remove it to have it made anew")
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, l := team.File{Servers: map[string]team.Server{}}, team.Lock{Servers: map[string]team.Locked{}}
	for _, name := range names {
		server, err := s.server(name)
		if err != nil {
			return err
		}
		if why := ownOfHome(server); why != "" {
			s.ui.warn("%s is left out: %s", name, why)
			continue
		}
		if f.Servers[name], err = s.teamServer(server, places, true); err != nil {
			return berth.WithHint(fmt.Errorf("%s cannot be exported: %w", name, err), hintOf(err))
		}
		locked, err := s.lockedOf(server, before.Servers[name])
		if err != nil {
			return fmt.Errorf("%s cannot be exported: %w", name, err)
		}
		if len(locked.Packages) > 0 || len(locked.Declaration) > 0 {
			l.Servers[name] = locked
		}
	}
	text, err := f.Encode()
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	lock, err := l.Encode()
	if err != nil {
		return fmt.Errorf("write %s: %w", lockBeside(file), err)
	}
	for _, one := range []struct {
		path string
		doc  []byte
	}{{lockBeside(file), lock}, {file, text}} {
		if err := replaceFile(one.path, one.doc); err != nil {
			return err
		}
	}
	s.ui.print("%s: %s; %s", file, counted(len(f.Servers), "server"), lockBeside(file))
	return ctx.Err()
}

// ownOfHome says why a server is not for a team's file, "" if it may be in one.
func ownOfHome(server home.Server) string {
	switch {
	case server.Runtime.Command == home.OwnProgram():
		return "it is Berth itself"
	case server.Fetched() && server.Source.Type != string(catalog.NPM) && server.Source.Type != string(catalog.PyPI):
		return "it is of a kind (" + server.Source.Type + ") that such a file cannot have"
	}
	return ""
}

// replaceFile writes a file whole or not at all, with the mode that it has.
func replaceFile(path string, doc []byte) error {
	mode := fs.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, doc) {
			return nil
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// placesOf are the directories that a team's file has words for; those of a server's own
// are added for each.
func placesOf(file string) (p team.Places, err error) {
	if p.Here, err = filepath.Abs(filepath.Dir(file)); err != nil {
		return p, err
	}
	p.Home, err = os.UserHomeDir()
	return p, err
}

// teamServer is a server as a team's file has it. effective: its permissions are what it
// may do, not only what it declares.
func (s *site) teamServer(server home.Server, p team.Places, effective bool) (t team.Server, err error) {
	if p.Data, err = s.home.DataDir(server.Name); err != nil {
		return t, err
	}
	ref := func(key string) string { return secret.Ref{Server: server.Name, Key: key}.String() }
	t = team.Server{
		Description: server.Info.Description, Entry: server.Source.Entry, From: server.Source.From,
		Grace: server.Settings.Grace, Env: map[string]string{}, Settings: map[string]string{},
	}
	for key, value := range server.Env {
		if t.Env[key] = value; plainSecret(key, value) {
			t.Env[key] = ref(key)
		}
	}
	for key, value := range server.Config {
		if t.Settings[key] = value; plainSecret(key, value) {
			t.Settings[key] = ref(key)
		}
	}
	if server.Remote() {
		if adopt.SecretURL(server.Settings.URL) {
			return t, errors.New("its URL has a secret in it")
		}
		t.URL, t.Headers = server.Settings.URL, map[string]string{}
		headers, err := server.Headers()
		if err != nil {
			return t, err
		}
		for i, h := range headers {
			one := []home.Header{h}
			putAway(server.Name, one, nil)
			t.Headers[h.Name] = one[0].Value
			if _, err := secret.ParseRef(ref("header-" + strings.ToLower(h.Name))); err != nil && one[0].Value != h.Value {
				t.Headers[h.Name] = ref(fmt.Sprintf("header-%d", i+1))
			}
		}
		return t.Out(p), nil
	}
	t.Command = append([]string{server.Runtime.Command}, server.Runtime.Args...)
	if server.Fetched() {
		t.Command = server.Source.Typed
		t.Package, t.Version = server.Source.Type+":"+server.Source.Package, server.Source.Version
	}
	for i, word := range secret.NewMasker(server.Env).Args(t.Command) {
		if word != t.Command[i] {
			return t, berth.WithHint(fmt.Errorf("its argument %d is or has a secret", i), "have the server take it from a variable: berth add --replace --secret VARIABLE")
		}
	}
	if server.Runtime.Transport != "stdio" {
		t.Transport = server.Runtime.Transport
	}
	if _, said := t.Settings[home.KeySandbox]; !said {
		t.Settings[home.KeySandbox] = string(berth.ProfileOff) // what is not said is off, in a home
	}
	t.Cwd = server.Settings.Cwd
	if t.Allow = declaredLines(server); effective {
		if t.Allow, err = s.mayDo(server); err != nil {
			return t, err
		}
	}
	slices.Sort(t.Allow)
	return t.Out(p), nil
}

// mayDo is what a server declares and was granted, without what was revoked.
func (s *site) mayDo(server home.Server) (list []string, err error) {
	user, _, err := s.home.ReadPermissions(server.Name)
	if err != nil {
		return nil, err
	}
	rights, _, err := server.Rights(user)
	for _, p := range rights.Effective {
		if p.Origin == berth.OriginDeclared || p.Origin == berth.OriginGranted {
			list = append(list, p.String())
		}
	}
	return list, err
}

// lockedOf is what is fixed of a server; what was, for other systems, stays.
func (s *site) lockedOf(server home.Server, before team.Locked) (l team.Locked, err error) {
	if d := server.Source.Declaration; d != "" && json.Valid([]byte(d)) {
		l.Declaration = json.RawMessage(d)
	}
	if !server.Fetched() {
		return l, nil
	}
	own, err := catalog.New(s.home).Read(server)
	if err != nil {
		return l, err
	}
	all := map[string]json.RawMessage{}
	for _, raw := range before.Packages {
		other, err := catalog.ParseShared(raw)
		if err == nil && other.Kind == own.Kind && other.Package == own.Package && other.Version == own.Version && other.On(own.For).For != own.For {
			all[other.For] = raw
		}
		// Of npm, one lock is for all systems: it stays as it is, for whoever made it.
		if err == nil && other.On(own.For).Digest() == own.Digest() {
			own = other
		}
	}
	if all[own.For], err = own.Share(); err != nil {
		return l, err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		l.Packages = append(l.Packages, all[key])
	}
	return l, nil
}
