//go:build unix

package home

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-run/berth"
)

// openShared opens a file that may be replaced at any moment.
func openShared(path string) (*os.File, error) { return os.Open(path) }

// checkOwnOnly refuses a file that other users may read or write.
func checkOwnOnly(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 != 0 {
		return berth.WithHint(fmt.Errorf("%s may be read by other users (mode %04o)", path, info.Mode().Perm()),
			"chmod 600 "+path+"; if somebody may have read it, log in anew")
	}
	return nil
}
