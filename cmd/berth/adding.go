package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
)

// addition is a server that is about to be added, by berth add or berth install, and
// what goes with it.
type addition struct {
	server home.Server
	// want is what is to be fetched, if anything, and scripts whose scripts may run.
	want    *catalog.Request
	scripts []string
	// replace: there may be a server of that name.
	replace bool
	// hidden are secrets of headers, kept those of variables. With first, they are
	// kept before the server is there: a server that cannot start is none.
	hidden, kept []stored
	first        bool
	// note and about are told the user.
	note, about string
	// own: it is Berth itself, of whose rights there is nothing to say.
	own bool
}

// put adds a server: it fetches its package, writes its file, keeps its secrets, and
// says what was done.
func (s *site) put(ctx context.Context, x *addition) error {
	server, name := &x.server, x.server.Name
	old, oldErr := s.home.ReadServer(name)
	exists := !errors.Is(oldErr, berth.ErrNoServer)
	taken := berth.WithHint(fmt.Errorf("%w: %s", berth.ErrExists, name),
		"--replace replaces it; `berth config "+name+"` shows it")
	if exists && !x.replace {
		return taken // before all is fetched
	}
	// A new definition of an enabled server is an enabled server, and of a disabled one
	// a disabled one.
	if exists {
		server.Settings.Autostart, server.Settings.Disabled = old.Settings.Autostart, old.Settings.Disabled
	}
	write := func() error {
		if x.first {
			if err := s.keepAll(ctx, name, x); err != nil {
				return err
			}
		}
		err := s.home.WriteServerIf(*server, x.replace, func() error { return s.freePrefix(*server) })
		if err != nil && x.first && !exists && !errors.Is(err, berth.ErrExists) {
			err = errors.Join(err, s.dropAll(ctx, x))
		}
		return err
	}
	var err error
	if x.want != nil {
		err = s.fetch(ctx, server, *x.want, x.scripts, write)
	} else {
		err = write()
	}
	if errors.Is(err, berth.ErrExists) {
		return taken
	}
	if err != nil {
		return err
	}
	// What is added by hand is approved by that, as it is listed the first time.
	if err := s.home.RemoveApprovals(name); err != nil {
		return err
	}
	if !x.first {
		if err := s.keepAll(ctx, name, x); err != nil {
			return fmt.Errorf("%s: added, but its secrets could not be stored: %w", name, err)
		}
	}
	if len(x.hidden) == 0 && old.Remote() {
		if err := s.store(ctx, name, nil); err != nil {
			return fmt.Errorf("%s: added, but the headers that were there before are still stored: %w", name, err)
		}
	}
	// From here on nothing may show a secret: arguments can hold one.
	args := secret.NewMasker(server.Env).Args(server.Runtime.Args)
	what := shellLine(append([]string{server.Settings.CommandPath}, args...))
	if server.Remote() {
		what = server.ShownURL()
	}
	r := berth.Record{Server: name, Action: berth.ActionAdd, Command: server.Runtime.Command, Args: args}
	done := "added"
	if exists {
		done, r.Detail = "replaced", "replaced what was there"
	}
	if server.Remote() {
		r.Detail = strings.TrimSpace(r.Detail + " at " + what)
	}
	if server.Fetched() {
		r.Detail = strings.TrimSpace(r.Detail + " from " + packageLine(*server))
	}
	if err := s.record(ctx, r); err != nil {
		return err
	}
	s.ui.print("%s: %s: %s", name, done, printable(what))
	if userHome, err := os.UserHomeDir(); err == nil && !server.Remote() {
		for _, risk := range risksOf(append([]string{server.Runtime.Command}, server.Runtime.Args...), userHome) {
			s.ui.warn("look at that command line twice: %s", printable(risk))
		}
	}
	if x.note != "" {
		s.ui.note("%s", x.note)
	}
	var plain []string
	for _, key := range slices.Sorted(maps.Keys(server.Env)) {
		if plainSecret(key, server.Env[key]) {
			plain = append(plain, key)
		}
	}
	if len(plain) > 0 {
		s.ui.note("the value of %s is in the server's file as it is; into the secret store: berth secret import %s", strings.Join(plain, ", "), name)
	}
	if x.about != "" {
		s.ui.say("%s", x.about)
	}
	if !x.own {
		if err := s.describeRights(*server); err != nil {
			return err
		}
	}
	if old.Fetched() {
		s.prunePackages(ctx)
	}
	return nil
}

// keepAll puts the secrets of an addition into the store.
func (s *site) keepAll(ctx context.Context, name string, x *addition) error {
	if len(x.hidden) > 0 {
		if err := s.store(ctx, name, x.hidden); err != nil {
			return err
		}
	}
	if len(x.kept) == 0 {
		return nil
	}
	return s.setSecrets(ctx, name, x.kept, false)
}

// dropAll takes the secrets of an addition out of the store again.
func (s *site) dropAll(ctx context.Context, x *addition) error {
	var keys []string
	for _, one := range append(slices.Clone(x.hidden), x.kept...) {
		keys = append(keys, storeKey(one.ref))
	}
	if len(keys) == 0 {
		return nil
	}
	v, err := s.vault()
	if err != nil {
		return err
	}
	return v.Delete(ctx, keys...)
}
