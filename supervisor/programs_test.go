//go:build unix

package supervisor_test

import (
	"os"
	"path/filepath"
	"syscall"
)

// program writes an executable shell script and returns its path.
func (w *world) program(script string) string {
	w.Helper()
	path := filepath.Join(shortDir(w.T), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		w.Fatal(err)
	}
	return path
}

// gate returns the path of a pipe at which servers wait: `read x <PATH`.
func (w *world) gate() string {
	w.Helper()
	path := filepath.Join(shortDir(w.T), "gate")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		w.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{path: 0o666, filepath.Dir(path): 0o755} { // for servers of any user
		if err := os.Chmod(path, mode); err != nil {
			w.Fatal(err)
		}
	}
	return path
}

// open lets one server pass a gate, as soon as it waits there.
func (w *world) open(gate string) {
	w.Helper()
	f, err := os.OpenFile(gate, os.O_WRONLY, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("go\n"); err != nil {
		w.Fatal(err)
	}
}
