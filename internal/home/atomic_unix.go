//go:build unix

package home

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func rename(from, to string) error { return os.Rename(from, to) }

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }

// syncDir makes a rename in dir last. Some filesystems cannot sync a directory
// and say so; they order the two by themselves, or nothing can be done.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
