package link

import "golang.org/x/sys/unix"

// noAttr is the error for an attribute that is not there.
const noAttr = unix.ENODATA

// systemAttr says whether an attribute is the system's own note, and no user's.
func systemAttr(string) bool { return false }
