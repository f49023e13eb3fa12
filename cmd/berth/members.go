package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/merge"
	"github.com/berth-run/berth/internal/policy"
)

// members are the servers that clients have at one address, that of all or that of a
// profile. A file that is broken leaves its server out, and no other.
func (s *site) members(profile string) (gateway.Members, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return gateway.Members{}, err
	}
	names, err := s.installed()
	if err != nil {
		return gateway.Members{}, err
	}
	named := false // by the profile: that a server is not listed elsewhere is no matter then
	if profile != "" {
		p, warnings, err := s.home.ReadProfile(profile)
		s.warn(warnings...)
		if errors.Is(err, home.ErrNoProfile) {
			err = fmt.Errorf("%w: %w", berth.ErrNoServer, err)
		}
		if err != nil {
			return gateway.Members{}, err
		}
		if named = len(p.Servers) > 0; named {
			names = slices.DeleteFunc(slices.Clone(p.Servers), func(name string) bool { return !slices.Contains(names, name) })
		}
	}
	all := gateway.Members{NameMost: config.Gateway.NameMost}
	prefixes := map[string]string{}
	for _, name := range names {
		server, err := s.home.ReadServer(name)
		var sharing home.Sharing
		if err == nil {
			sharing, err = server.Sharing()
		}
		if err != nil {
			s.warn(err.Error())
			continue
		}
		if server.Settings.Disabled || sharing.Unlisted && !named || !server.Remote() && server.Runtime.Transport == "http" {
			continue
		}
		prefix := prefixAmong(name, sharing)
		if first, taken := prefixes[prefix]; taken {
			s.warn(fmt.Sprintf("server %q is left out where %q is: its prefix %q is taken; `berth config %s --set berth.prefix=…` gives it another", name, first, prefix, name))
			continue
		}
		prefixes[prefix] = name
		all.Members = append(all.Members, gateway.Member{Name: name, Prefix: prefix})
	}
	return all, nil
}

// prefixAmong is what the names of a server's tools begin with among those of others.
func prefixAmong(name string, sharing home.Sharing) string {
	return cmp.Or(sharing.Prefix, merge.Prefix(name))
}

// prefixOf is the server, besides one, whose prefix that is; "" if it is free. One
// whose file is broken has none.
func (s *site) prefixOf(prefix, besides string) (string, error) {
	names, err := s.installed()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		server, err := s.home.ReadServer(name)
		if err != nil || name == besides {
			continue
		}
		if sharing, err := server.Sharing(); err == nil && prefixAmong(name, sharing) == prefix {
			return name, nil
		}
	}
	return "", nil
}

// freePrefix is an error if another server has the prefix of one that is about to be
// written. It holds for as long as nobody else writes.
func (s *site) freePrefix(server home.Server) error {
	sharing, err := server.Sharing()
	if err != nil {
		return err
	}
	prefix := prefixAmong(server.Name, sharing)
	other, err := s.prefixOf(prefix, server.Name)
	if err != nil || other == "" {
		return err
	}
	return berth.WithHint(fmt.Errorf("%w: the prefix %q is that of server %q", berth.ErrBadConfig, prefix, other),
		"the names of tools begin with it, and tell servers apart: give another with --prefix, or berth config --set berth.prefix=…")
}

// givePrefix has a server that is being added be told from others: by the prefix that
// its user chose, or by that of its name, which must be no other's.
func (s *site) givePrefix(server *home.Server, chosen string) error {
	if chosen != "" {
		if err := home.ValidateConfig("berth.prefix", chosen); err != nil {
			return usagef("--prefix: %s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": berth.prefix: ")).hintFrom(err)
		}
		server.Config["berth.prefix"] = chosen
	}
	return s.freePrefix(*server) // before anything is fetched
}

// reachFor is what a caller may use at the address of a profile: what the policies, that
// profile, the caller's own, what is said of the client, and the profile that this names, all
// allow. One of them that cannot be read allows nothing.
func reachFor(files *home.Rules, book *rulebook, who gateway.Caller, profile string) (reach gateway.Reach, err error) {
	rules, err := book.tools()
	if err != nil {
		return reach, err
	}
	reach.Rules = slices.Clone(rules)
	profiles := []string{profile, who.Profile}
	if who.Client != "" {
		c, _, err := files.Client(who.Client) // `berth client` shows its warnings
		if err != nil && !errors.Is(err, home.ErrNoClient) {
			return reach, err
		}
		if err == nil {
			profiles = append(profiles, c.Profile)
			reach.Rules = append(reach.Rules, policy.Rule{
				Of:    fmt.Sprintf("client %q", who.Client),
				Tools: policy.Tools{Allow: c.AllowTools, Deny: c.DenyTools, ReadOnly: c.ReadOnly},
			})
		}
	}
	for i, name := range profiles {
		if name == "" || slices.Contains(profiles[:i], name) {
			continue
		}
		p, _, err := files.Profile(name)
		if err != nil {
			return gateway.Reach{}, fmt.Errorf("profile %q: %w", name, err)
		}
		reach.Search = reach.Search || p.Mode == home.ModeSearch
		reach.Rules = append(reach.Rules, policy.Rule{
			Of:    fmt.Sprintf("profile %q", name),
			Tools: policy.Tools{Servers: p.Servers, Allow: p.AllowTools, Deny: p.DenyTools, ReadOnly: p.ReadOnly},
		})
	}
	return reach, nil
}
