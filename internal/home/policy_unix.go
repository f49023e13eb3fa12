//go:build unix

package home

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// mostPolicy is more than any policy has.
const mostPolicy = 16 << 20

// readTrusted reads a file that root alone can have written: it is a plain file, it
// and its directories belong to root, and nobody else may write to them.
func readTrusted(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, untrusted(path, "it is a symbolic link")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, untrusted(path, "it is no plain file")
	}
	if err := rootsOwn(path, info); err != nil {
		return nil, err
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil {
			err = rootsOwn(dir, info)
		}
		if err != nil {
			return nil, err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return io.ReadAll(io.LimitReader(f, mostPolicy))
}

// rootsOwn returns why somebody else than root could change a file. A group that may
// write to a directory above is one of administrators on the systems that have it so.
func rootsOwn(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 {
		return untrusted(path, "it does not belong to root")
	}
	others := fs.FileMode(0o022)
	if info.IsDir() {
		others = 0o002
	}
	if info.Mode()&others != 0 {
		return untrusted(path, "others than root may write to it")
	}
	return nil
}
