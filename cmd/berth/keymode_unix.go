//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keptFromOthers returns an error if others may read or write a file that holds a
// key. Its owner is this user, or the system, which may let a group of its choice
// read it: so PostgreSQL has it, and the tools that share keys among daemons.
func keptFromOthers(info fs.FileInfo) error {
	may := fs.FileMode(0o700)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case st.Uid == 0:
			may = 0o740
		case int(st.Uid) != os.Geteuid():
			return fmt.Errorf("it is the file of another user (%d), who may read and replace it", st.Uid)
		}
	}
	if mode := info.Mode().Perm(); mode&^may != 0 {
		return fmt.Errorf("its mode %04o lets others have the key", mode)
	}
	return nil
}
