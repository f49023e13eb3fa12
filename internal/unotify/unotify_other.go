//go:build !linux

package unotify

// Listener and Call are there for signatures: nothing here makes one.
type (
	Listener struct{}
	Call     struct{}
)
