package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/settings"
)

// This file replaces a file that another program may replace at the same time.
//
// The other program takes no lock of ours. What it writes between our last look and
// our rename would be lost; where the system can exchange two files, the exchange
// shows what was there, and is taken back if that is not what was edited.

const (
	// mostBytes bounds a settings file.
	mostBytes = 64 << 20
	// attempts is how often an edit is made again since the file was changed
	// meanwhile, patience how long at least it is tried.
	attempts = 100
	patience = 20 * time.Second
	// settling is how young a file is that a program may be writing in place.
	settling = 2 * time.Second
	// recent is how young a file is that a program may be about to write again.
	recent = time.Minute
	// abandoned is how old a temporary file is that nobody will rename any more.
	abandoned = 24 * time.Hour
)

// errMoved: the file is not what was read.
var errMoved = errors.New("the file was changed meanwhile")

// snapshot is a file at one moment.
type snapshot struct {
	path string // with symbolic links followed
	data []byte // nil: there is no file
	info fs.FileInfo
}

func (s *snapshot) exists() bool { return s.info != nil }

// look reads a settings file, following symbolic links: what they lead to is what
// will be replaced.
func look(path string) (*snapshot, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, e := os.Lstat(path); e == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, berth.WithHint(fmt.Errorf("%s is a symbolic link to nothing", path), "make the file that it names, or remove the link")
		}
		// Of the directories that are there, links are followed as well.
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return &snapshot{path: path}, nil
		}
		return &snapshot{path: filepath.Join(dir, filepath.Base(path))}, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", real)
	}
	if info.Size() > mostBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", real, mostBytes)
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err != nil {
		return nil, err
	}
	if data == nil {
		data = []byte{}
	}
	return &snapshot{real, data, info}, nil
}

// emptied says whether a program may have emptied the file to write it anew. An edit
// would take its name away, and what is written then would be lost with the old file.
func (s *snapshot) emptied() bool {
	return s.exists() && len(s.data) == 0 && (s.info.Size() != 0 || time.Since(s.info.ModTime()) < settling)
}

// same returns nil if the file is still what was read.
func (s *snapshot) same() error {
	now, err := look(s.path)
	if err != nil {
		return err
	}
	if s.exists() != now.exists() || s.exists() && (!os.SameFile(s.info, now.info) || !bytes.Equal(s.data, now.data)) {
		return errMoved
	}
	return nil
}

// mayWrite returns why the file must not be written.
func (s *snapshot) mayWrite() error {
	if s.exists() && s.info.Mode().Perm()&0o200 == 0 {
		return berth.WithHint(fmt.Errorf("%s is read-only", s.path), "another program may manage it: put the entry where that takes it from")
	}
	if s.exists() && namesOf(s.info) > 1 {
		// A new file would take the place of one of them, and the others would stay behind.
		return berth.WithHint(fmt.Errorf("%s has %d names (hard links), which an edit would part", s.path, namesOf(s.info)), "put the entry there by hand, or have symbolic links lead to one file")
	}
	if s.exists() && !ownedByUs(s.info) {
		return berth.WithHint(fmt.Errorf("%s belongs to another user", s.path), "run this as that user")
	}
	return nil
}

