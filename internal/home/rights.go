package home

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// NewProfile is the profile of servers that berth add adds and of which nothing else
// is said. Those that were added before there was one have berth.ProfileOff.
const NewProfile = berth.ProfileStandard

// The keys of [config] that say how tightly a server is confined.
const (
	KeySandbox = "berth.sandbox"
	KeyNetwork = "berth.sandbox-network"
	KeyRequire = "berth.require"
)

// confining are the values of these keys.
type confining struct {
	// profile is "" if nothing is said of it.
	profile berth.Profile
	// network is "inherit", "deny-all" or "": what the permissions say.
	network string
	require berth.Requirement
}

// The words of the reference for a profile and for the network.
const (
	sandboxBasic   = "basic"
	networkInherit = "inherit"
	networkDenied  = "deny-all"
)

func (c *confining) setProfile(value string) error {
	switch p := berth.Profile(value); p {
	case berth.ProfileOff, berth.ProfileStandard, berth.ProfileStrict:
		c.profile = p
	case sandboxBasic:
		c.profile = berth.ProfileStandard
		// What the reference confines has the network, unless it says otherwise.
		c.network = cmp.Or(c.network, networkInherit)
	default:
		return fmt.Errorf("%q is none of off, standard, strict and basic, which is standard", value)
	}
	return nil
}

func (c *confining) setNetwork(value string) error {
	if _, err := oneOf(value, networkDenied, networkInherit); err != nil {
		return err
	}
	c.network = value
	return nil
}

func (c *confining) setRequire(value string) error {
	if _, err := oneOf(value, string(berth.RequireEnforce), string(berth.RequirePrefer)); err != nil {
		return err
	}
	c.require = berth.Requirement(value)
	return nil
}

// Rights are what a server may do, and how it is kept to that.
type Rights struct {
	Profile berth.Profile
	Require berth.Requirement
	// Chosen: the server's file says which profile it has. One that does not was
	// added before there were profiles.
	Chosen bool
	// Effective is what it may do, also where nothing keeps it to that.
	Effective []berth.EffectivePermission
	// Revoked is what its user took away.
	Revoked []berth.Permission
}

// Confined says whether there is anything that it is kept from.
func (r *Rights) Confined() bool { return r.Profile != berth.ProfileOff }

// Confinement is what policies are asked about.
func (r *Rights) Confinement() *berth.Confinement {
	c := &berth.Confinement{Profile: r.Profile, Require: r.Require}
	for _, p := range r.Effective {
		c.Allow = append(c.Allow, p.String())
	}
	return c
}

// Rights returns what the server may do: what its file declares and user grants,
// without what user revokes; and warnings for the user. A declared entry that is no
// permission gives none, and is a warning.
func (s *Server) Rights(user Permissions) (r Rights, warnings []string, err error) {
	var c reserved
	for _, key := range []string{KeySandbox, KeyNetwork, KeyRequire} {
		if value, set := s.Config[key]; set {
			if _, err := c.set(key, value); err != nil {
				return Rights{}, nil, s.bad("config", key, err.Error())
			}
		}
	}
	r.Chosen = c.confining.profile != ""
	r.Profile = cmp.Or(c.confining.profile, berth.ProfileOff)
	r.Require = cmp.Or(c.confining.require, berth.RequireEnforce)
	declared, warnings := s.declared()
	if r.Confined() {
		declared = c.confining.ofNetwork(declared)
	} else if c.confining.network == networkDenied {
		warnings = append(warnings, fmt.Sprintf("%s: %s has no effect without %s", s.where("config", KeyNetwork), KeyNetwork, KeySandbox))
	}
	grant, err := parseAll(user.Grant)
	if err == nil {
		r.Revoked, err = parseAll(user.Revoke)
	}
	if err != nil {
		return Rights{}, nil, err
	}
	r.Effective = berth.EffectivePermissions(declared, grant, r.Revoked)
	if r.Confined() && c.confining.network == networkDenied {
		r.Effective = slices.DeleteFunc(r.Effective, ofNetwork)
	}
	for _, p := range r.Revoked {
		if by, found := berth.Unrevoked(r.Effective, p); found {
			warnings = append(warnings, fmt.Sprintf("permissions of %s: %v is revoked, but %v, which is more, is not", s.Name, p, by))
		}
	}
	return r, warnings, nil
}

// ofNetwork puts what berth.sandbox-network says into what is declared.
func (c *confining) ofNetwork(declared []berth.EffectivePermission) []berth.EffectivePermission {
	if c.network != networkInherit {
		return declared
	}
	return append(declared, berth.EffectivePermission{
		Permission: berth.Permission{Kind: berth.PermissionNetwork, Target: "*"}, Origin: berth.OriginSetting,
	})
}

func ofNetwork(p berth.EffectivePermission) bool { return p.Kind == berth.PermissionNetwork }

