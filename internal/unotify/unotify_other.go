//go:build !linux

package unotify

// Listener and Call are there for signatures: nobody can make one.
type (
	Listener struct{ none struct{} }
	Call     struct{ none struct{} }
)
