package home

import (
	"fmt"
	"os"
)

// maxSocketPath is the longest path of a socket: sun_path less the NUL at its
// end.
const maxSocketPath = 107

// lastSocketParents is empty: a user's directory for temporary files is all
// that Windows has.
func lastSocketParents() []string { return nil }

// checkPrivate returns an error unless dir is a directory. Access lists, which
// a directory inherits from the user's profile, keep others out.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}
