//go:build unix

package home

import "os"

// logOpenAppend opens the log at path so that every write goes to its end; it
// can be read too, to see how it ends.
func logOpenAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
}

// logOpenShared opens a log for reading without keeping its writer from
// renaming it.
func logOpenShared(path string) (*os.File, error) {
	return os.Open(path)
}
