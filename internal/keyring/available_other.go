//go:build !unix || darwin

package keyring

// available says yes: the keyring of this system belongs to the user, not to a
// session, and there is always one.
func available() error { return nil }
