package sandbox

// readable are the files and directories of the system that programs need. None of them
// holds what is a user's; Compile leaves out of them what must not be seen.
func readable() []string {
	return []string{
		"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/share",
		"/usr/include", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/usr/local/lib64", "/usr/local/share",
		"/usr/local/include", "/usr/local/libexec", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/nix/store", "/gnu/store",
		// how libraries, names, users, time zones, certificates and languages are found
		"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
		"/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
		"/etc/protocols", "/etc/hostname", "/etc/passwd", "/etc/group", "/etc/localtime", "/etc/timezone",
		"/etc/locale.alias", "/etc/locale.conf", "/etc/default/locale", "/etc/os-release", "/etc/debian_version",
		"/etc/alternatives", "/etc/mime.types", "/etc/magic",
		"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem",
		"/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates", "/etc/crypto-policies",
		"/etc/python3", "/etc/fonts", "/var/cache/fontconfig",
		"/sys/devices/system/cpu", "/sys/devices/system/node",
	}
}

// devices may be read and written, with what ioctl does on them. /dev/tty is the
// server's own terminal, of which it has none; what could be typed into one by
// TIOCSTI, the filter refuses.
func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
}

// scratch are the directories for what is only for a moment.
func (p *Plan) scratch() []string {
	if p.Namespaces.Mount {
		return []string{"/tmp", "/dev/shm"}
	}
	// Semaphores of python's multiprocessing and of others are here and nowhere
	// else. It is the one place that a server shares with the user's other programs.
	all := []string{"/dev/shm"}
	if p.Tmp != "" {
		all = append(all, p.Tmp)
	}
	return all
}

// procPaths are what of /proc may be read. Without a PID namespace these are the
// process itself, not its children, and what is the machine's and not a process's.
func (p *Plan) procPaths() []string {
	if p.Namespaces.PID {
		return []string{"/proc"}
	}
	return []string{
		"/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version",
		"/proc/filesystems", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/ostype", "/proc/sys/kernel/version",
		"/proc/sys/kernel/ngroups_max", "/proc/sys/kernel/cap_last_cap", "/proc/sys/kernel/random/uuid",
		"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count", "/proc/sys/fs/pipe-max-size",
		"/proc/sys/fs/inotify/max_user_watches", "/proc/sys/net/core/somaxconn",
	}
}

// carves: Landlock cannot take a directory out of one that is allowed.
const carves = false
