package home

import (
	"fmt"
	"os"
)

// RuntimeDir is where the state files are; a change of a server's state is a
// file put in place there.
func (h *Home) RuntimeDir() string { return h.path(runtimeDir) }

// RunDir is where the sockets are.
func (h *Home) RunDir() string { return h.path(runDir) }

// CanWrite returns an error if the home was opened for reading.
func (h *Home) CanWrite() error { return h.canWrite() }

// Scratch returns an empty file that nobody else can open: it is gone when it
// is closed, or its process ends, however.
func (h *Home) Scratch() (*os.File, error) {
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	f, err := scratch(h.path(runDir))
	if err != nil {
		return nil, fmt.Errorf("make a scratch file: %w", err)
	}
	return f, nil
}

// LockOf returns the lock that f, inherited across an exec, holds.
func LockOf(f *os.File) *Lock { return &Lock{f: f} }
