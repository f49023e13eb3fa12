// Package lazy makes values that most runs of a program have no use for when they are
// first asked for, and not while it is initialised.
package lazy

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles an expression, which must be right, when it is
// first called. Compiled with their packages, those of Berth were half a millisecond and
// more of each command.
func Regexp(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
