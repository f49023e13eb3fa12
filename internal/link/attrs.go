//go:build linux || darwin

package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
)

// mostAttrs bounds the extended attributes of a file, in bytes: what Linux allows.
const mostAttrs = 64 << 10

// copyAttrs gives a new file the extended attributes of an old one: on Linux its access
// list is among them. One that cannot be given is an error: the file must not lose it.
func copyAttrs(f *os.File, path string) error {
	room := make([]byte, mostAttrs)
	n, err := unix.Listxattr(path, room)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil // there are none on this filesystem
	}
	if err != nil {
		return fmt.Errorf("read the attributes of %s: %w", path, err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(room[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		if err := copyAttr(f, path, name); err != nil {
			return berth.WithHint(fmt.Errorf("%s has the attribute %s, which a new file cannot be given: %w", path, name, err), "put the entry there by hand")
		}
	}
	return nil
}

func copyAttr(f *os.File, path, name string) error {
	value := make([]byte, mostAttrs)
	n, err := unix.Getxattr(path, name, value)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, noAttr) {
			return nil // it is gone
		}
		return err
	}
	value = value[:n]
	err = unix.Fsetxattr(int(f.Fd()), name, value, 0)
	if err == nil {
		return nil
	}
	// The system gives some of them by itself, and lets nobody do so.
	have := make([]byte, mostAttrs)
	if n, e := unix.Fgetxattr(int(f.Fd()), name, have); e == nil && bytes.Equal(have[:n], value) || systemAttr(name) {
		return nil
	}
	return err
}
