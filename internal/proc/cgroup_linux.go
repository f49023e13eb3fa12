package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroup is the directory of one cgroup, of either version.
type cgroup string

func makeCgroup(base, incarnation string) (cgroup, error) {
	dir := filepath.Join(base, cgroupName(incarnation))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return cgroup(dir), nil
}

func (c cgroup) file(name string) string { return filepath.Join(string(c), name) }

func (c cgroup) write(name, text string) error {
	f, err := os.OpenFile(c.file(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// counter returns the number behind a word in a file of "word number" lines.
func (c cgroup) counter(name, word string) (uint64, bool) {
	var buf [4096]byte
	n, err := readInto(c.file(name), buf[:])
	if err != nil {
		return 0, false
	}
	return parseCounter(buf[:n], word)
}

func parseCounter(text []byte, word string) (uint64, bool) {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if name, number, ok := bytes.Cut(line, []byte{' '}); ok && string(name) == word {
			v, err := parseNumber(number)
			return v, err == nil
		}
	}
	return 0, false
}

// pids lists the processes in the cgroup and below it. A cgroup that is gone
// has none.
func (c cgroup) pids() ([]int, error) {
	list, err := c.ownPIDs(nil)
	if err != nil {
		return nil, err
	}
	below, err := c.below()
	if err != nil {
		return nil, err
	}
	for _, sub := range below {
		more, err := sub.pids()
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// ownPIDs appends the processes in the cgroup itself.
func (c cgroup) ownPIDs(list []int) ([]int, error) {
	var room [1024]byte
	text, err := readAll(c.file("cgroup.procs"), room[:])
	if err != nil {
		// ENODEV: the cgroup was removed after the file was opened.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return list, nil
		}
		return nil, err
	}
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		pid, err := strconv.Atoi(string(line))
		// A process of another PID namespace is listed as 0.
		if err == nil && pid > 0 {
			list = append(list, pid)
		}
	}
	return list, nil
}

// below lists the cgroups in this one.
func (c cgroup) below() ([]cgroup, error) {
	dir, err := openRead(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var found []cgroup
	for names := (entries{fd: dir}); ; {
		name, err := names.next()
		if err == unix.ENOENT || err == nil && name == nil { // ENOENT: it was removed
			return found, nil
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: string(c), Err: err}
		}
		if names.kind == unix.DT_DIR && string(name) != "." && string(name) != ".." {
			found = append(found, cgroup(c.file(string(name))))
		}
	}
}

// holds says whether the process is in the cgroup or below it. The name of the
// cgroup is random, so it is enough to meet it in the process' own path.
func (c cgroup) holds(pid int) (bool, error) {
	var room [1024]byte
	text, err := readAll(procPath(pid, "cgroup"), room[:])
	if err != nil {
		if isGone(goneOr(err)) {
			return false, nil
		}
		return false, err
	}
	name := filepath.Base(string(c))
	for _, at := range ownCgroups(text).all {
		for part := range strings.SplitSeq(at, "/") {
			if part == name {
				return true, nil
			}
		}
	}
	return false, nil
}

// populated reads cgroup.events (version 2).
func (c cgroup) populated() (bool, error) {
	var buf [256]byte
	n, err := readInto(c.file("cgroup.events"), buf[:])
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return parsePopulated(buf[:n])
}

func parsePopulated(text []byte) (bool, error) {
	v, ok := parseCounter(text, "populated")
	if !ok {
		return false, fmt.Errorf("no populated in cgroup.events: %q", clip(text))
	}
	return v != 0, nil
}

// waitEmpty blocks until the cgroup has no process. The kernel reports the
// change as an event on cgroup.events, which the poller sees.
func (c cgroup) waitEmpty(ctx context.Context) error {
	f, err := os.Open(c.file("cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return waitReady(ctx, f, func(fd int) (bool, error) {
		var buf [256]byte
		n, err := unix.Pread(fd, buf[:], 0)
		switch {
		case err == unix.ENODEV:
			return true, nil
		case err == unix.EINTR:
			return false, nil
		case err != nil:
			return false, err
		}
		populated, err := parsePopulated(buf[:n])
		return !populated, err
	})
}

// killAll sends SIGKILL to every process in the cgroup (version 2). Kernels
// before 5.14 have no cgroup.kill; there the cgroup is frozen meanwhile, so that
// nothing is forked.
//
// cgroup.kill signals the first thread of each process (send_sig in
// __cgroup_kill). If that one has ended while others go on, nothing happens to
// the process: seen on Linux 6.18. So whoever is left is signalled as a process
// too, and cgroup.kill comes again for what that one forked meanwhile.
func (c cgroup) killAll() error {
	seen := map[int]struct{}{os.Getpid(): {}}
	for {
		err := c.write("cgroup.kill", "1")
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(string(c)); errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err := c.write("cgroup.freeze", "1"); err != nil {
				return err
			}
			defer func() { _ = c.write("cgroup.freeze", "0") }()
		} else if err != nil {
			return err
		}
		fresh, err := c.signalFresh(syscall.SIGKILL, seen)
		// Who may not be signalled, such as a setuid program, is killed by
		// cgroup.kill all the same.
		if err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
		if fresh == 0 {
			return nil
		}
	}
}

// terminateAll sends SIGTERM to every process in the cgroup, and to those that
// were forked meanwhile, for some rounds: one that never stops forking is left
// to the kill.
func (c cgroup) terminateAll() error {
	const rounds = 8
	seen := map[int]struct{}{os.Getpid(): {}}
	for range rounds {
		fresh, err := c.signalFresh(syscall.SIGTERM, seen)
		if fresh == 0 || err != nil {
			return err
		}
	}
	return nil
}

// signalFresh signals the processes in the cgroup that are not in seen, adds
// them to it, and counts them.
func (c cgroup) signalFresh(sig syscall.Signal, seen map[int]struct{}) (int, error) {
	list, err := c.pids()
	if err != nil {
		return 0, err
	}
	fresh := 0
	var refused error
	for _, pid := range list {
		if _, old := seen[pid]; old {
			continue
		}
		seen[pid] = struct{}{}
		fresh++
		if err := signalIf(pid, sig, func() (bool, error) { return c.holds(pid) }); err != nil {
			refused = err
		}
	}
	return fresh, refused
}

// remove removes the cgroup and what the server made below it. It is empty.
func (c cgroup) remove() error {
	err := unix.Rmdir(string(c))
	if err == nil || err == unix.ENOENT {
		return nil
	}
	below, readErr := c.below()
	if readErr != nil {
		return &os.PathError{Op: "rmdir", Path: string(c), Err: err}
	}
	for _, sub := range below {
		if err := sub.remove(); err != nil {
			return err
		}
	}
	err = unix.Rmdir(string(c))
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: string(c), Err: err}
}

func parseNumber(text []byte) (uint64, error) {
	return strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
}
