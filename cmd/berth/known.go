package main

import (
	"slices"

	"github.com/berth-run/berth"

	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
)

// declareKnown has the server declare what Berth knows that its package needs, and
// returns what the user is told of that. What the flags say of a kind of permission,
// or of a variable, is all that is said of it.
func (s *site) declareKnown(server *home.Server, r catalog.Request, o addOptions) (string, error) {
	k, found, err := catalog.KnownAs(r)
	if err != nil || !found {
		return "", err
	}
	typed, err := typedPermissions("--allow", o.allow)
	if err != nil {
		return "", err
	}
	cwd := server.Settings.Cwd
	needs, err := k.Permissions(r.Args, cwd)
	if err != nil {
		return "", err
	}
	said := false
	for _, p := range needs {
		kinds := func(t berth.Permission) bool { return t.Kind == p.Kind }
		if slices.ContainsFunc(typed, kinds) {
			continue
		}
		server.Declare(p)
		said = true
	}
	data, err := s.home.DataDir(server.Name)
	if err != nil {
		return "", err
	}
	for key, value := range k.Env(data) {
		if _, given := server.Env[key]; !given {
			server.Env[key] = value
			said = true
		}
	}
	if !said {
		return "", nil
	}
	return "Berth knows " + k.Name + ", and what it needs; --allow and --env say otherwise", nil
}
