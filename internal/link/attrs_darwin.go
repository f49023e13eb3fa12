package link

import (
	"strings"

	"golang.org/x/sys/unix"
)

// noAttr is the error for an attribute that is not there.
const noAttr = unix.ENOATTR

// systemAttr says whether an attribute is the system's own note of where a file came
// from, and no user's.
func systemAttr(name string) bool { return strings.HasPrefix(name, "com.apple.") }
