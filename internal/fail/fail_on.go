//go:build failpoint

// Package fail kills its own process at a named point, so that tests can show
// what survives a crash there. It does so only in binaries that are built with
// the tag failpoint; in all others a point is nothing.
package fail

import (
	"os"
	"path/filepath"
)

// Point ends the process, as SIGKILL does, if the directory that the variable
// BERTH_FAILPOINTS names holds a file called name. The file is renamed to
// name.hit first: of several processes at the point exactly one dies, once.
func Point(name string) {
	dir := os.Getenv("BERTH_FAILPOINTS")
	if dir == "" {
		return
	}
	path := filepath.Join(dir, name)
	if os.Rename(path, path+".hit") != nil {
		return // not armed, or another process took it
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil && self.Kill() == nil {
		select {} // the signal may reach another thread first
	}
	os.Exit(137)
}
