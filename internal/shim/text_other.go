//go:build !linux

package shim

// releaseText is a no-op: other systems take code that is not used out of memory
// when they need it, and count what processes share once.
func releaseText() {}

// forget is a no-op: what it saves was measured on Linux only.
func forget([]byte) {}
