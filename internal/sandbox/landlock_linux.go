package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock (landlock(7)) denies every kind of access that a ruleset handles and no
// rule allows. What a kernel can handle is known by the version of the interface,
// which this package asks for itself: a right that is not handled is not denied, so it
// must be known, and reported, which are not.

// landlockVersion is the version of the interface, 0 where there is none.
func landlockVersion() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

const (
	readFile    = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readRights  = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile   = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeRights = writeFile | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER |
		// what it listens on itself, it may connect to
		unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	// fileRights are those that a rule on something other than a directory may have.
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | readFile | writeFile |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV | unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
)

// handled are the rights on files that a version knows.
func handled(version int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1) // all of version 1
	for _, later := range []struct {
		version int
		right   uint64
	}{
		{2, unix.LANDLOCK_ACCESS_FS_REFER},
		{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		{5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
		{9, unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX},
	} {
		if version >= later.version {
			rights |= later.right
		}
	}
	return rights
}

// The versions that brought what guarantees depend on.
const (
	landlockTruncate = 3
	landlockTCP      = 4
	landlockDevices  = 5
	landlockScope    = 6
	landlockUnix     = landlockUnixSockets
)

// rule is one path and what may be done in it.
type rule struct {
	path   string
	rights uint64
}

// rulesOnFiles are those of a plan; of a path that is there more than once the rights
// add up, in the kernel.
func (p *Plan) rulesOnFiles() []rule {
	var all []rule
	add := func(rights uint64, paths ...string) {
		for _, path := range paths {
			all = append(all, rule{path, rights})
		}
	}
	add(readRights, p.Read...)
	add(readRights|unix.LANDLOCK_ACCESS_FS_EXECUTE, p.Exec...)
	add(readRights|writeRights, p.Write...)
	add(unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX|readFile|unix.LANDLOCK_ACCESS_FS_WRITE_FILE, p.Sockets...)
	add(readFile|unix.LANDLOCK_ACCESS_FS_WRITE_FILE|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, devices()...)
	add(readRights|writeRights, p.scratch()...)
	add(readRights, procSelf(p.procPaths())...)
	if p.AllFiles && p.Namespaces.Mount {
		// Devices and /proc are as harmless there as Mounts made them. Elsewhere
		// Compile has named what is in the root directory.
		add(readRights|writeRights, "/")
	}
	if p.AllPrograms {
		// What may be read may be executed.
		for _, r := range all {
			if r.rights&readFile != 0 && r.rights&unix.LANDLOCK_ACCESS_FS_IOCTL_DEV == 0 {
				add(unix.LANDLOCK_ACCESS_FS_EXECUTE, r.path)
			}
		}
	}
	return all
}

// landlock puts the calling thread into a domain of its own.
func (p *Plan) landlock(version int) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handled(version)}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if version >= landlockTCP {
		size += unsafe.Sizeof(attr.Handled_access_net)
		// A belt: it knows ports and no addresses, and neither MPTCP nor Fast Open.
		if !p.Namespaces.Net && p.Net != NetOpen {
			attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
			if p.Notify {
				attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP // the supervisor connects, for it
			}
		}
	}
	if version >= landlockScope {
		size += unsafe.Sizeof(attr.Scoped)
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	r, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("landlock: make a ruleset of version %d: %w", version, errno)
	}
	ruleset := int(r)
	defer unix.Close(ruleset)
	for _, rule := range p.rulesOnFiles() {
		if err := allow(ruleset, rule, attr.Handled_access_fs); err != nil {
			return err
		}
	}
	for _, port := range p.Ports {
		if attr.Handled_access_net&unix.LANDLOCK_ACCESS_NET_BIND_TCP == 0 {
			break
		}
		at := struct{ access, port uint64 }{unix.LANDLOCK_ACCESS_NET_BIND_TCP, uint64(port)}
		const rulePort = 2
		if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), rulePort, uintptr(unsafe.Pointer(&at)), 0, 0, 0); errno != 0 {
			return fmt.Errorf("landlock: allow port %d: %w", port, errno)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// allow adds a rule. A path that is not there, or no longer, needs none: what comes
// to be there later is denied. So is what this user cannot look up.
func allow(ruleset int, r rule, handled uint64) error {
	fd, err := openPath(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), err == unix.ENOTDIR:
		return nil
	case err != nil:
		return fmt.Errorf("landlock: open %s: %w", r.path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("landlock: %s: %w", r.path, err)
	}
	rights := r.rights & handled
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	if rights == 0 {
		return nil // a socket, before Landlock knew of them
	}
	at := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&at)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("landlock: allow %s: %w", r.path, errno)
	}
	return nil
}
