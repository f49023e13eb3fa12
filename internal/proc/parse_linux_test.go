package proc

import (
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestParseStat(t *testing.T) {
	rest := " S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 987654 0 0\n"
	want := stat{pid: 42, state: 'S', ppid: 2, pgrp: 3, session: 4, threads: 18, start: 987654}
	// Fields 5 to 22 count up: the 20th is 18, and the 22nd is the start.
	rest = strings.Replace(rest, "18 19 987654", "18 0 987654", 1)
	for _, name := range []string{"sh", "", "a b", ")", "(", ") R 1 1 1 (", "x\ny", "\xff", "((()))"} {
		got, err := parseStat([]byte("42 (" + name + ")" + rest))
		if err != nil || got != want {
			t.Errorf("name %q: %+v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (sh", "42 sh)", ") (", "x (sh)" + rest, "0 (sh)" + rest, "-1 (sh)" + rest, "42 (sh) S 2 3", "42 (sh) S x" + rest, "42 (sh) \x00" + rest[2:], "42 (sh) SS" + rest[2:]} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0"))
	f.Add([]byte("1 () Z 0 1 1"))
	f.Add([]byte("1()\x00 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := parseStat(line)
		if err != nil {
			return
		}
		if s.pid <= 0 || !unicode.IsLetter(rune(s.state)) || s.state > unicode.MaxASCII {
			t.Errorf("%q parsed as %+v", line, s)
		}
		// What it means does not depend on the program's name.
		text := string(line)
		open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		if again, err := parseStat([]byte(text[:open] + "(x y)" + text[end+1:])); err != nil || again != s {
			t.Errorf("with another name: %+v, %v; was %+v", again, err, s)
		}
	})
}

const hybrid = `23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 master:2 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

func TestFindPlaces(t *testing.T) {
	cases := []struct {
		name, mounts, own string
		want              places
	}{
		{"hybrid", hybrid, "4:memory:/user/7\n0::/\n", places{unified: []string{"/sys/fs/cgroup/unified"}, v1: map[string]string{"memory": "/sys/fs/cgroup/memory/user/7"}}},
		{
			"systemd", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/a.scope\n",
			places{unified: []string{"/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup/user.slice"}},
		},
		{
			"container", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/abc/x\n",
			places{unified: []string{"/sys/fs/cgroup/x", "/sys/fs/cgroup"}},
		},
		{"outside of the mount", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/abcd\n", places{}},
		{
			"top of a container", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/abc\n",
			places{unified: []string{"/sys/fs/cgroup"}},
		},
		{"spaces", `30 23 0:26 / /my\040cgroups\134x rw - cgroup2 cgroup2 rw` + "\n", "0::/a b\n", places{unified: []string{`/my cgroups\x/a b`, `/my cgroups\x`}}},
		{"nothing", "", "", places{}},
		{"no version 2", hybrid, "4:memory:/\n", places{v1: map[string]string{"memory": "/sys/fs/cgroup/memory"}}},
		{
			"controllers together", "31 23 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n32 23 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n33 23 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
			"3:cpu,cpuacct:/a\n2:pids:/b\n1:cpuset:/c\n", places{v1: map[string]string{"cpu": "/sys/fs/cgroup/cpu/a", "pids": "/sys/fs/cgroup/pids/b"}},
		},
		{"colons in the name", hybrid, "4:memory:/a:b:c\n", places{v1: map[string]string{"memory": "/sys/fs/cgroup/memory/a:b:c"}}},
	}
	for _, c := range cases {
		got := findPlaces(parseMounts([]byte(c.mounts)), ownCgroups(c.own))
		if !slices.Equal(got.unified, c.want.unified) || !maps.Equal(got.v1, c.want.v1) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own, "/a/b")
	f.Add([]byte(hybrid), "/")
	f.Add([]byte(`1 2 3 / /x\040y\ rw - cgroup2 c rw`), "/z")
	f.Fuzz(func(t *testing.T, text []byte, at string) {
		for _, m := range parseMounts(text) {
			if !path.IsAbs(m.point) || !path.IsAbs(m.root) || m.kind != "cgroup" && m.kind != "cgroup2" {
				t.Errorf("%+v", m)
			}
			if dir, ok := m.directory(path.Clean("/" + at)); ok {
				// Never outside of the mount.
				point := path.Clean(m.point)
				if dir != point && !strings.HasPrefix(dir, strings.TrimSuffix(point, "/")+"/") {
					t.Errorf("%+v shows %q as %q", m, at, dir)
				}
			}
		}
	})
}

func FuzzOwnCgroups(f *testing.F) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("0::/berth-0123456789abcdef-0123456789abcdef/x\n"))
	f.Add([]byte("3:cpu,cpuacct:/a:b\n:::\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for controller, at := range ownCgroups(text).all {
			if !path.IsAbs(at) || strings.Contains(controller, ",") {
				t.Errorf("%q: %q", controller, at)
			}
			out := outsideServers(at)
			for _, part := range strings.Split(out, "/") {
				if _, ok := cgroupKey(part); ok {
					t.Errorf("%q is inside of a server's cgroup: %q", at, out)
				}
			}
			if out != at && !strings.HasPrefix(at, out) {
				t.Errorf("%q is not above %q", out, at)
			}
		}
	})
}

func FuzzSmallParsers(f *testing.F) {
	f.Add([]byte("populated 1\nfrozen 0\n"))
	f.Add([]byte("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"))
	f.Add([]byte("pos:\t0\nflags:\t02\nPid:\t42\nNSpid:\t42\t3\n"))
	f.Add([]byte("exec 2"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if populated, err := parsePopulated(text); err != nil && populated {
			t.Error("populated and an error")
		}
		if pid, err := parsePidfdInfo(text); err == nil && pid <= 0 {
			t.Errorf("pid %d", pid)
		}
		if n, ok := parseCounter(text, "oom_kill"); !ok && n != 0 {
			t.Errorf("counter %d", n)
		}
		if e := decodeStartError(text); e.err == nil || e.Error() == "" {
			t.Error("a report without an error")
		}
	})
}

func TestParsePopulated(t *testing.T) {
	for text, want := range map[string]bool{"populated 0\nfrozen 0\n": false, "populated 1\n": true, "frozen 1\npopulated 1\n": true} {
		if got, err := parsePopulated([]byte(text)); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "populated\n", "populated x\n", "xpopulated 1\n"} {
		if got, err := parsePopulated([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestCgroupKey(t *testing.T) {
	key := randomHex()
	name := cgroupName(NewIncarnation(key))
	if got, ok := cgroupKey(name); !ok || got != key {
		t.Errorf("%q: %q, %v", name, got, ok)
	}
	for _, bad := range []string{"", "berth-", "berth.service", "berth-" + key, "berth-" + key + "-", name + "x", "x" + name, strings.ToUpper(name), "berth-" + key + "-" + key + "/.."} {
		if got, ok := cgroupKey(bad); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
