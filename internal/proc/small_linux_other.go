//go:build linux && !amd64

package proc

// smallCode: the program is written for one architecture; on the others the init goes on
// as it is, which takes more memory.
func smallCode() []byte { return nil }

const smallMachine = 0