// edit replaces a file by what change makes of it, or leaves it if that is the same
// bytes. It calls change again when the file was changed meanwhile; before is called
// when all is ready, once for each attempt.
func edit(ctx context.Context, path string, perm fs.FileMode, change func(*snapshot) ([]byte, error), before func() error) (*snapshot, error) {
	deadline := time.Now().Add(patience)
	for i := 0; ; i++ {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		s, err := look(path)
		if err == nil && s.emptied() {
			err = errMoved
		}
		var out []byte
		if err == nil {
			out, err = change(s)
		}
		if err == nil && (out == nil) == !s.exists() && bytes.Equal(out, s.data) {
			return s, before()
		}
		if err == nil {
			err = s.mayWrite()
		}
		if err == nil {
			err = s.replace(out, perm, before)
		}
		if err == nil {
			return s, nil
		}
		// A program that writes in place is seen between two writes, too.
		torn := i < attempts && s != nil && s.exists() && isFault(err) && time.Since(s.info.ModTime()) < settling
		if !torn && !errors.Is(err, errMoved) {
			return s, err
		}
		if i >= attempts && time.Now().After(deadline) {
			return s, fmt.Errorf("edit %s: %w, again and again", path, err)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

func isFault(err error) bool {
	var fault *settings.Fault
	return errors.As(err, &fault)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// replace puts data in the place of what was read; nil removes the file. It returns
// errMoved if the file is another by then.
func (s *snapshot) replace(data []byte, perm fs.FileMode, before func() error) (err error) {
	if data == nil {
		if err := before(); err != nil {
			return err
		}
		if err := s.same(); err != nil {
			return err
		}
		return os.Remove(s.path)
	}
	dir := filepath.Dir(s.path)
	if !s.exists() {
		if err := os.MkdirAll(dir, 0o700|perm&0o077|perm&0o044>>2); err != nil {
			return err
		}
	}
	temp, err := s.temp(dir, data, perm)
	if err != nil {
		return err
	}
	// After the exchange, this name may have what somebody else wrote: it is gone
	// only when that is known.
	defer func() {
		if temp != "" {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	// It takes time, and what follows must not.
	if err := before(); err != nil {
		return err
	}
	if err := s.same(); err != nil {
		return err
	}
	if !s.exists() {
		err := renameNew(temp, s.path)
		if err == nil {
			temp = ""
			return syncDir(dir)
		}
		if errors.Is(err, fs.ErrExist) {
			return errMoved
		}
		return err
	}
	ours, err := os.Stat(temp)
	if err != nil {
		return err
	}
	done, err := exchange(temp, s.path)
	if err == nil && !done { // the system cannot
		err = os.Rename(temp, s.path)
		if err == nil {
			temp = ""
		}
		return errors.Join(err, syncDir(dir))
	}
	if err == nil && !isStill(temp, s.info, s.data) {
		err = putBack(temp, s.path, ours, data)
		if errors.Is(err, errStuck) {
			temp = "" // it has what somebody else wrote
		}
	}
	if err == nil {
		err = syncDir(dir)
	}
	return err
}

// isStill says whether a file is the one that was seen, unchanged. A look is enough
// to say no, which must be fast.
func isStill(path string, info fs.FileInfo, data []byte) bool {
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(now, info) || now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime()) {
		return false
	}
	was, err := os.ReadFile(path)
	return err == nil && bytes.Equal(was, data)
}

// errStuck: what another program wrote is under the other name.
var errStuck = errors.New("it could not be put back")

// putBack takes an exchange back: somebody wrote the file just before. It returns
// errMoved once the newest version is in place.
func putBack(temp, path string, ours fs.FileInfo, data []byte) error {
	for range 2 {
		if done, err := exchange(temp, path); !done {
			return fmt.Errorf("another program wrote %s meanwhile, and what it wrote is in %s: %w (%v)", path, temp, errStuck, err)
		}
		if isStill(temp, ours, data) {
			break
		}
		// Somebody has written it since the exchange, too: that is the newest.
	}
	return errMoved
}

// temp writes the new file beside the old one, with its mode and owner.
func (s *snapshot) temp(dir string, data []byte, perm fs.FileMode) (name string, err error) {
	prefix := "." + filepath.Base(s.path) + ".berth-"
	sweep(dir, prefix)
	f, err := os.CreateTemp(dir, prefix+"*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is what matters
		}
	}()
	_, err = f.Write(data)
	if err == nil && s.exists() {
		if err = copyAttrs(f, s.path); err == nil {
			err = likeOld(f, s.info)
		}
	} else if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return f.Name(), err
}

// sweep removes what a process that was killed has left. It is housekeeping: what
// cannot be removed is left.
func sweep(dir, prefix string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// busy says whether a program may be about to write the file again.
func (s *snapshot) busy() bool { return s.exists() && time.Since(s.info.ModTime()) < recent }
