// Package proc starts a process tree and makes certain of its end, per
// operating system.
//
//	          ┌─ Tree ──────────────────────────────┐
//	Start ──▶ │ leader ── its exit, by event        │ ──▶ Exited, Exit
//	          │ holder ── what keeps all members    │ ──▶ Terminate, Kill, Members
//	          │           together: cgroup, PID     │
//	          │           namespace, subreaper, …   │
//	          └─────────────────────────────────────┘
//	Leftovers, Sweep ── the trees of a supervisor that is gone
//
// What is promised:
//   - Start returns after the program was executed. When it fails, the error
//     keeps the system's kind (errors.Is with fs.ErrNotExist, fs.ErrPermission),
//     names the command, and no process is left.
//   - A process is known by its pid together with its start time, boot and PID
//     namespace ([ID]). Signals go through a handle that was verified after it
//     was opened ([Pin]), or to a process group whose leader is not yet reaped,
//     so that a process which Berth did not start is never signalled.
//   - Kill returns when the tree is empty, or names the members that outlived
//     its context.
//
// The package uses its own executable in two more roles, told apart by argv[0]:
// [InitName] is the init of a PID namespace, [ExecName] sets limits and then
// executes the server; they call [Hooks] for one that is to be confined. A binary that
// calls Start must call [InitMain] first thing when its argv[0] is one of them.
package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	berth "github.com/berth-run/berth"
)

// The values of argv[0] for which a binary must call InitMain.
const (
	// InitName is the init of a PID namespace.
	InitName = "berth-init"
	// ExecName sets limits on itself and then executes the server.
	ExecName = "berth-exec"
)

// IncarnationVariable is the environment variable by which the processes of an
// incarnation are recognised when nothing else holds them together any more.
const IncarnationVariable = "BERTH_INCARNATION"

var (
	// ErrForeign: the process is of another PID namespace, so its pid means
	// nothing here.
	ErrForeign = errors.New("process of another PID namespace")
	// ErrGone: the process has ended, or its pid belongs to another one now.
	ErrGone = fmt.Errorf("no such process: %w", os.ErrProcessDone)
	// ErrUnconfined: one of Hooks failed, so the program was not executed.
	ErrUnconfined = errors.New("it could not be confined")
)

// Spec says what to start and how.
type Spec struct {
	// Path is the absolute path of the program; see LookPath. Argv includes
	// argv[0]. Env is complete but for BERTH_INCARNATION, which Start adds.
	Path string
	Argv []string
	Env  []string
	// Dir is the working directory; default "/" (the system's root).
	Dir string
	// Stdin, Stdout and Stderr are the child's ends. The caller closes its own
	// copies after Start.
	Stdin, Stdout, Stderr *os.File
	// TreeLock, if not nil, is inherited by the child as descriptor 3, and so
	// by its descendants: its lock is busy while one of them holds it. It was
	// opened by its absolute path. Unix.
	TreeLock *os.File
	// Key is 16 lower-case hex digits that name the server and its home, the
	// same for all its incarnations. Incarnation is Key, a dot, and 16 random
	// hex digits.
	Key         string
	Incarnation string
	// MaxMemoryBytes limits the tree, MaxFileDescriptors each process; 0 is no
	// limit.
	MaxMemoryBytes     uint64
	MaxFileDescriptors uint64
	// MaxProcesses limits the processes and threads of the tree, MaxCPUPercent the
	// time of processors that it has, in percent of one; 0 is no limit. What cannot
	// be limited here is not, and Tree.Quotas says so.
	MaxProcesses  uint64
	MaxCPUPercent uint64
	// Mechanism holds the tree together. TreeAuto proves the mechanisms at
	// each start; a caller that restarts should let a Prober choose once.
	Mechanism berth.TreeMechanism
	// Executable is the binary for the roles InitName and ExecName; default is
	// this very program.
	Executable string
	// Confine has the roles call their Hooks. Unix.
	Confine *Confine
}

