package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/registry"
)

// registryClient asks the registry that berth.toml names, else the official one.
func (s *site) registryClient() (*registry.Client, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return nil, err
	}
	base := cmp.Or(config.Registry.URL, registry.Default)
	client, err := guard.New(base, &guard.Options{Header: 30 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: [registry] url: %w", s.home.ConfigPath(), err)
	}
	return &registry.Client{Base: base, HTTP: client, UserAgent: "berth/" + berth.Version}, nil
}

// registryCopy opens the copy of the registry; nil if there is none. The caller closes it.
func (s *site) registryCopy() (*registry.Copy, error) {
	c, err := registry.Open(s.home.RegistryPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, berth.WithHint(err, "berth search --sync copies it anew")
	}
	return c, nil
}

// syncRegistry brings the copy of the registry up to date.
func (s *site) syncRegistry(ctx context.Context) error {
	client, err := s.registryClient()
	if err != nil {
		return err
	}
	lock, err := home.WaitLock(ctx, s.home.RunLock("registry"))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	before, err := s.registryCopy()
	if err != nil {
		s.ui.warn("%v", err)
	}
	if before != nil {
		defer before.Close()
	}
	defer s.ui.clearProgress()
	spool, end, err := s.home.SpoolRegistry()
	if err != nil {
		return err
	}
	defer end()
	now, err := client.Pull(ctx, before, spool, func(n int) { s.ui.show("registry: %d servers", n) })
	if err != nil {
		return err
	}
	if err := s.home.WriteRegistry(now.Save); err != nil {
		return err
	}
	s.ui.clearProgress()
	s.ui.say("registry: %d servers of %s", now.Count, now.URL)
	if now.Bad > 0 {
		s.ui.note("%d entries of the registry could not be read, and are left out", now.Bad)
	}
	return nil
}

// age says how old a copy is, and that it is old if it is older than it may be.
func (s *site) tellAge(c *registry.Copy) {
	config, _, err := s.home.ReadConfig()
	if err != nil {
		return // said elsewhere
	}
	age := time.Since(c.At)
	text := ageText(age)
	if age > cmp.Or(config.Registry.CacheTTL, 7*24*time.Hour) {
		s.ui.note("the copy of the registry is %s old: berth search --sync brings it up to date", text)
		return
	}
	s.ui.say("registry: %d servers of %s, as of %s ago", c.Count, c.URL, text)
}

func ageText(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.d); n == 1 {
			return "a " + unit.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "less than a minute"
}

// ofRegistry returns the ways in which a server of the registry can be had: by its whole
// name, from the copy, else from the registry itself.
func (s *site) ofRegistry(ctx context.Context, name string) (entries []listing.Entry, near []string, err error) {
	c, err := s.registryCopy()
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		defer c.Close()
		entries, near, err = c.Lookup(name)
		if len(entries) > 0 || err != nil {
			s.tellAge(c)
			return entries, nil, err
		}
	}
	if !listing.RegistryName(name) {
		return nil, near, nil
	}
	client, err := s.registryClient()
	if err != nil {
		return nil, near, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	doc, status, err := client.Get(ctx, name)
	if err != nil {
		return nil, near, err
	}
	entries, err = registry.EntriesOf(doc, status)
	return entries, near, err
}
