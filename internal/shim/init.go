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
// started as one. It is here rather than in main because package initialisation
// of everything else would cost each shim about a megabyte. Packages of an
// importing program that the language initialises earlier (they sort before this
// one and do not depend on it) run in the shim as well.
//
// What a confined server needs imports package net, and so is initialised late.
// A process that is to have that is not made a shim here but by the init of
// package confined, the only other one of the program.
func init() { Main(os.Args, nil) }

// Main plays the role that args give to this process. It returns if they give
// none, or one that needs a Network where there is none.
func Main(args []string, network Network) {
	if len(args) == 0 {
		return
	}
	switch args[0] {
	case ShimName:
		if network != nil || !confines(args) {
			os.Exit(run(args, network))
		}
	case proc.InitName, proc.ExecName:
		proc.InitMain(args, hooks())
	case sandbox.ProbeName:
		sandbox.ProbeMain(args)
	}
}
