package shim

import (
	"errors"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/policy"
)

// ReadPolicies returns the policies that bear on a home, the organisation's first,
// and what in them has no effect: whoever mistyped "deny" believes that something is
// denied. After an error nothing may start, and nothing may be called.
func ReadPolicies(h *home.Home) (all policy.Policies, warnings []string, err error) {
	files, err := h.ReadPolicies()
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files { // where there is none, the parser is not woken for it
		p, odd, err := policy.Parse(f.Path, f.Data)
		if err != nil {
			return nil, nil, err
		}
		for _, w := range odd {
			warnings = append(warnings, w.String())
		}
		all = append(all, p)
	}
	return all, warnings, nil
}

// checkPolicy returns why the policies do not let a server start as a spec says, nil
// if they do, and what in them has no effect.
func checkPolicy(h *home.Home, name string, spec *berth.ProcessSpec) (warning string, denied error) {
	all, warnings, err := ReadPolicies(h)
	if err != nil || len(all) == 0 {
		return "", err
	}
	s := policy.Subject{Name: berth.ServerOf(name), Confine: spec.Confine, Own: home.IsRemoteRole(spec) || spec.Container}
	if all.AskOrigin() {
		server, err := h.ReadServer(s.Name)
		if err != nil && !errors.Is(err, berth.ErrNoServer) {
			return "", err
		}
		s.Package, s.Trust = server.Source.Package, server.Info.TrustLevel
	}
	return strings.Join(warnings, "; "), all.Server(s)
}

// CheckPolicy returns why the policies do not let the server start as its file says
// now. One without a file may do nothing that they could forbid, and is confined in
// nothing.
func CheckPolicy(h *home.Home, name string) error {
	all, _, err := ReadPolicies(h)
	if err != nil || len(all) == 0 {
		return err
	}
	s := policy.Subject{Name: berth.ServerOf(name)}
	server, err := h.ReadServer(s.Name)
	switch {
	case err == nil:
		user, _, err := h.ReadPermissions(s.Name)
		if err != nil {
			return err
		}
		rights, _, err := server.Rights(user)
		if err != nil {
			return err
		}
		s.Package, s.Trust, s.Own = server.Source.Package, server.Info.TrustLevel, server.Remote() || server.Container()
		s.Confine = rights.Confinement()
	case !errors.Is(err, berth.ErrNoServer):
		return err
	}
	return all.Server(s)
}
