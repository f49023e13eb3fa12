//go:build unix

package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkOwner refuses a home of another user, root included: root's files in it
// would lock its owner out, and its owner could have root run anything.
func checkOwner(dir string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("find the owner of %s: %w", dir, errors.ErrUnsupported)
	}
	if me := os.Geteuid(); st.Uid != uint32(me) {
		return unfit("set BERTH_HOME to a directory of your own, or run as its owner",
			"%s belongs to user %d and this is user %d", dir, st.Uid, me)
	}
	return nil
}

// tighten takes other users' permissions from a home. The reference leaves one
// with what the umask allows, which on many systems lets the user's group write
// to it. A directory that was somebody's before it was a home (/tmp, ~, a
// share) keeps its mode, and is refused if others may write to it.
func (h *Home) tighten(info fs.FileInfo) error {
	mode := info.Mode()
	if mode.Perm()&0o077 == 0 {
		return nil
	}
	if mode&fs.ModeSticky == 0 && h.ours() {
		if err := os.Chmod(h.dir, mode.Perm()&^0o077); err != nil {
			return fmt.Errorf("close the home directory to other users: %w", err)
		}
		return nil
	}
	if mode.Perm()&0o022 != 0 {
		return unfit("set BERTH_HOME to a directory of its own, or say: chmod go-w "+h.dir,
			"other users can write to %s", h.dir)
	}
	return nil
}

// ours reports whether the directory is a home and nothing else: it is empty,
// has the usual name, or holds at least two directories of a home.
func (h *Home) ours() bool {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return false
	}
	if len(entries) == 0 || filepath.Base(h.dir) == ".berth" {
		return true
	}
	found := 0
	for _, e := range entries {
		switch e.Name() {
		case serversDir, runtimeDir, locksDir, auditDir, permissionsDir:
			found++
		}
	}
	return found >= 2
}
