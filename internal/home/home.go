// Package home keeps what must survive a crash: state, locks, logs, the audit
// trail. It knows the layout and the formats of Berth's home directory:
//
//	servers/NAME.toml        what is installed and how to run it
//	runtime/NAME.toml        last known state
//	locks/NAME.shim, .tree   who may start it, who is left of it
//	run/                     sockets
//	logs/NAME.log[.1..]      what it said        audit/audit.jsonl
//	permissions/NAME.toml    policy.toml         berth.toml
//	data/NAME/               what a confined server writes for itself
//	profiles/NAME.toml       which servers and tools a client sees by that name
//	clients/NAME.toml        which profile and tools a client has
//	manifests/NAME.json      what it said of itself, for who asks while it is down
//	packages/                copies of packages and their locks
//	credentials/             the secret store: what is in it, and its key
//	links.json, originals/   what was written into clients' settings
//	eras.json                which servers speak no modern MCP
//
// Every file of a server is named after it, so each function that takes a name
// checks it with berth.CheckName before it builds a path. A file is replaced as
// a whole or not at all: its readers take no lock. The kernel holds the truth;
// what is kept here are hints for the next process.
package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
)

// Home is an open home directory. It holds no descriptor: it may be used by
// several goroutines and needs no Close.
type Home struct {
	dir      string // canonical: absolute, without symbolic links
	readOnly bool

	look  direct.Looker
	swept sync.Map // directories whose abandoned temporary files were removed
}

// Options are the options of Open; nil is the zero value.
type Options struct {
	// ReadOnly creates and changes nothing, not even a missing home. What would
	// write returns an error.
	ReadOnly bool
}

// The directories of a home, all of mode 0700.
const (
	serversDir     = "servers"
	runtimeDir     = "runtime"
	locksDir       = "locks"
	runDir         = "run"
	logsDir        = "logs"
	auditDir       = "audit"
	permissionsDir = "permissions"
	dataDir        = "data"
	profilesDir    = "profiles"
	clientsDir     = "clients"
)

func subdirs() []string {
	return []string{serversDir, runtimeDir, locksDir, runDir, logsDir, auditDir, permissionsDir}
}

// Default returns the home that is meant when none is named: $BERTH_HOME as it
// is, else ~/.berth.
func Default() (string, error) {
	if dir := os.Getenv("BERTH_HOME"); dir != "" {
		return dir, nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", berth.WithHint(fmt.Errorf("find the home directory: %w", err), "set BERTH_HOME to a directory of your own")
	}
	return filepath.Join(user, ".berth"), nil
}

// Open returns the home in dir. Unless o says otherwise it creates what is
// missing and takes other users' permissions away. It refuses, by
// berth.ErrUnfitHome, a directory that belongs to somebody else, one on a
// network filesystem (unless BERTH_ALLOW_NETWORK_HOME=1), and one in which locks
// do not work, which it finds out by trying.
//
// A home that cannot be written can be opened: status and logs are readable,
// and what would write says what to do.
func Open(dir string, o *Options) (*Home, error) {
	if o == nil {
		o = &Options{}
	}
	if dir == "" {
		return nil, errors.New("open the home directory: no directory given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the home directory: %w", err)
	}
	h := &Home{readOnly: o.ReadOnly}
	if !h.readOnly {
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, berth.WithHint(fmt.Errorf("create the home directory: %w", err),
				"set BERTH_HOME to a directory that you can write")
		}
	}
	if h.dir, err = canonical(abs); err != nil {
		return nil, fmt.Errorf("open the home directory: %w", err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	return h, nil
}

// canonical resolves symbolic links, also of a path whose end does not exist
// yet, so that a home has the same keys before and after it is created.
func canonical(abs string) (string, error) {
	resolved, err := filepath.EvalSymlinks(abs)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	parent := filepath.Dir(abs)
	if parent == abs {
		return abs, nil
	}
	if parent, err = canonical(parent); err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// check refuses a directory that cannot be a home, and makes it one.
func (h *Home) check() error {
	info, err := os.Stat(h.dir)
	if errors.Is(err, fs.ErrNotExist) && h.readOnly {
		return nil // there is nothing to read
	}
	if err != nil {
		return fmt.Errorf("open the home directory: %w", err)
	}
	if !info.IsDir() {
		return unfit("set BERTH_HOME to a directory", "%s is not a directory", h.dir)
	}
	if err := checkOwner(h.dir, info); err != nil {
		return err
	}
	if err := checkNetwork(h.dir, networkKind(h.dir)); err != nil {
		return err
	}
	if !h.readOnly {
		if err := h.prepare(info); err != nil {
			return err
		}
	}
	return h.proveLocks()
}

// checkNetwork refuses a home on a network filesystem, unless the user knows
// better.
func checkNetwork(dir, kind string) error {
	if kind == "" || os.Getenv("BERTH_ALLOW_NETWORK_HOME") == "1" {
		return nil
	}
	return unfit("set BERTH_HOME to a directory on a local disk; BERTH_ALLOW_NETWORK_HOME=1 if only this machine uses it",
		"%s is on a network filesystem (%s), where the locks of one machine may not hold on another", dir, kind)
}

// prepare closes the home to other users and creates what is missing in it. On
// a home that cannot be written it leaves things as they are.
func (h *Home) prepare(info fs.FileInfo) error {
	if err := h.tighten(info); err != nil && !cannotWrite(err) {
		return err
	}
	for _, sub := range subdirs() {
		err := os.Mkdir(filepath.Join(h.dir, sub), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) && !cannotWrite(err) {
			return fmt.Errorf("prepare the home directory: %w", err)
		}
	}
	return nil
}

// Dir returns the home's canonical path.
func (h *Home) Dir() string { return h.dir }

// Key returns 16 hexadecimal digits that name a server of this home among all
// servers of all homes.
func (h *Home) Key(name string) string {
	sum := sha256.Sum256([]byte(h.dir + "\x00" + name))
	return hex.EncodeToString(sum[:8])
}

// in is path for the name of a file in a directory of the home's, at less cost.
func (h *Home) in(dir, name string) string {
	return h.dir + string(filepath.Separator) + dir + string(filepath.Separator) + name
}

// path returns the path of a file of the home.
func (h *Home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// canWrite returns an error if the home was opened for reading. What writes
// calls it first.
func (h *Home) canWrite() error {
	if h.readOnly {
		return fmt.Errorf("the home directory %s was opened for reading only", h.dir)
	}
	return nil
}

// writeError adds to an error of a write what the user can do about it. Errors
// keep their kind: a full disk is ENOSPC to the caller.
func (h *Home) writeError(err error) error {
	if err != nil && cannotWrite(err) {
		return berth.WithHint(err, fmt.Sprintf("make %s writable for your user, or set BERTH_HOME to another directory", h.dir))
	}
	return err
}

// cannotWrite reports whether err is that of a directory which can only be
// read.
func cannotWrite(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

func unfit(hint, format string, args ...any) error {
	return berth.WithHint(fmt.Errorf("%w: "+format, append([]any{berth.ErrUnfitHome}, args...)...), hint)
}
