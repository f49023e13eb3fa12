//go:build !linux

package shim

import "github.com/berth-run/berth/internal/proc"

// hooks are none: what confines a server here is its command (sandbox.Plan.Wrap) or
// its job, not what its process does to itself.
func hooks() proc.Hooks { return proc.Hooks{} }

// start starts the program as it is: Wrap has confined it.
func (j *jail) start(spec proc.Spec) (*proc.Tree, error) { return proc.Start(spec) }

// surroundings: nothing that confines this process changes what it can do here.
func surroundings() string { return "" }
