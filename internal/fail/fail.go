//go:build !failpoint

// Package fail kills its own process at a named point, so that tests can show
// what survives a crash there. It does so only in binaries that are built with
// the tag failpoint; in all others a point is nothing.
package fail

// Point marks a place where a crash must lose nothing. Names are unique in the
// program, lower-case words joined by dots and dashes ("start.before-spawn").
func Point(name string) {}
