package shim

import (
	"os"

	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/sandbox"
)

// ShimName is the argv[0] by which an executable that links this package knows
// that it is to be a shim.
const ShimName = "berth-shim"

// init makes this process a shim, or one of package proc's helpers, when it was
// started as one. It is the only init function of the program, and it is here
// rather than in main because package initialisation of everything else would
// cost each shim about a megabyte. Packages of an importing program that the
// language initialises earlier (they sort before this one and do not depend on
// it) run in the shim as well.
func init() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case ShimName:
		os.Exit(run())
	case proc.InitName, proc.ExecName:
		proc.InitMain(os.Args, hooks())
	case sandbox.ProbeName:
		sandbox.ProbeMain(os.Args)
	}
}
