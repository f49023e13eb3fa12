//go:build unix

package home

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// maxSocketPath is the longest path of a socket: sun_path less the NUL at its
// end.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// lastSocketParents is where a socket goes when TMPDIR is too long as well.
func lastSocketParents() []string { return []string{"/tmp"} }

// checkPrivate returns an error unless dir is a directory, not a link to one,
// that belongs to this user and that nobody else can enter. In a directory that
// all may write to, anyone could have made it first.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case !ok || st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s belongs to somebody else: %w", dir, fs.ErrPermission)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to other users: %w", dir, fs.ErrPermission)
	}
	return nil
}
