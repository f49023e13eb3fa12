package home

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth"
)

// ContainerSource is the type of source of a server that is an image, which a container
// engine runs.
const ContainerSource = "oci"

// Container says whether the server is run by a container engine.
func (s *Server) Container() bool { return s.Source.Type == ContainerSource && s.Fetched() }

// engineVariables are those that tell the client of an engine where that is. They are the
// client's, and no part of the environment of what it runs.
func engineVariables() []string {
	return []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION",
		"CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "REGISTRY_AUTH_FILE",
		"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"}
}

// EngineEnv is the part of an environment that the client of a container engine needs.
func EngineEnv(environ []string) []string {
	env := berth.AllowedEnv(environ)
	for _, key := range engineVariables() {
		if value := lookup(environ, key); value != "" {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// EngineOf is the client of the engine of a spec, after the variables that say where that is.
func EngineOf(spec *berth.ProcessSpec) (words []string) {
	for _, key := range engineVariables() {
		if value := spec.Env[key]; value != "" {
			words = append(words, key+"="+value)
		}
	}
	return append(words, spec.Command)
}

// contain makes of "run -i --rm IMAGE ARGS" what is run: with what the server may do, and
// nothing else. Its profile is the engine's: Berth confines no client of an engine that can do
// anything.
func (s *Server) contain(spec *berth.ProcessSpec, rights Rights, environ []string, warn func(key, format string, args ...any)) error {
	args := s.Runtime.Args
	if len(args) < 4 || !slices.Equal(args[:3], []string{"run", "-i", "--rm"}) || strings.HasPrefix(args[3], "-") || !strings.Contains(args[3], "@sha256:") {
		return s.bad("runtime", "args", "they are not those of an image that was installed: run -i --rm IMAGE@sha256:…")
	}
	// The grace is Berth's. Podman gives it again when a container is removed by force.
	flags := []string{"run", "-i", "--rm", "--init", "--stop-timeout", "1", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}
	network, allow := "none", []string{}
	mounts := map[string]string{}
	userHome := cmp.Or(lookup(environ, "HOME"), lookup(environ, "USERPROFILE"))
	for _, p := range rights.Effective {
		full := p.ExpandHome(userHome)
		allow = append(allow, full.String())
		switch {
		case p.Kind == berth.PermissionNetwork:
			network = "bridge"
		case p.Kind == berth.PermissionFiles && full.Target == "*":
			warn("", "%v gives a container nothing: name the directories", p.Permission)
		case p.Kind == berth.PermissionFiles:
			if strings.ContainsAny(full.Target, ",\"\n") {
				return s.bad("permissions", "filesystem", "a path with a comma or a quote cannot be given to a container")
			}
			mount := "type=bind,source=" + full.Target + ",target=" + full.Target
			if full.Access != "write" {
				mount += ",readonly"
			}
			if old, there := mounts[full.Target]; !there || strings.HasSuffix(old, ",readonly") {
				mounts[full.Target] = mount
			}
		case p.Kind == berth.PermissionExec:
			warn("", "%v gives a container nothing: it has the programs of its image", p.Permission)
		}
	}
	flags = append(flags, "--network", network)
	for _, path := range sortedNames(mounts) {
		flags = append(flags, "--mount", mounts[path])
	}
	for _, limit := range []struct {
		flag string
		n    uint64
	}{{"--memory", spec.MaxMemoryBytes}, {"--pids-limit", spec.MaxProcesses}} {
		if limit.n > 0 {
			flags = append(flags, limit.flag, strconv.FormatUint(limit.n, 10))
		}
	}
	if n := spec.MaxCPUPercent; n > 0 {
		flags = append(flags, "--cpus", fmt.Sprintf("%d.%02d", n/100, n%100))
	}
	if n := spec.MaxFileDescriptors; n > 0 {
		flags = append(flags, "--ulimit", fmt.Sprintf("nofile=%d", n))
	}
	// The limits are the container's: its client needs its own files and threads.
	spec.MaxMemoryBytes, spec.MaxProcesses, spec.MaxCPUPercent, spec.MaxFileDescriptors = 0, 0, 0, 0
	for _, key := range slices.Sorted(maps.Keys(spec.Env)) {
		if _, own := s.Env[key]; own || key != "PATH" {
			flags = append(flags, "-e", key) // the client takes the value from its own environment
		}
	}
	for _, key := range engineVariables() {
		if value := lookup(environ, key); value != "" && !hasKey(spec.Env, key) {
			spec.Env[key] = value
		}
	}
	spec.Args = append(flags, args[3:]...)
	spec.Container = true
	spec.Confine = nil
	if len(allow) > 0 {
		spec.Confine = &berth.Confinement{Profile: berth.ProfileOff, Allow: allow} // for policies
	}
	return nil
}

// ContainerGuarantees say what a container engine was asked to keep a server to.
func ContainerGuarantees(spec *berth.ProcessSpec) map[string]berth.Guarantee {
	const gap = "the container engine keeps it; Berth asked for it and did not try it"
	partial := func(how string) berth.Guarantee {
		return berth.Guarantee{State: berth.Partial, How: "container: " + how, Gap: gap}
	}
	g := map[string]berth.Guarantee{
		berth.GuaranteeFSRead:     partial("its image, and the mounts of what it may read"),
		berth.GuaranteeFSWrite:    partial("--read-only, and the mounts of what it may write"),
		berth.GuaranteeEgress:     partial("--network none"),
		berth.GuaranteeSignals:    partial("a PID namespace"),
		berth.GuaranteeProc:       partial("a PID namespace"),
		berth.GuaranteeDevices:    partial("no --device"),
		berth.GuaranteePrivileges: partial("--cap-drop ALL, no-new-privileges"),
	}
	if i := slices.Index(spec.Args, "--network"); i >= 0 && i+1 < len(spec.Args) && spec.Args[i+1] != "none" {
		g[berth.GuaranteeEgress] = berth.Guarantee{State: berth.None, Gap: "it may use the network, and an engine does not tell hosts and ports apart"}
	}
	for name, flag := range map[string]string{berth.GuaranteeMemory: "--memory", berth.GuaranteeProcesses: "--pids-limit", berth.GuaranteeCPU: "--cpus"} {
		if slices.Contains(spec.Args, flag) {
			g[name] = partial(flag)
		}
	}
	return g
}
