//go:build unix

package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LookPath returns the absolute path of a command. A name without a separator
// is looked up in the PATH of env, of which only absolute entries count: what
// runs must not depend on where a server happens to be started. Any other name
// is relative to dir. The error names the command and is of kind
// fs.ErrNotExist or fs.ErrPermission.
func LookPath(command, dir string, env []string) (string, error) {
	if strings.Contains(command, "/") {
		path := command
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if err := checkProgram(path); err != nil {
			return "", fmt.Errorf("command %q: %w", command, err)
		}
		return filepath.Abs(path)
	}
	var list string
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = value // the last one wins, as in os/exec
		}
	}
	found := fs.ErrNotExist
	for _, entry := range filepath.SplitList(list) {
		if !filepath.IsAbs(entry) {
			continue
		}
		path := filepath.Join(entry, command)
		err := checkProgram(path)
		if err == nil {
			return path, nil
		}
		// A directory that we may not look into is as good as one that does not
		// have it: PATHs hold other users' directories.
		if _, hidden := os.Stat(path); hidden == nil && errors.Is(err, fs.ErrPermission) {
			found = err
		}
	}
	if found == fs.ErrNotExist {
		return "", fmt.Errorf("command %q: not found in PATH %q: %w", command, list, found)
	}
	return "", fmt.Errorf("command %q: %w", command, found)
}

func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%q is a directory: %w", path, fs.ErrPermission)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%q is not executable (chmod +x): %w", path, fs.ErrPermission)
	}
	return nil
}
