package berth

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ProcessSpec says how to run a server. Its first six JSON members are those of
// the reference; the zero value of each of ours means its default.
type ProcessSpec struct {
	// Command is the program: a path, which may be relative to Dir, or a name
	// that is looked up in the absolute entries of the PATH that the server will
	// have.
	Command string `json:"command"`
	// Args are its arguments, without the program itself.
	Args []string `json:"args"`
	// Env is added to the allow-listed part of the caller's environment
	// (see AllowedEnv) and wins over it.
	Env map[string]string `json:"env"`
	// AutoRestart is nil for a server that stays down when it exits.
	AutoRestart *RestartPolicy `json:"auto_restart"`
	// MaxMemoryBytes limits the memory of the tree, or of each of its processes
	// where the system cannot do better (Status.Guarantees says so); 0 is no
	// limit.
	MaxMemoryBytes uint64 `json:"max_memory_bytes,omitzero"`
	// MaxFileDescriptors limits the open descriptors of each process; 0 is no
	// limit.
	MaxFileDescriptors uint64 `json:"max_file_descriptors,omitzero"`
	// MaxProcesses limits the processes and threads of the tree, MaxCPUPercent the time
	// of processors that it has, in percent of one; 0 is no limit. Where the system
	// cannot, Status.Guarantees says so.
	MaxProcesses  uint64 `json:"max_processes,omitzero"`
	MaxCPUPercent uint64 `json:"max_cpu_percent,omitzero"`

	// Dir is the working directory, a full path; default the user's home as the
	// server's environment names it, or "/" where there is none.
	Dir string `json:"cwd,omitzero"`
	// Grace is how long a stop waits after closing stdin, and again after
	// SIGTERM, before the next step; default 5 s. A server with transport "http"
	// is sent SIGTERM at once.
	Grace Duration `json:"grace,omitzero"`
	// Transport is how the server speaks: "stdio" (default), or "http" for one
	// whose stdout is not protocol.
	Transport string `json:"transport,omitzero"`
	// Ports are the TCP ports on which the server listens, of a server whose transport is
	// "http". Where it has a network of its own they are reached at 127.0.0.1.
	Ports []uint16 `json:"ports,omitempty"`
	// TreeKill forces the mechanism by which the process tree is held together
	// and ended; default TreeAuto.
	TreeKill TreeMechanism `json:"tree_kill,omitzero"`
	// Secrets are names of variables of Env whose values are secrets whatever the names
	// say: they are masked wherever the server prints them. Names that tell of a secret
	// need not be among them.
	Secrets []string `json:"secrets,omitempty"`
	// Unset are names of variables that it does not get, though every server does (see
	// AllowedEnv). Env wins over it.
	Unset []string `json:"unset,omitempty"`
	// Confine is what the server may do; nil confines it in nothing.
	Confine *Confinement `json:"confine,omitempty"`
	// Container: Command is the client of a container engine (docker, podman) and Args
	// begin with "run". The supervisor names and labels the container, and no process
	// of the server's has ended before the engine says that the container is gone. The
	// engine confines it, so that Confine must not.
	Container bool `json:"container,omitzero"`
}

// Profile says how tightly a server is confined.
type Profile string

const (
	// ProfileOff confines in nothing.
	ProfileOff Profile = "off"
	// ProfileStandard confines to what is allowed. The guarantees that it requires are
	// those that a stock system of its kind can give (docs/threat-model.md).
	ProfileStandard Profile = "standard"
	// ProfileStrict is ProfileStandard, and requires every guarantee.
	ProfileStrict Profile = "strict"
	// ProfileContainer is said in Status of a server that a container engine confines,
	// as far as Status.Guarantees says. No server is given it.
	ProfileContainer Profile = "container"
)

// Requirement says what becomes of a start where a required guarantee is missing.
type Requirement string

const (
	// RequireEnforce refuses the start.
	RequireEnforce Requirement = "enforce"
	// RequirePrefer starts, and reports what is not kept.
	RequirePrefer Requirement = "prefer"
)

// Confinement is what a server may do, and what becomes of its start where the system
// cannot keep it to that.
type Confinement struct {
	// Profile of "" is ProfileOff.
	Profile Profile `json:"profile"`
	// Require defaults to RequireEnforce.
	Require Requirement `json:"require,omitzero"`
	// Allow are the permissions that it has: network:HOST:PORT, filesystem:read:PATH,
	// filesystem:write:PATH, exec:COMMAND, env:NAME, and the wildcards of each. It has
	// no others.
	Allow []string `json:"allow,omitempty"`
	// Program are files and directories that belong to the server itself, such as the
	// directory of its package: it may read and execute what is in them.
	Program []string `json:"program,omitempty"`
	// Data is a directory of its own that it may write to; "" for none.
	Data string `json:"data,omitzero"`
	// Learn has what it tries with files and may not be in Status.Denied, beside the
	// connections that always are. Each such system call takes longer. Linux.
	Learn bool `json:"learn,omitzero"`
}

// Confined says whether there is anything that a server is kept from.
func (c *Confinement) Confined() bool {
	return c != nil && c.Profile != "" && c.Profile != ProfileOff
}

// MarshalJSON writes lists as lists: the reference takes no null for one.
func (s ProcessSpec) MarshalJSON() ([]byte, error) {
	if s.Args == nil {
		s.Args = []string{}
	}
	if s.Env == nil {
		s.Env = map[string]string{}
	}
	type plain ProcessSpec // without this method
	return json.Marshal(plain(s))
}

