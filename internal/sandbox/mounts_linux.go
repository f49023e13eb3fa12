package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scratchOptions bound what a server can put into memory by way of /tmp.
const scratchOptions = "mode=1777,size=512m,nr_inodes=200k"

// mounting is one thing that the new root directory gets.
type mounting struct {
	path string
	kind mountKind
	tree int // of a bind, a clone of what is at path now; -1 where that is not there
	dir  bool
}

type mountKind int

// In the order in which those of one path are made: the last is the one that is seen.
const (
	scratchMount mountKind = iota // an empty directory in memory
	coverMount                    // the same, and nothing can be put there
	readMount
	writeMount
	deviceMount
	procMount
)

// Mounts makes the root directory of the mount namespace that this process, its init,
// is in: an empty one, in which there is what is planned and nothing else, so that no
// path leads to another file, device or socket. /proc must be that of the PID namespace
// already. The process keeps the right to mount; its children must not.
func (p *Plan) Mounts() error {
	if !p.Namespaces.Mount {
		return nil
	}
	if p.Namespaces.PID {
		if self, err := os.Readlink("/proc/self"); err != nil || self != "1" {
			return fmt.Errorf("make the root directory: /proc is not that of this PID namespace (self is %q, %v)", self, err)
		}
	}
	// Nothing that is mounted here shows outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the root directory: make mounts private: %w", err)
	}
	all, err := p.mountings()
	defer func() {
		for _, m := range all {
			if m.tree >= 0 {
				unix.Close(m.tree)
			}
		}
	}()
	if err != nil {
		return fmt.Errorf("make the root directory: %w", err)
	}
	if err := p.build(all); err != nil {
		return fmt.Errorf("make the root directory: %w", err)
	}
	// The server's processes are of this user too. What this one has open, its memory
	// and its environment are not theirs to look at by /proc/1.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the root directory: %w", err)
	}
	return nil
}

// mountings are those of the plan, parents first, each with a clone of what it shows:
// they are all taken before anything is covered.
func (p *Plan) mountings() ([]mounting, error) {
	var all []mounting
	add := func(kind mountKind, paths ...string) {
		for _, path := range paths {
			all = append(all, mounting{path: path, kind: kind, tree: -1, dir: true})
		}
	}
	if p.AllFiles {
		add(writeMount, "/")
	} else {
		add(scratchMount, p.scratch()...)
	}
	add(coverMount, p.Hide...)
	add(readMount, p.Read...)
	add(readMount, p.Exec...)
	add(writeMount, p.Write...)
	add(writeMount, p.Sockets...)
	add(deviceMount, devices()...)
	add(procMount, "/proc")
	slices.SortStableFunc(all, func(a, b mounting) int {
		if c := strings.Compare(a.path+"/", b.path+"/"); c != 0 {
			return c
		}
		return int(a.kind) - int(b.kind)
	})
	all = needed(all)
	for i := range all {
		m := &all[i]
		if m.kind == scratchMount || m.kind == coverMount {
			continue
		}
		if err := m.clone(); err != nil {
			return all, err
		}
	}
	return slices.DeleteFunc(all, func(m mounting) bool {
		return m.tree < 0 && m.kind != scratchMount && m.kind != coverMount
	}), nil
}

