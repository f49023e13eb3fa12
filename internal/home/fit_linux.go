package home

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// networkKind names the network filesystem that dir is on; it is empty for a
// local one, and for one that cannot be found out: the locks are tried anyway.
func networkKind(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	// The width of Type differs between architectures; magics are 32 bits.
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "smb"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "afs"
	case unix.CODA_SUPER_MAGIC:
		return "coda"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case 0x0bd00bd0:
		return "lustre"
	case 0x47504653:
		return "gpfs"
	case 0x19830326:
		return "beegfs"
	case unix.FUSE_SUPER_MAGIC:
		return networkFuse(dir)
	}
	return ""
}

// networkFuse names the FUSE filesystem that dir is on if it is known to reach
// over a network, or to another kernel; most (encrypting, joining, NTFS) do not.
func networkFuse(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return ""
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer mounts.Close()
	device := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)))
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if kind := fuseKind(lines.Text(), device); kind != "" {
			return kind
		}
	}
	return ""
}

// fuseKind reads a line of mountinfo(5): "36 35 98:0 /root /mnt options
// [tags…] - type source options".
func fuseKind(line, device string) string {
	mount, fs, ok := strings.Cut(line, " - ")
	if !ok {
		return ""
	}
	if f := strings.Fields(mount); len(f) < 3 || f[2] != device {
		return ""
	}
	kind, _, _ := strings.Cut(fs, " ")
	name := strings.TrimPrefix(kind, "fuse.")
	remote := []string{
		"virtiofs", "grpcfuse", "sshfs", "rclone", "s3fs", "s3ql", "goofys", "mountpoint-s3", "gcsfuse",
		"blobfuse", "blobfuse2", "davfs", "davfs2", "curlftpfs", "smbnetfs", "glusterfs", "ceph", "ceph-fuse",
		"juicefs", "seaweedfs", "moosefs", "mfs", "lizardfs", "gvfsd-fuse", "google-drive-ocamlfuse", "onedriver",
	}
	if slices.Contains(remote, name) {
		return kind
	}
	return ""
}
