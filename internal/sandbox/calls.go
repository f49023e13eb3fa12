package sandbox

// architecture is what the filter must know of a processor: how the kernel names it in
// seccomp_data.arch, whether it has the x32 calls, and the numbers of system calls.
type architecture struct {
	audit   uint32
	x32     bool
	numbers func(call) (amd64, arm64 int)
}

const (
	auditAMD64 = 0xc000003e
	auditARM64 = 0xc00000b7
)

// architectureOf returns that of a GOARCH.
func architectureOf(goarch string) (architecture, bool) {
	switch goarch {
	case "amd64":
		return architecture{audit: auditAMD64, x32: true, numbers: numbersOf}, true
	case "arm64":
		return architecture{audit: auditARM64, numbers: numbersOf}, true
	}
	return architecture{}, false
}

// number returns the number of a call here; not all are on each architecture.
func (a architecture) number(c call) (uint32, bool) {
	amd64, arm64 := a.numbers(c)
	n := amd64
	if a.audit == auditARM64 {
		n = arm64
	}
	return uint32(n), n >= 0
}

// call is the name of a system call.
type call string

// numbersOf is the table of system calls: -1 is one that the architecture does not
// have. A test compares it with those of package unix.
func numbersOf(c call) (amd64, arm64 int) {
	switch c {
	case "ptrace":
		return 101, 117
	case "process_vm_readv":
		return 310, 270
	case "process_vm_writev":
		return 311, 271
	case "process_madvise":
		return 440, 440
	case "kcmp":
		return 312, 272
	case "pidfd_getfd":
		return 438, 438
	case "perf_event_open":
		return 298, 241
	case "bpf":
		return 321, 280
	case "userfaultfd":
		return 323, 282
	case "io_uring_setup":
		return 425, 425
	case "io_uring_enter":
		return 426, 426
	case "io_uring_register":
		return 427, 427
	case "keyctl":
		return 250, 219
	case "add_key":
		return 248, 217
	case "request_key":
		return 249, 218
	case "mount":
		return 165, 40
	case "umount2":
		return 166, 39
	case "pivot_root":
		return 155, 41
	case "chroot":
		return 161, 51
	case "move_mount":
		return 429, 429
	case "open_tree":
		return 428, 428
	case "open_tree_attr":
		return 467, 467
	case "fsopen":
		return 430, 430
	case "fsconfig":
		return 431, 431
	case "fsmount":
		return 432, 432
	case "fspick":
		return 433, 433
	case "mount_setattr":
		return 442, 442
	case "setns":
		return 308, 268
	case "unshare":
		return 272, 97
	case "clone":
		return 56, 220
	case "clone3":
		return 435, 435
	case "kexec_load":
		return 246, 104
	case "kexec_file_load":
		return 320, 294
	case "init_module":
		return 175, 105
	case "finit_module":
		return 313, 273
	case "delete_module":
		return 176, 106
	case "reboot":
		return 169, 142
	case "swapon":
		return 167, 224
	case "swapoff":
		return 168, 225
	case "acct":
		return 163, 89
	case "quotactl":
		return 179, 60
	case "quotactl_fd":
		return 443, 443
	case "settimeofday":
		return 164, 170
	case "clock_settime":
		return 227, 112
	case "sethostname":
		return 170, 161
	case "setdomainname":
		return 171, 162
	case "lookup_dcookie":
		return 212, 18
	case "vhangup":
		return 153, 58
	case "syslog":
		return 103, 116
	case "iopl":
		return 172, -1
	case "ioperm":
		return 173, -1
	case "open_by_handle_at":
		return 304, 265
	case "modify_ldt":
		return 154, -1
	case "uselib":
		return 134, -1
	case "ustat":
		return 136, -1
	case "sysfs":
		return 139, -1
	case "fanotify_init":
		return 300, 262
	case "move_pages":
		return 279, 239
	case "migrate_pages":
		return 256, 238
	case "socket":
		return 41, 198
	case "socketpair":
		return 53, 199
	case "connect":
		return 42, 203
	case "listen":
		return 50, 201
	case "sendto":
		return 44, 206
	case "sendmsg":
		return 46, 211
	case "sendmmsg":
		return 307, 269
	case "ioctl":
		return 16, 29
	case "prlimit64":
		return 302, 261
	case "open":
		return 2, -1
	case "openat":
		return 257, 56
	case "openat2":
		return 437, 437
	case "creat":
		return 85, -1
	case "stat":
		return 4, -1
	case "lstat":
		return 6, -1
	case "newfstatat":
		return 262, 79
	case "statx":
		return 332, 291
	case "access":
		return 21, -1
	case "faccessat":
		return 269, 48
	case "faccessat2":
		return 439, 439
	case "readlink":
		return 89, -1
	case "readlinkat":
		return 267, 78
	case "chdir":
		return 80, 49
	case "execve":
		return 59, 221
	case "execveat":
		return 322, 281
	case "mkdir":
		return 83, -1
	case "mkdirat":
		return 258, 34
	case "unlink":
		return 87, -1
	case "unlinkat":
		return 263, 35
	case "rmdir":
		return 84, -1
	case "rename":
		return 82, -1
	case "renameat":
		return 264, 38
	case "renameat2":
		return 316, 276
	case "link":
		return 86, -1
	case "linkat":
		return 265, 37
	case "symlink":
		return 88, -1
	case "symlinkat":
		return 266, 36
	case "truncate":
		return 76, 45
	case "shmget":
		return 29, 194
	case "shmat":
		return 30, 196
	case "shmctl":
		return 31, 195
	case "semget":
		return 64, 190
	case "semop":
		return 65, 193
	case "semctl":
		return 66, 191
	case "semtimedop":
		return 220, 192
	case "msgget":
		return 68, 186
	case "msgsnd":
		return 69, 189
	case "msgrcv":
		return 70, 188
	case "msgctl":
		return 71, 187
	case "mq_open":
		return 240, 180
	case "mq_unlink":
		return 241, 181
	}
	return -1, -1
}

// deniedAlways are calls that no server needs and that reach other processes, the
// kernel's insides, or around what the other layers check. Most need a capability that
// the server does not have; the kernel's check of it is not relied upon.
func deniedAlways() []call {
	return []call{
		// other processes
		"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
		"move_pages", "migrate_pages",
		// io_uring does in the kernel's name what a filter of calls does not see
		"io_uring_setup", "io_uring_enter", "io_uring_register",
		// wide surfaces of the kernel
		"bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "fanotify_init",
		"modify_ldt", "uselib", "ustat", "sysfs", "lookup_dcookie", "open_by_handle_at",
		// mounts and namespaces
		"mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr",
		"fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns", "unshare",
		// the machine
		"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot",
		"swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime",
		"sethostname", "setdomainname", "vhangup", "syslog", "iopl", "ioperm",
	}
}

// sharedIPC are calls whose objects all processes of a user share, unless they have an
// IPC namespace.
func sharedIPC() []call {
	return []call{
		"shmget", "shmat", "shmctl", "semget", "semop", "semctl", "semtimedop",
		"msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
	}
}
