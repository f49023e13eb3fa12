package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// evidence is what shows that a process belongs to a server.
type evidence struct {
	marker  []byte
	cgroups []cgroup
	members map[int]struct{} // of the cgroups, when they were read
	lock    string           // the name that the tree lock was opened by, or ""
	lockID  fileID
}

type fileID struct{ dev, ino uint64 }

// evidence reads the members of the cgroups, which the scan goes by.
func (q *Query) evidence() (*evidence, error) {
	if !isKey(q.Key) {
		return nil, fmt.Errorf("key %q is not 16 hex digits", q.Key)
	}
	e := &evidence{marker: incarnationMarker(q.Key + "."), members: map[int]struct{}{}}
	if err := e.setLock(q.TreeLock); err != nil {
		return nil, err
	}
	at, err := ownPlaces()
	if err != nil {
		return nil, err
	}
	paths := cgroupsOf(at, q.Key)
	for _, p := range q.CgroupPaths {
		// A record is a hint: only a directory that we name so is ours to end.
		p = filepath.Clean(p)
		if key, ok := cgroupKey(filepath.Base(p)); ok && key == q.Key && isCgroup(p) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		e.cgroups = append(e.cgroups, cgroup(p))
		list, err := cgroup(p).pids()
		if err != nil {
			return nil, err
		}
		for _, pid := range list {
			e.members[pid] = struct{}{}
		}
	}
	return e, nil
}

// evidenceOf is what a single incarnation can be found by.
func evidenceOf(incarnation, lock string) *evidence {
	e := &evidence{marker: incarnationMarker(incarnation)}
	if e.setLock(lock) != nil {
		e.lock = ""
	}
	return e
}

func (e *evidence) setLock(path string) error {
	if path == "" {
		return nil
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == unix.ENOENT {
		return nil // nobody ever started
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	e.lock, e.lockID = path, fileID{uint64(st.Dev), st.Ino}
	return nil
}

// isCgroup says whether the path is a directory of a cgroup filesystem.
func isCgroup(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC || st.Type == unix.CGROUP_SUPER_MAGIC
}

// scan lists the live processes for which something tells, but for this one, and
// the first of this PID namespace: if that carries our signs, this process runs
// inside a server's namespace, and the kernel lets nobody in it signal its init.
func (e *evidence) scan() ([]stat, error) {
	list, err := openPIDs()
	if err != nil {
		return nil, err
	}
	defer list.close()
	self := os.Getpid()
	var found []stat
	for {
		pid, err := list.next()
		if err != nil {
			return nil, err
		}
		if pid == 0 {
			return found, nil
		}
		if pid == self || pid == 1 {
			continue
		}
		if _, member := e.members[pid]; !member && !e.shows(pid) {
			continue
		}
		s, err := readStat(pid)
		switch {
		case isGone(err), err == nil && s.zombie():
		case err != nil:
			return nil, err
		default:
			found = append(found, s)
		}
	}
}

// shows says whether the process itself shows that it belongs.
func (e *evidence) shows(pid int) bool {
	return carries(pid, e.marker) == yes || e.locked(pid)
}

// tells says whether anything tells that the process belongs, cgroups included.
func (e *evidence) tells(s stat) bool {
	if e.shows(s.pid) {
		return true
	}
	for _, c := range e.cgroups {
		if in, err := c.holds(s.pid); in && err == nil {
			return true
		}
	}
	return false
}

// locked says whether the process has the tree lock open. Only descriptors that
// look like it are asked for their inode: to ask others could hang on a dead
// network filesystem.
func (e *evidence) locked(pid int) bool {
	if e.lock == "" {
		return false
	}
	dir, err := openProc(pid, "fd")
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	names := entries{fd: dir}
	for {
		// An error means that the process is gone; what was read before counts.
		name, err := names.next()
		if err != nil || name == nil {
			return false
		}
		var buf [512]byte
		target, err := readLink(dir, name, buf[:])
		if err != nil || !e.named(target, len(buf)) {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(dir, string(name), &st, 0) == nil && e.lockID == (fileID{uint64(st.Dev), st.Ino}) {
			return true
		}
	}
}

// named says whether a path may be that of the tree lock: it has its name at the
// end, or was cut off where a buffer of that size ends.
func (e *evidence) named(path []byte, size int) bool {
	name := e.lock[strings.LastIndexByte(e.lock, '/'):]
	return len(path) == size || len(path) >= len(name) && string(path[len(path)-len(name):]) == name
}

// endGroups ends the processes of each cgroup at once, where that is possible.
func (e *evidence) endGroups(ctx context.Context) error {
	for _, c := range e.cgroups {
		// A supervisor that one of the server's processes started may live in
		// the cgroup too.
		inside, err := c.holds(os.Getpid())
		if err != nil {
			return err
		}
		if _, err := c.populated(); inside || err != nil {
			continue // also version 1, which has no such file: the hunt will do
		}
		if err := c.killAll(); err != nil {
			return err
		}
		if err := c.waitEmpty(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// remove removes the cgroups, which are empty.
func (e *evidence) remove() error {
	var all error
	for _, c := range e.cgroups {
		if inside, err := c.holds(os.Getpid()); inside || err != nil {
			continue // it goes when we do
		}
		all = errors.Join(all, c.remove())
	}
	return all
}
