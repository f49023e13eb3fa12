package home

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// Spec returns how to run the server, and warnings for the user. A value that
// cannot be used is berth.ErrBadConfig and names the file and the key.
//
// environ is the caller's environment. The server's PATH is the one that was
// found when it was added, followed by what the caller's has besides: a login
// service has a poor one, and a version manager may have moved a program since.
// So it is with the command: where it was found, if it still is there. user is what
// the user says of its permissions.
func (s *Server) Spec(environ []string, user Permissions) (berth.ProcessSpec, []string, error) {
	warnings := unknownKeys(s.file, s.doc, &Server{})
	// About the file, or about a key of its [config].
	warn := func(key, format string, args ...any) {
		warnings = append(warnings, s.where("config", key)+": "+fmt.Sprintf(format, args...))
	}
	rights, odd, err := s.Rights(user)
	if err != nil {
		return berth.ProcessSpec{}, nil, err
	}
	warnings = append(warnings, odd...)
	spec, err := s.run(environ, rights, warn)
	if err != nil {
		return berth.ProcessSpec{}, nil, err
	}
	if err := s.limits(&spec, warn); err != nil {
		return berth.ProcessSpec{}, nil, err
	}
	spec.TreeKill = berth.TreeMechanism(s.Settings.TreeKill)
	if s.Container() {
		err = s.contain(&spec, rights, environ, warn)
	} else {
		spec.Confine = s.confine(rights, environ, warn)
	}
	if err != nil {
		return berth.ProcessSpec{}, nil, err
	}
	if err := spec.Check(); err != nil {
		return berth.ProcessSpec{}, nil, fmt.Errorf("%w: %s: %w", berth.ErrBadConfig, s.where("", ""), err)
	}
	return spec, warnings, nil
}

// run is what is run, and with which environment.
func (s *Server) run(environ []string, rights Rights, warn func(key, format string, args ...any)) (spec berth.ProcessSpec, err error) {
	if spec.Env, err = s.environment(environ, rights); err != nil {
		return spec, err
	}
	if !s.Remote() { // whose process is Berth's own
		spec.Unset = rights.unset()
	}
	spec.Dir = s.Settings.Cwd
	if s.Remote() {
		return spec, s.runRemote(&spec)
	}
	if strings.TrimSpace(s.Runtime.Command) == "" {
		return spec, s.bad("runtime", "command", "the command is missing")
	}
	if err := s.copyGone(); err != nil {
		return spec, err
	}
	spec.Command, spec.Args = s.command(warn), slices.Clone(s.Runtime.Args)
	spec.Transport, err = s.transport()
	return spec, err
}

// command returns the command where it was found when the server was added.
func (s *Server) command(warn func(key, format string, args ...any)) string {
	path := s.Settings.CommandPath
	if path == "" || path == s.Runtime.Command {
		return s.Runtime.Command
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return path
	}
	warn("", "%s is gone; %s is looked up in the PATH", path, s.Runtime.Command)
	return s.Runtime.Command
}

func (s *Server) transport() (string, error) {
	switch word := s.Runtime.Transport; word {
	case "", "stdio":
		return "stdio", nil
	case "http", "streamable-http", "sse":
		return "http", nil
	default:
		return "", s.bad("runtime", "transport", fmt.Sprintf("%q is neither stdio nor http", word))
	}
}

// environment is the server's own: the values that its file gives, and those that
// the caller's variables have which it may be given. What was revoked it does not
// get, from nowhere.
func (s *Server) environment(environ []string, rights Rights) (map[string]string, error) {
	revoked := map[string]bool{}
	for _, p := range rights.Revoked {
		if p.Kind == berth.PermissionEnv && p.Target != "*" {
			revoked[p.Target] = true
		}
	}
	env := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(s.Env)) {
		if revoked[variableName(key)] {
			continue
		}
		if standsForVariable(s.Env[key]) {
			return nil, berth.WithHint(s.bad("env", key, "the value stands for a variable, which is not looked up"),
				"put the value itself into the file, which only you can read, or a reference to a secret (secret://NAME/KEY)")
		}
		env[key] = s.Env[key]
	}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		if rights.passes(variableName(key)) && !revoked[variableName(key)] && !hasKey(s.Env, key) {
			env[key] = value // of two, the last wins
		}
	}
	if s.Settings.Path != "" && !hasKey(env, "PATH") && !revoked["PATH"] {
		env["PATH"] = joinPaths(s.Settings.Path, lookup(environ, "PATH"))
	}
	return env, nil
}