// RestartPolicy bounds automatic restarts: at most MaxRestarts in any Window,
// then the server is left in phase "failed". The first restart after a healthy
// run is immediate; later ones wait MinDelay, doubling to MaxDelay, each with
// equal jitter (half of it fixed, half random).
type RestartPolicy struct {
	Enabled bool `json:"enabled"`
	// MaxRestarts 0 never restarts.
	MaxRestarts int `json:"max_restarts"`
	// Window defaults to 10 min.
	Window Duration `json:"window,omitzero"`
	// MinDelay defaults to 250 ms.
	MinDelay Duration `json:"min_delay,omitzero"`
	// MaxDelay defaults to 30 s.
	MaxDelay Duration `json:"max_delay,omitzero"`
	// Healthy is how long a server must have lived for the restart after its
	// exit to be immediate, and the delays to begin anew; default 60 s. Window
	// counts such restarts as well.
	Healthy Duration `json:"healthy,omitzero"`
}

// The defaults of RestartPolicy and ProcessSpec.
const (
	DefaultWindow   = Duration(10 * time.Minute)
	DefaultMinDelay = Duration(250 * time.Millisecond)
	DefaultMaxDelay = Duration(30 * time.Second)
	DefaultHealthy  = Duration(60 * time.Second)
	DefaultGrace    = Duration(5 * time.Second)
)

// WithDefaults returns the policy with every zero duration replaced by its
// default. A nil policy is a disabled one.
func (p *RestartPolicy) WithDefaults() RestartPolicy {
	if p == nil {
		return RestartPolicy{}.withDefaults()
	}
	return p.withDefaults()
}

func (p RestartPolicy) withDefaults() RestartPolicy {
	for _, d := range []struct {
		value *Duration
		def   Duration
	}{
		{&p.Window, DefaultWindow},
		{&p.MinDelay, DefaultMinDelay},
		{&p.MaxDelay, DefaultMaxDelay},
		{&p.Healthy, DefaultHealthy},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	return p
}

// TreeMechanism names what holds a server's processes together.
type TreeMechanism string

const (
	// TreeAuto takes the first that works, in the order below.
	TreeAuto TreeMechanism = ""
	// TreeCgroup is one fresh cgroup (v2) for each incarnation. Linux.
	TreeCgroup TreeMechanism = "cgroup"
	// TreePIDNamespace is a PID namespace whose init is Berth's. Linux.
	TreePIDNamespace TreeMechanism = "pidns"
	// TreeSubreaper sweeps what re-parents to the shim. Linux.
	TreeSubreaper TreeMechanism = "subreaper"
	// TreeProcessGroup signals the process group and scans for the rest.
	TreeProcessGroup TreeMechanism = "pgroup"
	// TreeJob is a job object. Windows.
	TreeJob TreeMechanism = "job"
)

// TreeMechanisms lists the mechanisms that may be forced, strongest first.
func TreeMechanisms() []TreeMechanism {
	return []TreeMechanism{TreeCgroup, TreePIDNamespace, TreeSubreaper, TreeProcessGroup, TreeJob}
}

// Check returns an error that wraps ErrInvalidSpec if the spec cannot be run
// anywhere: a blank command, a NUL byte, a working directory that is no full
// path, a number that is negative or too big, an unknown word.
func (s *ProcessSpec) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalidSpec}, args...)...)
	}
	if strings.TrimSpace(s.Command) == "" {
		return bad("the command is empty")
	}
	if strings.ContainsRune(s.Command, 0) {
		return bad("the command holds a NUL byte")
	}
	for i, a := range s.Args {
		if strings.ContainsRune(a, 0) {
			return bad("argument %d holds a NUL byte", i+1)
		}
	}
	for k, v := range s.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return bad("the variable %s is not one that a process can have", quoteShort(k))
		}
	}
	if strings.ContainsRune(s.Dir, 0) {
		return bad("the working directory holds a NUL byte")
	}
	if s.Dir != "" && !filepath.IsAbs(s.Dir) {
		return bad("the working directory %s is not a full path", quoteShort(s.Dir))
	}
	if s.Grace < 0 {
		return bad("grace is negative")
	}
	if s.Transport != "" && s.Transport != "stdio" && s.Transport != "http" {
		return bad("transport %s is neither stdio nor http", quoteShort(s.Transport))
	}
	for i, port := range s.Ports {
		if port == 0 || slices.Contains(s.Ports[:i], port) {
			return bad("port %d is none, or is given twice", port)
		}
	}
	if len(s.Ports) > 0 && s.Transport != "http" {
		return bad("ports are for a server with transport http")
	}
	if s.Container && (len(s.Args) == 0 || s.Args[0] != "run") {
		return bad("a container is not started by %s", quoteShort(s.Command))
	}
	if s.Container && s.Confine.Confined() {
		return bad("a container is confined by its engine alone")
	}
	if s.TreeKill != TreeAuto && !slices.Contains(TreeMechanisms(), s.TreeKill) {
		return bad("tree_kill %s is not a mechanism", quoteShort(string(s.TreeKill)))
	}
	if p := s.AutoRestart; p != nil {
		if p.MaxRestarts < 0 || p.Window < 0 || p.MinDelay < 0 || p.MaxDelay < 0 || p.Healthy < 0 {
			return bad("a number in auto_restart is negative")
		}
		if int64(p.MaxRestarts) > math.MaxUint32 { // the type that the reference's files have for it
			return bad("max_restarts is %d, at most %d is allowed", p.MaxRestarts, uint32(math.MaxUint32))
		}
	}
	return nil
}

// Duration is a time.Duration whose JSON and text form is that of
// time.ParseDuration ("5s").
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the form of time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%s is not a duration such as 5s or 1m30s", quoteShort(string(text)))
	}
	*d = Duration(v)
	return nil
}
