package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// controller is how one quota is kept by cgroups: the same controller of either
// version, with the files that it is set by.
type controller struct {
	name   string // of the controller
	v2, v1 []setting
}

type setting struct{ file, text string }

// cpuPeriod is over which the time of processors is counted, in microseconds.
const cpuPeriod = 100_000

func (s *Spec) controller(quota string) controller {
	if quota == berth.GuaranteeProcesses {
		most := []setting{{"pids.max", strconv.FormatUint(s.MaxProcesses, 10)}}
		return controller{"pids", most, most}
	}
	period := strconv.Itoa(cpuPeriod)
	share := strconv.FormatUint(s.MaxCPUPercent*cpuPeriod/100, 10)
	return controller{
		"cpu",
		[]setting{{"cpu.max", share + " " + period}},
		[]setting{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", share}},
	}
}

func (c cgroup) setAll(settings []setting) error {
	for _, one := range settings {
		if err := c.write(one.file, one.text); err != nil {
			return err
		}
	}
	return nil
}

// limitRest makes the quotas that the spec asks for, each by the strongest means that
// works: in the cgroup of version 2 that the tree is in anyway (tree, or that of its
// memory), in one that is only for limits, or, for processes, by a limit of the user
// in the user namespace that the tree will have. What the server must do itself is
// added to l.
func limitRest(s *Spec, at places, tree cgroup, mem memory, ownUser bool, l *limits) ([]quota, error) {
	if m, ok := mem.(*memoryCgroup); ok && tree == "" && m.how == memoryV2 {
		tree = m.dir
	}
	var made []quota
	for _, name := range s.quotas() {
		q, err := limitOne(s, at, tree, name, ownUser, l)
		if err != nil {
			_ = closeQuotas(made)
			return nil, err
		}
		made = append(made, q)
	}
	return made, nil
}

func limitOne(s *Spec, at places, tree cgroup, name string, ownUser bool, l *limits) (quota, error) {
	c := s.controller(name)
	kept := func(how, dir string) quota {
		return quota{Name: name, Guarantee: berth.Guarantee{State: berth.Enforced, How: how}, Dir: dir}
	}
	if tree != "" && tree.setAll(c.v2) == nil {
		return kept("cgroup v2 "+c.v2[0].file, ""), nil
	}
	for _, try := range []struct {
		base     string
		settings []setting
		how      string
	}{
		{at.unifiedWith(c.name), c.v2, "cgroup v2 "},
		{at.v1[c.name], c.v1, "cgroup v1 "},
	} {
		if try.base == "" {
			continue
		}
		dir := cgroup(filepath.Join(try.base, cgroupName(s.Incarnation)))
		// It may be there for another quota or the memory: in it the tree is.
		if err := os.Mkdir(string(dir), 0o755); err != nil && !slices.Contains(l.join, dir.file("cgroup.procs")) {
			continue
		}
		if dir.setAll(try.settings) == nil && writable(dir) {
			if procs := dir.file("cgroup.procs"); !slices.Contains(l.join, procs) {
				l.join = append(l.join, procs)
			}
			return kept(try.how+try.settings[len(try.settings)-1].file, string(dir)), nil
		}
		if slices.Contains(l.join, dir.file("cgroup.procs")) {
			continue
		}
		if err := dir.remove(); err != nil {
			return quota{}, err
		}
	}
	if name == berth.GuaranteeProcesses && ownUser {
		l.processes = s.MaxProcesses + initThreads
		return kept("RLIMIT_NPROC in its own user namespace", ""), nil
	}
	gap := "no cpu cgroup may be written here"
	if name == berth.GuaranteeProcesses {
		gap = "no pids cgroup may be written here, and RLIMIT_NPROC would count all processes of the user"
	}
	return unlimited(name, gap), nil
}

// initThreads are those that the init of a user namespace may have, and the stage
// before it is the server: they are counted with it.
const initThreads = 16

// countsApart says whether a user namespace that this process makes has a count of
// processes of its own, which Linux has since 5.14. Root is never held to it.
func countsApart() bool {
	if os.Geteuid() == 0 || mayMakeNamespaces() {
		return false
	}
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(name.Release[:]), ".")
	minor := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	return x > 5 || x == 5 && y >= 14
}

// remove removes a cgroup that was only for this.
func (q quota) remove() error {
	if q.Dir == "" {
		return nil
	}
	return cgroup(q.Dir).remove()
}
