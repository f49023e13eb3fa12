package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one cgroup mount: a line of /proc/self/mountinfo.
type mount struct {
	root        string // the directory of the hierarchy that is mounted
	point       string // where
	kind        string // "cgroup" or "cgroup2"
	controllers []string
}

// controllersV1 are the controllers of version 1 that limits are set by.
func controllersV1() []string { return []string{"memory", "pids", "cpu"} }

// parseMounts returns the cgroup mounts in a mountinfo that are of use, version 2
// and those of version 1 with controllersV1:
//
//	41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
//
// The optional fields before the dash vary in number. Other lines, also ones
// that cannot be read, are skipped: they are other people's mounts.
func parseMounts(text []byte) []mount {
	var mounts []mount
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		_, kind, _ := bytes.Cut(line, []byte(" - "))
		if !bytes.HasPrefix(kind, []byte("cgroup2 ")) && (!bytes.HasPrefix(kind, []byte("cgroup ")) ||
			!slices.ContainsFunc(controllersV1(), func(c string) bool { return bytes.Contains(kind, []byte(c)) })) {
			continue
		}
		left, right, _ := strings.Cut(string(line), " - ")
		before, after := strings.Fields(left), strings.Fields(right)
		if len(before) < 6 || len(after) < 2 {
			continue
		}
		m := mount{root: unescapeMount(before[3]), point: unescapeMount(before[4]), kind: after[0]}
		if m.kind != "cgroup" && m.kind != "cgroup2" || !path.IsAbs(m.root) || !path.IsAbs(m.point) {
			continue
		}
		if m.kind == "cgroup" && len(after) > 2 {
			m.controllers = strings.Split(after[2], ",")
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescapeMount undoes the octal escapes of mountinfo: \040 is a space.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }

// ownCgroups is the text of /proc/PID/cgroup: the process' path for each
// controller of version 1, and for "" that of version 2.
//
//	4:memory:/user/1000
//	0::/
type ownCgroups string

// all goes through the controllers and their paths.
func (text ownCgroups) all(yield func(controller, path string) bool) {
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, at, ok := strings.Cut(rest, ":")
		if !ok || !path.IsAbs(at) {
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if !yield(controller, at) {
				return
			}
		}
	}
}

// of returns the path for a controller.
func (text ownCgroups) of(controller string) (at string, ok bool) {
	for c, path := range text.all {
		if c == controller {
			at, ok = path, true
		}
	}
	return at, ok
}

// directory returns where the mount shows a path of its hierarchy.
func (m mount) directory(own string) (string, bool) {
	if m.root == "/" {
		return path.Join(m.point, own), true
	}
	// Only a part of the hierarchy is mounted, as in a container.
	rest, ok := strings.CutPrefix(own, m.root)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return path.Join(m.point, rest), true
}

// places are the directories below which this process may make cgroups of its
// own: in each hierarchy the cgroup that it lives in.
type places struct {
	// unified is that of version 2, and the one above it: a cgroup that holds
	// processes cannot hand controllers down, so where systemd gave us a leaf,
	// a limit on memory is to be had only beside it.
	unified []string
	// v1 are those of controllersV1, as far as they are mounted.
	v1 map[string]string
}

// unifiedWith returns a place of version 2 where a controller may be used, or "".
func (p places) unifiedWith(controller string) string {
	for _, dir := range p.unified {
		var buf [512]byte
		n, err := readInto(filepath.Join(dir, "cgroup.subtree_control"), buf[:])
		if err == nil && slices.Contains(strings.Fields(string(buf[:n])), controller) && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return ""
}

// unifiedFor returns the place for a tree, preferably where its memory can be
// limited, or "".
func (p places) unifiedFor(memory bool) string {
	if memory {
		if dir := p.unifiedWith("memory"); dir != "" {
			return dir
		}
	}
	if len(p.unified) == 0 {
		return ""
	}
	return p.unified[0]
}

// ownPlaces finds them. A supervisor that was started by one of its servers
// lives in that server's cgroup; it must not make its next one there.
func ownPlaces() (places, error) {
	var room [4096]byte
	mountinfo, err := readAll("/proc/self/mountinfo", room[:])
	if err != nil {
		return places{}, err
	}
	mounts := parseMounts(mountinfo)
	cgroup, err := readAll("/proc/self/cgroup", room[:])
	if errors.Is(err, fs.ErrNotExist) {
		return places{}, nil // a kernel without cgroups
	}
	if err != nil {
		return places{}, fmt.Errorf("find the own cgroup: %w", err)
	}
	return findPlaces(mounts, ownCgroups(cgroup)), nil
}

func findPlaces(mounts []mount, own ownCgroups) places {
	p := places{v1: map[string]string{}}
	for _, m := range mounts {
		switch {
		case m.kind == "cgroup2" && p.unified == nil:
			at, ok := own.of("")
			if !ok {
				continue
			}
			at = outsideServers(at)
			for _, at := range []string{at, path.Dir(at)} {
				dir, ok := m.directory(at)
				if ok && !slices.Contains(p.unified, dir) {
					p.unified = append(p.unified, dir)
				}
			}
		case m.kind == "cgroup":
			for _, c := range controllersV1() {
				at, ok := own.of(c)
				if !ok || p.v1[c] != "" || !slices.Contains(m.controllers, c) {
					continue
				}
				if dir, ok := m.directory(outsideServers(at)); ok {
					p.v1[c] = dir
				}
			}
		}
	}
	return p
}

// cgroupPrefix begins the name of every cgroup that this package makes.
const cgroupPrefix = "berth-"

// outsideServers cuts a cgroup's path before the first part that is a server's.
func outsideServers(at string) string {
	end := 0
	for part := range strings.SplitSeq(at, "/") {
		if _, ok := cgroupKey(part); ok {
			return "/" + strings.Trim(at[:end], "/")
		}
		end += len(part) + 1
	}
	return at
}

// cgroupName returns berth-KEY-RANDOM.
func cgroupName(incarnation string) string {
	return cgroupPrefix + strings.Replace(incarnation, ".", "-", 1)
}

// cgroupKey returns the key in a name that cgroupName made.
func cgroupKey(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, cgroupPrefix)
	if !ok {
		return "", false
	}
	key, random, ok := strings.Cut(rest, "-")
	return key, ok && isKey(key) && isKey(random)
}

// cgroupsOf lists the directories below own places that belong to a key.
func cgroupsOf(p places, key string) []string {
	var found []string
	bases := slices.Collect(maps.Values(p.v1))
	for _, base := range append(bases, p.unified...) {
		dir, err := openRead(base)
		if err != nil {
			continue
		}
		// An error means that the cgroup is gone.
		for names := (entries{fd: dir}); ; {
			name, err := names.next()
			if err != nil || name == nil {
				break
			}
			if !bytes.HasPrefix(name, []byte(cgroupPrefix)) {
				continue
			}
			if k, ok := cgroupKey(string(name)); ok && k == key {
				found = append(found, filepath.Join(base, string(name)))
			}
		}
		unix.Close(dir)
	}
	return found
}
