//go:build unix

package link

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownedByUs says whether the file is the user's, or the user may give files away.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || os.Geteuid() == 0 || int(st.Uid) == os.Geteuid()
}

// namesOf is how many names a file has.
func namesOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Nlink)
	}
	return 1
}

// likeOld gives the new file the mode, group and owner of the old one.
func likeOld(f *os.File, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		now, err := f.Stat()
		if err != nil {
			return err
		}
		if have, ok := now.Sys().(*syscall.Stat_t); ok && (have.Uid != st.Uid || have.Gid != st.Gid) {
			// A group that is not ours cannot be given; the mode says who may read.
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && have.Uid != st.Uid {
				return err
			}
		}
	}
	return f.Chmod(info.Mode().Perm())
}

// renameNew renames a file to a name that must not be there yet.
func renameNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	// A filesystem without links: what appears in this moment is lost.
	if _, e := os.Lstat(to); e == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// syncDir makes a rename in dir last; some filesystems cannot, and say so.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err = d.Sync(); errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// cannotExchange says whether an error means that the filesystem cannot exchange
// two files.
func cannotExchange(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)
}

// missing makes of a file that is gone one that was changed: the edit begins anew.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	return err
}
