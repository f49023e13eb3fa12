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
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/secret"
)

// pair is a key of [config] and a value of it.
type pair struct{ key, value string }

// readPairs reads --set flags.
func readPairs(set []string) (pairs []pair, err error) {
	for _, entry := range set {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, usagef("--set %s: no value", printable(key)).hint("write --set %s=VALUE", printable(key))
		}
		if err := home.ValidateConfig(key, value); err != nil {
			return nil, usagef("--set: %s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs, nil
}

// changeConfig sets and unsets keys of a server, all or none, and says what was done.
func (s *site) changeConfig(ctx context.Context, name string, pairs []pair, unset []string) error {
	prefixed := slices.Contains(unset, "berth.prefix") || slices.ContainsFunc(pairs, func(p pair) bool { return p.key == "berth.prefix" })
	var done []string
	err := s.home.UpdateServer(name, func(server *home.Server) error {
		var err error
		if done, err = s.setConfig(server, pairs, unset); err != nil || !prefixed {
			return err
		}
		return s.freePrefix(*server)
	})
	if err != nil || len(done) == 0 {
		return err
	}
	if err := s.record(ctx, berth.Record{Server: name, Action: berth.ActionConfig, Detail: strings.Join(done, ", ")}); err != nil {
		return err
	}
	if st, err := s.Status(ctx, name); err == nil && st.Status == berth.Running {
		s.ui.note("it runs as before until: berth restart %s", name)
	}
	return nil
}

// setConfig changes keys in a server's file. Those that its declaration has are put where
// they belong, too: into arguments, variables, permissions.
func (s *site) setConfig(server *home.Server, pairs []pair, unset []string) (done []string, err error) {
	if server.Config == nil {
		server.Config = map[string]string{}
	}
	var e listing.Entry
	if server.Source.Entry != "" {
		if e, err = declaration(*server); err != nil {
			return nil, err
		}
	}
	values := settingsOf(e, server.Config)
	changed := map[string]bool{}
	for _, p := range pairs {
		set, declared := e.Setting(p.key)
		if !declared {
			server.Config[p.key] = p.value
			done = append(done, "set "+p.key+"="+shown(p.key, p.value))
			continue
		}
		if set.Secret {
			return nil, usagef("--set %s: it is a secret, and every user of this machine sees the arguments of a process", set.Key).
				hint("berth secret set %s/%s", server.Name, orNone(nonEmpty(set.Env), set.Key))
		}
		if !changed[set.Key] {
			delete(values, set.Key) // what it had is replaced, also if it may have several
		}
		changed[set.Key] = true
		for _, text := range strings.Split(p.value, "\n") {
			value, err := readSetting(set, text)
			if err != nil {
				return nil, err
			}
			values[set.Key] = append(values[set.Key], value)
		}
		done = append(done, "set "+set.Key+"="+shown(set.Key, p.value))
	}
	for _, key := range unset {
		set, declared := e.Setting(key)
		if declared {
			key = set.Key
		}
		_, there := server.Config[key]
		switch {
		case !there:
			s.ui.note("%s was not set", key)
		case declared:
			delete(values, key)
			changed[key] = true
			done = append(done, "unset "+key)
		default:
			delete(server.Config, key)
			done = append(done, "unset "+key)
		}
	}
	if len(changed) == 0 {
		return done, nil
	}
	return done, s.refill(server, e, values, changed)
}

func readSetting(set listing.Setting, text string) (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	value, err := set.Read(text, cwd)
	if err != nil {
		return "", &exitError{code: exitUsage, err: err}
	}
	return value, nil
}

// refill has a server be run with other values of the settings that it was installed with:
// what the old ones had made of arguments, variables, URL and permissions becomes what the
// new ones make. What was edited by hand since is not passed over.
func (s *site) refill(server *home.Server, e listing.Entry, values listing.Values, changed map[string]bool) error {
	data, err := s.home.DataDir(server.Name)
	if err != nil {
		return err
	}
	was, err := e.Fill(settingsOf(e, server.Config), allSecrets(e), data)
	if err != nil {
		return fmt.Errorf("its settings before: %w", err)
	}
	now, err := e.Fill(values, allSecrets(e), data)
	if err != nil {
		return missingSetting(err)
	}
	edited := func(what string) error {
		return berth.WithHint(fmt.Errorf("its %s is not what its settings had made, so that they cannot be put in anew", what),
			"edit servers/"+server.Name+".toml, or remove and install it")
	}
	for _, list := range []*[]string{&server.Runtime.Args, &server.Source.Typed} {
		if server.Remote() || list == &server.Source.Typed && !server.Fetched() {
			continue
		}
		at := len(*list) - len(was.Args)
		if at < 0 || !slices.Equal((*list)[at:], was.Args) {
			return edited("command line")
		}
		*list = append(slices.Clone((*list)[:at]), now.Args...)
	}
	for key := range now.Kept {
		template, there := e.Env[key]
		if !there {
			template = e.Headers[key]
		}
		for name := range changed {
			if strings.Contains(template, "{"+name+"}") {
				return berth.WithHint(fmt.Errorf("%s is a part of the secret %s", name, key), "berth update "+server.Name+" --set "+name+"=VALUE asks for the secret as well")
			}
		}
	}
	if server.Env == nil {
		server.Env = map[string]string{}
	}
	for key, value := range was.Env {
		if have, there := server.Env[key]; there && have != value && now.Env[key] != value {
			return edited("variable " + key)
		} else if have == value {
			delete(server.Env, key)
		}
	}
	for key, value := range now.Env {
		if _, there := server.Env[key]; !there {
			server.Env[key] = value
		}
	}
	if server.Remote() && was.URL != now.URL {
		if server.Settings.URL != was.URL {
			return edited("URL")
		}
		if _, err := guard.CheckURL(now.URL); err != nil {
			return fmt.Errorf("its URL: %w", err)
		}
		server.Settings.URL = now.URL
	}
	if err := refillHeaders(server, was, now); err != nil {
		return err
	}
	if err := redeclare(server, e, was, now); err != nil {
		return err
	}
	for key := range changed {
		if delete(server.Config, key); len(values[key]) > 0 {
			server.Config[key] = strings.Join(values[key], "\n")
		}
	}
	return nil
}

func refillHeaders(server *home.Server, was, now *listing.Plan) error {
	for _, key := range slices.Sorted(maps.Keys(now.Headers)) {
		if now.Secret[key] || was.Headers[key] == now.Headers[key] {
			continue
		}
		if err := home.CheckHeader(key, now.Headers[key]); err != nil {
			return err
		}
		line := key + "=" + now.Headers[key]
		if at := slices.Index(server.Settings.Headers, key+"="+was.Headers[key]); at >= 0 {
			server.Settings.Headers[at] = line
		} else {
			server.Settings.Headers = append(server.Settings.Headers, line)
		}
	}
	return nil
}

// redeclare has a server declare what its settings give it now, in the place of what they
// gave it.
func redeclare(server *home.Server, e listing.Entry, was, now *listing.Plan) error {
	before, err := e.ArgPermissions(was.Args, "")
	if err != nil {
		return err
	}
	after, err := e.ArgPermissions(now.Args, "")
	if err != nil {
		return err
	}
	after = append(after, now.Allow...)
	for _, p := range append(before, was.Allow...) {
		if slices.Contains(after, p) {
			continue
		}
		entry := strings.TrimPrefix(p.String(), p.Kind+":")
		for _, list := range []struct {
			kind    string
			entries *[]string
		}{{berth.PermissionNetwork, &server.Permissions.Network}, {berth.PermissionFiles, &server.Permissions.Filesystem}, {berth.PermissionExec, &server.Permissions.Exec}, {berth.PermissionEnv, &server.Permissions.Env}} {
			if list.kind == p.Kind {
				*list.entries = slices.DeleteFunc(slices.Clone(*list.entries), func(have string) bool { return have == entry })
			}
		}
	}
	for _, p := range after {
		server.Declare(p)
	}
	return nil
}

// askConfig asks for each setting of a server; an empty answer leaves it as it is.
func (a *app) askConfig(server home.Server) (pairs []pair, secrets []stored, err error) {
	e, err := declaration(server)
	if err != nil {
		return nil, nil, err
	}
	if !isTerminal(a.stdin) || !a.ui.errTerm {
		return nil, nil, usagef("nobody is here to be asked").hint("--set K=V sets one, berth secret set %s/KEY a secret", server.Name)
	}
	if len(e.Settings) == 0 {
		return nil, nil, errors.New("it has no settings to ask for")
	}
	have := settingsOf(e, server.Config)
	for _, set := range e.Settings {
		asked := answers{values: listing.Values{}}
		set.Required, set.Default = false, strings.Join(have[set.Key], ", ")
		if set.Secret {
			set.Default = "" // that of before stays, and is not shown
			set.About = strings.TrimPrefix(set.About+"; nothing keeps what it is", "; ")
		}
		if err := a.askSetting(set, &asked); err != nil {
			return nil, nil, err
		}
		switch values := asked.values[set.Key]; {
		case len(values) == 0:
		case !set.Secret:
			pairs = append(pairs, pair{set.Key, strings.Join(values, "\n")})
		case set.Env == "" || !secret.IsRef(server.Env[set.Env]):
			a.ui.note("%s is a part of something else: berth update %s --secret %[1]s puts it there", set.Key, server.Name)
		default:
			ref, err := ownRef(server.Name, server.Env[set.Env])
			if err != nil {
				return nil, nil, err
			}
			secrets = append(secrets, stored{ref, values[0]})
		}
	}
	return pairs, secrets, nil
}
