package supervisor_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// surroundings are what a process has that a test could leave behind.
type surroundings struct {
	descriptors []string // what they are open on
	children    []int
}

func lookAround(t *testing.T) surroundings {
	t.Helper()
	var s surroundings
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// The runtime's own, and the directory that was just read.
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") || strings.HasSuffix(target, "/fd") {
			continue
		}
		s.descriptors = append(s.descriptors, e.Name()+" "+target)
	}
	s.children = childrenOf(t, os.Getpid())
	return s
}

// nothingLeft fails the test if something is left that was not there before.
// It looks again for a while: that a shim was reaped, by a goroutine of the
// library, or that a process which nobody waits for vanished, is no event.
func (w *world) nothingLeft(before surroundings) {
	w.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		faults := w.left(before)
		if len(faults) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, f := range faults {
				w.Error("left behind: " + f)
			}
			return
		}
		time.Sleep(pause)
	}
}

func (w *world) left(before surroundings) (faults []string) {
	w.Helper()
	now := lookAround(w.T)
	for _, d := range now.descriptors {
		if !slices.Contains(before.descriptors, d) {
			faults = append(faults, "descriptor "+d)
		}
	}
	for _, pid := range now.children {
		if !slices.Contains(before.children, pid) {
			faults = append(faults, "child "+describe(pid))
		}
	}
	for _, name := range w.servers() {
		for _, pid := range w.membersOf(name) {
			faults = append(faults, "process of "+name+": "+describe(pid))
		}
		for _, dir := range w.cgroupsOf(name) {
			faults = append(faults, "cgroup "+dir)
		}
	}
	return faults
}

// membersOf lists the processes that carry the mark of the server, whoever
// their parent is. It looks without the library, which might overlook some.
func (w *world) membersOf(name string) []int {
	w.Helper()
	mark := []byte("BERTH_INCARNATION=" + w.key(name) + ".")
	var found []int
	for _, pid := range processes(w.T) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && (bytes.HasPrefix(environ, mark) || bytes.Contains(environ, append([]byte{0}, mark...))) {
			found = append(found, pid)
		}
	}
	return found
}

// cgroupsOf lists the cgroups that were made for the server.
func (w *world) cgroupsOf(name string) []string {
	w.Helper()
	prefix := "berth-" + w.key(name) + "-"
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // of another user, or gone meanwhile
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), prefix) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return found
}

func processes(t testing.TB) []int {
	t.Helper()
	dir, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// childrenOf lists the children of a process, zombies included.
func childrenOf(t testing.TB, parent int) []int {
	t.Helper()
	var found []int
	for _, pid := range processes(t) {
		if f := statOf(pid); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			found = append(found, pid)
		}
	}
	return found
}

// statOf returns the fields of /proc/PID/stat from the third on, the state; none
// if the process is gone. The name before them may hold anything.
func statOf(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

// describe returns the pid, state and command line of a process.
func describe(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	state := "gone"
	if f := statOf(pid); len(f) > 0 {
		state = f[0]
	}
	return fmt.Sprintf("pid %d (%s) %q", pid, state, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
}
