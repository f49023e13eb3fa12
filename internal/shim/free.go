package shim

import _ "unsafe" // for go:linkname

// freeOSMemory is debug.FreeOSMemory. To import runtime/debug would have the shim wait
// for packages that sort before it: regexp, and age. See decision 022.
//
//go:linkname freeOSMemory runtime/debug.freeOSMemory
func freeOSMemory()
