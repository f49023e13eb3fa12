package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settles is how long a change is waited for to be the last of several: a program
// writes a file, then renames it.
const settles = 200 * time.Millisecond

// Watch calls look at once, and again after a file may have changed, appeared or gone,
// until ctx ends, whose cause it returns, or look returns an error. look returns the
// paths to watch from then on; they need not exist. It waits for events of the system.
func Watch(ctx context.Context, look func(context.Context) (paths []string, err error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer w.Close()
	s := watched{w: w, dirs: map[string]bool{}}
	var settled <-chan time.Time
	for again := true; ; {
		if again {
			paths, err := look(ctx)
			if err != nil {
				return err
			}
			// What came before the directory was watched is seen by another look.
			if again, err = s.follow(paths); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-w.Events:
			if !s.concerns(e.Name) {
				continue
			}
			// A directory that goes takes its watch with it.
			if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
				delete(s.dirs, e.Name)
			}
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch files: %w", err)
			}
		case <-settled:
			settled, again = nil, true
			continue
		}
		if settled == nil {
			settled = time.After(settles)
		}
	}
}

// watched is what is watched.
type watched struct {
	w     *fsnotify.Watcher
	dirs  map[string]bool // that have a watch
	paths []string        // that somebody waits for
}

// follow watches the directories of files, and of what symbolic links among them lead
// to; of one that is not there, the nearest above it that is. It returns whether there
// is a new one.
func (s *watched) follow(paths []string) (more bool, err error) {
	s.paths = s.paths[:0]
	for _, p := range paths {
		s.paths = append(s.paths, p)
		if real, err := filepath.EvalSymlinks(p); err == nil && real != p {
			s.paths = append(s.paths, real)
		}
	}
	for _, p := range s.paths {
		dir := filepath.Dir(p)
		for {
			info, err := os.Stat(dir)
			if err == nil && info.IsDir() || filepath.Dir(dir) == dir {
				break
			}
			dir = filepath.Dir(dir)
		}
		if s.dirs[dir] {
			continue
		}
		if err := s.w.Add(dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				more = true // it went just now
				continue
			}
			return false, fmt.Errorf("watch %s: %w", dir, err)
		}
		s.dirs[dir], more = true, true
	}
	return more, nil
}

// concerns says whether a path is one of those that are waited for, or above one.
func (s *watched) concerns(path string) bool {
	for _, p := range s.paths {
		if p == path || strings.HasPrefix(p, path+string(os.PathSeparator)) {
			return true
		}
	}
	return false
}