// Confine is how a program is started that its Hooks confine.
type Confine struct {
	// Channel is the child's end of a socket that keeps message boundaries
	// (SOCK_SEQPACKET), which each hook gets and the program does not. The caller
	// closes its own copy after Start; then the other end tells that the program
	// was executed, or will never be, by its end.
	Channel *os.File
	// Network, IPC and Hostname ask for namespaces of these beside the two that
	// berth.TreePIDNamespace makes. No other mechanism makes any. Linux.
	Network, IPC, Hostname bool
}

// Hooks are what the roles call for a program whose Spec says Confine. An error ends
// the start, which reports it as ErrUnconfined with its text.
type Hooks struct {
	// Init is called by the init of a PID namespace, which has all capabilities in
	// its namespaces, before anything else runs in them, on its main thread.
	Init func(channel int) error
	// Stage is called on a thread that then executes the program, or forks the process
	// that does, and comes to nothing else: what it does must be to its thread alone.
	// Limits that could stand in its way are set afterwards.
	Stage func(channel int) error
}

func (s *Spec) check() error {
	switch {
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("start %q: %w: the path of the program is not absolute", s.Path, fs.ErrInvalid)
	case len(s.Argv) == 0:
		return fmt.Errorf("start %q: %w: argv is empty", s.Path, fs.ErrInvalid)
	case s.Stdin == nil || s.Stdout == nil || s.Stderr == nil:
		return fmt.Errorf("start %q: %w: a standard stream is missing", s.Path, fs.ErrInvalid)
	case s.Confine != nil && s.Confine.Channel == nil:
		return fmt.Errorf("start %q: %w: the channel of the hooks is missing", s.Path, fs.ErrInvalid)
	case !isKey(s.Key):
		return fmt.Errorf("start %q: %w: key %q is not 16 hex digits", s.Path, fs.ErrInvalid, s.Key)
	case !isIncarnation(s.Key, s.Incarnation):
		return fmt.Errorf("start %q: %w: incarnation %q is not of key %s", s.Path, fs.ErrInvalid, s.Incarnation, s.Key)
	}
	return nil
}

func isKey(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

func isIncarnation(key, s string) bool {
	random, ok := strings.CutPrefix(s, key+".")
	return ok && isKey(random)
}

// environ returns the child's environment: Env, with BERTH_INCARNATION as the
// only variable of its name.
func (s *Spec) environ() []string {
	env := make([]string, 0, len(s.Env)+1)
	for _, kv := range s.Env {
		if !strings.HasPrefix(kv, IncarnationVariable+"=") {
			env = append(env, kv)
		}
	}
	return append(env, IncarnationVariable+"="+s.Incarnation)
}

// ID is one process, for ever: a pid is reused, an ID is not. It is meant to be
// stored.
type ID struct {
	PID int `json:"pid"`
	// Start is when the process started, in the system's own unit: clock ticks
	// since boot (Linux), microseconds since 1970 (macOS), FILETIME (Windows).
	Start uint64 `json:"start"`
	// Boot names the run of the system in which the process lives.
	Boot string `json:"boot,omitzero"`
	// Namespace is the inode of the PID namespace in which PID is counted.
	// Linux.
	Namespace uint64 `json:"namespace,omitzero"`
}

// String returns "pid 42".
func (id ID) String() string { return fmt.Sprintf("pid %d", id.PID) }

// Info is what the system tells of a process, for comparing it with a record
// that lacks a start time.
type Info struct {
	ID      ID
	UID     int
	Argv    []string
	Started time.Time
}

// MechanismReport is the result of trying one mechanism: a tree was made, a
// process started into it, killed, and the tree found empty.
type MechanismReport struct {
	Mechanism berth.TreeMechanism
	Works     bool
	// Guarantee is what the mechanism gives where it works.
	Guarantee berth.Guarantee
	// Err says why it does not work.
	Err error
}

// Query says what belongs to a server whose supervisor may be gone.
type Query struct {
	// Key is the server's; see Spec.
	Key string
	// CgroupPaths are directories that the server's record names. Those below
	// the caller's own cgroup are found by Key.
	CgroupPaths []string
	// TreeLock is the path of the lock file that the server inherited; a
	// process that has it open belongs to the server.
	TreeLock string
}