func parseAll(entries []string) (list []berth.Permission, err error) {
	for _, entry := range entries {
		p, err := berth.ParsePermission(entry)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// declared are the permissions of the table [permissions], and the variables that
// have a value in the file: who gives one declares it.
func (s *Server) declared() (list []berth.EffectivePermission, warnings []string) {
	for _, table := range []struct {
		kind, key string
		entries   []string
	}{
		{berth.PermissionNetwork, "network", s.Permissions.Network},
		{berth.PermissionFiles, "filesystem", s.Permissions.Filesystem},
		{berth.PermissionExec, "exec", s.Permissions.Exec},
		{berth.PermissionEnv, "env", s.Permissions.Env},
	} {
		for _, entry := range table.entries {
			p, err := berth.ParsePermission(table.kind + ":" + strings.TrimPrefix(entry, table.kind+":"))
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("%s: [permissions] %s: %v; it gives nothing", s.where("permissions", table.key), table.key, withoutKind(err)))
				continue
			}
			list = append(list, berth.EffectivePermission{Permission: p, Origin: berth.OriginDeclared})
		}
	}
	for _, key := range sortedNames(s.Env) {
		if p, err := berth.ParsePermission(berth.PermissionEnv + ":" + key); err == nil {
			list = append(list, berth.EffectivePermission{Permission: p, Origin: berth.OriginGiven})
		}
	}
	return list, warnings
}

// Declare adds a permission to what the server's file declares.
func (s *Server) Declare(p berth.Permission) {
	list := map[string]*[]string{
		berth.PermissionNetwork: &s.Permissions.Network, berth.PermissionFiles: &s.Permissions.Filesystem,
		berth.PermissionExec: &s.Permissions.Exec, berth.PermissionEnv: &s.Permissions.Env,
	}[p.Kind]
	if entry := strings.TrimPrefix(p.String(), p.Kind+":"); !slices.Contains(*list, entry) {
		*list = append(*list, entry)
	}
}

// confine is what the spec says of the rights; nil if there is nothing to say. A
// remote server's process is Berth's own.
func (s *Server) confine(r Rights, environ []string, warn func(key, format string, args ...any)) *berth.Confinement {
	given := func(p berth.EffectivePermission) bool { return p.Origin == berth.OriginGiven }
	nothing := !slices.ContainsFunc(r.Effective, func(p berth.EffectivePermission) bool { return !given(p) })
	if s.Remote() || !r.Confined() && nothing {
		return nil
	}
	c := r.Confinement()
	c.Allow = nil
	userHome := cmp.Or(lookup(environ, "HOME"), lookup(environ, "USERPROFILE"))
	for _, p := range r.Effective {
		full := p.ExpandHome(userHome)
		if full.Access != "" && !filepath.IsAbs(full.Target) {
			warn("", "%v names no full path; it gives nothing", p.Permission)
			continue
		}
		c.Allow = append(c.Allow, full.String())
	}
	if r.Confined() {
		c.Program = s.program(userHome)
		if dir := s.CopyDir(); dir != "" {
			c.Program = append(without(c.Program, dir), dir)
		}
		if home := s.homeDir(); home != "" {
			c.Data = filepath.Join(home, dataDir, s.Name)
		}
	}
	return c
}

// homeDir is the home that the server's file is in; "" if it was not read from one.
func (s *Server) homeDir() string {
	if s.file == "" {
		return ""
	}
	return filepath.Dir(filepath.Dir(s.file))
}

// DataDir returns the directory that a confined server has to itself.
func (h *Home) DataDir(name string) (string, error) {
	if err := berth.CheckInstance(name); err != nil {
		return "", err
	}
	return h.path(dataDir, berth.ServerOf(name)), nil
}

// MakeData has the server's directory be there, for its user alone.
func (h *Home) MakeData(name string) error {
	dir, err := h.DataDir(name)
	if err == nil {
		err = h.canWrite()
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make the data directory of %q: %w", name, h.writeError(err))
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the data directory of %q: %w", name, h.writeError(err))
	}
	// A link would have the server write elsewhere.
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return berth.WithHint(fmt.Errorf("the data directory of %q is no directory: %s", name, dir), "remove it")
	}
	return nil
}

// RemoveData removes the server's directory and all that is in it.
func (h *Home) RemoveData(name string) error {
	dir, err := h.DataDir(name)
	if err == nil {
		err = h.canWrite()
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("remove the data of %q: %w", name, err)
	}
	return nil
}

// HasData reports whether the server has put anything into its directory.
func (h *Home) HasData(name string) (bool, error) {
	dir, err := h.DataDir(name)
	if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// DeclarationLine is a line of the table [permissions].
func DeclarationLine(kind string, entries []string) string {
	return strings.TrimSuffix(string(appendLine(nil, kind, append([]string{}, entries...))), "\n")
}
