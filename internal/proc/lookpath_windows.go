package proc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LookPath returns the absolute path of a command, tried with the extensions of
// PATHEXT if it has none. A name without a separator is looked up in the PATH
// of env, of which only absolute entries count: what runs must not depend on
// where a server happens to be started. Any other name is relative to dir. The
// error names the command and is of kind fs.ErrNotExist.
func LookPath(command, dir string, env []string) (string, error) {
	variable := func(name string) string {
		value := ""
		for _, kv := range env {
			if k, v, ok := strings.Cut(kv, "="); ok && strings.EqualFold(k, name) {
				value = v
			}
		}
		return value
	}
	extensions := []string{""}
	if filepath.Ext(command) == "" {
		list := variable("PATHEXT")
		if list == "" {
			list = ".COM;.EXE;.BAT;.CMD"
		}
		extensions = strings.Split(list, ";")
	}
	dirs := filepath.SplitList(variable("PATH"))
	name := command
	if strings.ContainsAny(command, `:\/`) {
		if !filepath.IsAbs(command) {
			command = filepath.Join(dir, command)
		}
		dirs = []string{filepath.Dir(command)}
		command = filepath.Base(command)
	}
	for _, d := range dirs {
		if !filepath.IsAbs(d) {
			continue
		}
		for _, ext := range extensions {
			path := filepath.Join(d, command+ext)
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("command %q: no such program: %w", name, fs.ErrNotExist)
}