// needed leaves out what is seen anyway: another mounting of the same path follows, or
// the nearest one above shows it in the same way.
func needed(sorted []mounting) []mounting {
	var kept []mounting
	for i, m := range sorted {
		if i+1 < len(sorted) && sorted[i+1].path == m.path {
			continue
		}
		above := -1
		for j := len(kept) - 1; j >= 0; j-- {
			if within(m.path, kept[j].path) {
				above = j
				break
			}
		}
		shown := above >= 0 && (kept[above].kind == m.kind || kept[above].kind == writeMount && m.kind == readMount)
		hides := m.kind == coverMount && (above < 0 || kept[above].kind == scratchMount || kept[above].kind == coverMount)
		if shown && (m.kind == readMount || m.kind == writeMount) || hides {
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// clone takes what is at the path now, with what is mounted below it.
func (m *mounting) clone() error {
	fd, err := openPath(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), err == unix.ENOTDIR:
		return nil // nobody can see it
	case err != nil:
		return fmt.Errorf("open %s: %w", m.path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	m.dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	// In a user namespace mounts cannot be taken apart: all below come too.
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH | unix.AT_RECURSIVE
	if m.tree, err = unix.OpenTree(fd, "", flags); err != nil {
		m.tree = -1
		return fmt.Errorf("clone %s: %w", m.path, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	switch m.kind {
	case readMount:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	case procMount:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC
	case deviceMount:
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(m.tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("%s: set what may be done there: %w", m.path, err)
	}
	return nil
}

// build puts the mountings together in a directory and makes that the root.
func (p *Plan) build(all []mounting) error {
	base := ""
	for _, dir := range []string{"/tmp", "/run", "/mnt", "/var", "/etc"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			base = dir
			break
		}
	}
	if base == "" {
		return errors.New("no directory to begin with")
	}
	if err := unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	fd, err := openPath(base)
	if err != nil {
		return err
	}
	root := newRoot{fd}
	var covers []string
	for _, m := range all {
		if m.path == "/" {
			// The files as they are: what was made so far is below them.
			if err := unix.MoveMount(m.tree, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
				return fmt.Errorf("mount /: %w", err)
			}
			unix.Close(fd)
			if fd, err = openPath(base); err != nil {
				return err
			}
			root = newRoot{fd}
			continue
		}
		if err := root.mount(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
		if m.kind == coverMount {
			covers = append(covers, m.path)
		}
	}
	defer unix.Close(fd)
	if !p.AllFiles {
		if err := p.furnish(root); err != nil {
			return err
		}
	}
	for _, path := range covers {
		if err := root.freeze(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if !p.AllFiles {
		if err := root.freeze("/"); err != nil {
			return err
		}
	}
	// pivot_root(2): "new_root and put_old may be the same directory", the old root is
	// then on top of the new one, and goes.
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// furnish makes the links, and the directory in which the server starts.
func (p *Plan) furnish(root newRoot) error {
	links := map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2", "/var/tmp": "/tmp"}
	if within(p.Dir, "/var/tmp") {
		delete(links, "/var/tmp") // where it is to run
	}
	for path, target := range p.Links {
		links[path] = target
	}
	for path, target := range links {
		if err := root.link(path, target); err != nil {
			return fmt.Errorf("link %s: %w", path, err)
		}
	}
	if p.Dir != "" {
		if err := root.makeDir(p.Dir, true); err != nil {
			return fmt.Errorf("make %s: %w", p.Dir, err)
		}
	}
	return nil
}

// newRoot is the directory that becomes the root.
type newRoot struct{ fd int }

func relative(path string) string {
	if path = strings.TrimPrefix(path, "/"); path == "" {
		return "."
	}
	return path
}

func (r newRoot) mount(m mounting) error {
	if err := r.makeDir(m.path, m.dir); err != nil {
		return err
	}
	at, err := openBelow(r.fd, relative(m.path))
	if err != nil {
		return err
	}
	defer unix.Close(at)
	switch m.kind {
	case scratchMount, coverMount:
		options := scratchOptions
		if m.kind == coverMount {
			options = "mode=755,size=1m"
		}
		return unix.Mount("tmpfs", fmt.Sprintf("/proc/self/fd/%d", at), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	return unix.MoveMount(m.tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// makeDir makes a directory, or an empty file, for something to be mounted on, and what
// is above it. What is there already stays.
func (r newRoot) makeDir(path string, dir bool) error {
	at := relative(path)
	if at == "." {
		return nil
	}
	if fd, err := openBelow(r.fd, at); err == nil {
		unix.Close(fd)
		return nil
	}
	parts := strings.Split(at, "/")
	for i := range parts {
		part := strings.Join(parts[:i+1], "/")
		last := i == len(parts)-1
		var err error
		if last && !dir {
			err = unix.Mknodat(r.fd, part, unix.S_IFREG|0o444, 0)
		} else {
			err = unix.Mkdirat(r.fd, part, 0o755)
		}
		if err != nil && err != unix.EEXIST && err != unix.EROFS {
			return err
		}
	}
	return nil
}

// link makes a symbolic link unless there is something.
func (r newRoot) link(path, target string) error {
	at := relative(path)
	var st unix.Stat_t
	if unix.Fstatat(r.fd, at, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil
	}
	if err := r.makeDir(filepath.Dir(path), true); err != nil {
		return err
	}
	err := unix.Symlinkat(target, r.fd, at)
	if err == unix.EROFS || err == unix.EEXIST {
		return nil // in a directory that is shown as it is, and in which it is gone
	}
	return err
}

// freeze makes one of the tmpfs mounts unchangeable.
func (r newRoot) freeze(path string) error {
	fd, err := openBelow(r.fd, relative(path))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}
