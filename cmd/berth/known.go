package main

import (
	"slices"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
)

// declareKnown has the server declare what Berth knows that its package needs, and
// returns what the user is told of that. What the flags say of a kind of permission,
// or of a variable, is all that is said of it.
func (s *site) declareKnown(server *home.Server, r catalog.Request, o addOptions) (string, error) {
	e, found, err := listing.OfPackage(listing.Kind(r.Kind), r.Package)
	if err != nil || !found {
		return "", err
	}
	data, err := s.home.DataDir(server.Name)
	if err != nil {
		return "", err
	}
	needs, env, err := e.Needs(data)
	if err != nil {
		return "", err
	}
	given, err := e.ArgPermissions(r.Args, server.Settings.Cwd)
	if err != nil {
		return "", err
	}
	said, err := declare(server, append(needs, given...), o.allow)
	if err != nil {
		return "", err
	}
	for key, value := range env {
		if _, given := server.Env[key]; !given {
			server.Env[key] = value
			said = true
		}
	}
	if !said {
		return "", nil
	}
	return "Berth knows " + e.Package + ", and what it needs; --allow and --env say otherwise", nil
}

// declare has the server declare permissions, but for the kinds of which --allow says
// all that is to be said, and says whether there were any.
func declare(server *home.Server, needs []berth.Permission, allow []string) (said bool, err error) {
	typed, err := typedPermissions("--allow", allow)
	if err != nil {
		return false, err
	}
	for _, p := range needs {
		kinds := func(t berth.Permission) bool { return t.Kind == p.Kind }
		if !slices.ContainsFunc(typed, kinds) {
			server.Declare(p)
			said = true
		}
	}
	return said, nil
}