// limits applies Berth's own keys of [config] and the bounds in [berth].
func (s *Server) limits(spec *berth.ProcessSpec, warn func(key, format string, args ...any)) error {
	c := reserved{maxRestarts: 3}
	var others []string
	for _, key := range slices.Sorted(maps.Keys(s.Config)) {
		known, err := c.set(key, s.Config[key])
		switch {
		case err != nil:
			return s.bad("config", key, err.Error())
		case !known && strings.HasPrefix(key, "berth."):
			warn(key, "[config] %s is not a key of Berth's", joinKey([]string{key}))
		case !known && !s.declares(key):
			others = append(others, key)
		}
	}
	if len(others) > 0 {
		warn("", "[config] %s: not passed to the server; what it needs in its environment belongs in [env]", strings.Join(others, ", "))
	}
	spec.MaxMemoryBytes, spec.MaxFileDescriptors = c.maxMemory, c.maxDescriptors
	spec.MaxProcesses, spec.MaxCPUPercent = c.maxProcesses, c.maxCPU
	switch {
	case c.port != 0 && spec.Transport == "http":
		spec.Ports = []uint16{c.port}
	case c.port != 0:
		warn(keyPort, "%s has no effect: the transport is not http", keyPort)
	case spec.Transport == "http" && c.confining.profile != "" && c.confining.profile != berth.ProfileOff:
		warn("", "nobody reaches what it listens on, since it is confined: berth config %s --set %s=PORT", s.Name, keyPort)
	}
	policy := berth.RestartPolicy{Enabled: c.autoRestart, MaxRestarts: c.maxRestarts}
	for _, d := range []struct {
		key, text string
		into      *berth.Duration
	}{
		{"grace", s.Settings.Grace, &spec.Grace},
		{"restart_window", s.Settings.Window, &policy.Window},
		{"restart_min_delay", s.Settings.MinDelay, &policy.MinDelay},
		{"restart_max_delay", s.Settings.MaxDelay, &policy.MaxDelay},
		{"restart_healthy", s.Settings.Healthy, &policy.Healthy},
	} {
		if d.text == "" {
			continue
		}
		if err := d.into.UnmarshalText([]byte(d.text)); err != nil {
			return s.bad("berth", d.key, err.Error())
		}
		if *d.into < 0 {
			return s.bad("berth", d.key, fmt.Sprintf("%s is less than nothing", d.text))
		}
	}
	if policy.Enabled {
		spec.AutoRestart = &policy
	}
	return nil
}

// bad is an error about a key of the file.
func (s *Server) bad(table, key, text string) error {
	return fmt.Errorf("%w: %s: [%s] %s: %s", berth.ErrBadConfig, s.where(table, key), table, joinKey([]string{key}), text)
}

// where names the file and, if a key is given that the file has, its line.
func (s *Server) where(table, key string) string {
	switch {
	case s.file == "":
		return "server " + s.Name // it was not read from a file
	case key == "":
		return s.file
	}
	return atLine(s.file, lineOf(s.doc, table, key))
}

// standsForVariable reports whether a value has ${NAME} in it.
func standsForVariable(value string) bool {
	for rest := value; ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return false
		}
		name, _, closed := strings.Cut(after, "}")
		if closed && name != "" && !strings.ContainsFunc(name, notInName) {
			return true
		}
		rest = after
	}
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-.:/", r))
}

// joinPaths appends to a PATH the directories of another that it does not have.
func joinPaths(first, second string) string {
	paths := filepath.SplitList(first)
	for _, dir := range filepath.SplitList(second) {
		if dir != "" && !slices.Contains(paths, dir) {
			paths = append(paths, dir)
		}
	}
	return strings.Join(paths, string(os.PathListSeparator))
}

// lookup returns a variable of an environment, whose last entry wins.
func lookup(environ []string, key string) (value string) {
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && sameVariable(k, key) {
			value = v
		}
	}
	return value
}

func hasKey(env map[string]string, key string) bool {
	for k := range env {
		if sameVariable(k, key) {
			return true
		}
	}
	return false
}

// passes says whether a variable of the caller's is one that the server may have. By
// env:* each is, but for those that are Berth's own.
func (r *Rights) passes(key string) bool {
	return slices.ContainsFunc(r.Effective, func(p berth.EffectivePermission) bool {
		return p.Kind == berth.PermissionEnv && p.Origin != berth.OriginGiven &&
			(p.Target == key || p.Target == "*" && key != "" && !strings.HasPrefix(key, "BERTH_") && len(berth.AllowedEnv([]string{key + "="})) == 0)
	})
}

// unset are the variables that every server gets and that this one's user revoked.
func (r *Rights) unset() (names []string) {
	for _, p := range r.Revoked {
		if p.Kind == berth.PermissionEnv && len(berth.AllowedEnv([]string{p.Target + "="})) > 0 {
			names = append(names, p.Target)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// variableName is the name of a variable as permissions have it.
func variableName(key string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(key)
	}
	return key
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// sameVariable compares names of variables: Windows has no case in them.
func sameVariable(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}

// declares says whether a key of [config] is a setting that the server was installed
// with: its arguments and variables were made of it.
func (s *Server) declares(key string) bool {
	return s.Source.Entry != "" && (slices.Contains(s.ConfigMeta.RequiredKeys, key) || slices.Contains(s.ConfigMeta.OptionalKeys, key))
}
