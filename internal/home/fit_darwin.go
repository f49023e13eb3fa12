package home

import (
	"slices"

	"golang.org/x/sys/unix"
)

// networkKind names the network filesystem that dir is on; it is empty for a
// local one, and for one that cannot be found out: the locks are tried anyway.
func networkKind(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	kind := unix.ByteSliceToString(st.Fstypename[:])
	remote := []string{"nfs", "smbfs", "afpfs", "webdav", "ftp", "9p", "virtiofs", "macfuse_sshfs", "osxfuse_sshfs"}
	if slices.Contains(remote, kind) || st.Flags&unix.MNT_LOCAL == 0 {
		return kind
	}
	return ""
}
