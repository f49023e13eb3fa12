package proc

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	berth "github.com/berth-run/berth"
)

// TestFreshCgroupEachTime: a restart right after a kill lives. It would not in
// the same cgroup, for which TestKernelTrap has the reason.
func TestFreshCgroupEachTime(t *testing.T) {
	needMechanism(t, berth.TreeCgroup)
	checkLeaks(t)
	key := randomHex()
	seen := map[string]bool{}
	for range 20 {
		r := startRig(t, withMechanism(berth.TreeCgroup), shell("echo up; read x"), func(s *Spec) {
			s.Key, s.Incarnation = key, NewIncarnation(key)
		})
		if seen[r.CgroupPath()] {
			t.Errorf("%s was used before", r.CgroupPath())
		}
		seen[r.CgroupPath()] = true
		r.awaitUp(1)
		r.mustKill()
	}
}

// TestKernelTrap shows why: after cgroup.kill, Linux 6.18 kills what is started
// into the same cgroup, but not into one below it. It logs a kernel without the
// defect; what must hold on every kernel is the way around.
func TestKernelTrap(t *testing.T) {
	needMechanism(t, berth.TreeCgroup)
	checkLeaks(t)
	at, err := ownPlaces()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := makeCgroup(at.unified[0], NewIncarnation(randomHex()))
	if err != nil {
		t.Fatal(err)
	}
	run := func(dir cgroup) berth.Exit {
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		fd := null.Fd()
		c, err := startInto(dir, program{exe: executable(""), path: "/bin/true", argv: []string{"true"}, dir: "/", files: []uintptr{fd, fd, fd}, channel: absent})
		if err != nil {
			t.Logf("start: %v", err)
			return berth.Exit{Signal: "SIGKILL"}
		}
		if err := c.waitExit(deadlineContext(t)); err != nil {
			t.Fatal(err)
		}
		e := c.reap()
		c.release()
		return e
	}
	mustBe(t, "in a fresh cgroup", run(dir).String(), "exit code 0")
	if err := dir.killAll(); err != nil {
		t.Fatal(err)
	}
	t.Logf("in a cgroup that was killed: %v", run(dir))
	inner, err := makeCgroup(string(dir), NewIncarnation(randomHex()))
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "in a fresh cgroup below a killed one", run(inner).String(), "exit code 0")
	if err := dir.remove(); err != nil {
		t.Error(err)
	}
}

// TestStrayFromTheCgroup: a server may leave its cgroup, for it is the same
// user who made it. Kill finds it by its environment or the lock.
func TestStrayFromTheCgroup(t *testing.T) {
	needMechanism(t, berth.TreeCgroup)
	for _, script := range []string{
		`setsid sh -c 'echo $$ > $AWAY/cgroup.procs; echo up; exec sleep 1000' & echo up; wait`,
		`env -i setsid sh -c "echo \$\$ > $AWAY/cgroup.procs; echo up; exec sleep 1000" & echo up; wait`,
	} {
		checkLeaks(t)
		at, err := ownPlaces()
		if err != nil {
			t.Fatal(err)
		}
		away, err := makeCgroup(at.unified[0], NewIncarnation(randomHex()))
		if err != nil {
			t.Fatal(err)
		}
		r := startRig(t, withMechanism(berth.TreeCgroup), func(s *Spec) {
			s.Env = append(s.Env, "AWAY="+string(away))
		}, shell(script))
		r.awaitUp(2)
		if list, err := away.pids(); len(list) != 1 || err != nil {
			t.Fatalf("it did not leave: %v, %v", list, err)
		}
		r.mustKill()
		if err := away.remove(); err != nil {
			t.Error(err)
		}
	}
}

// TestServerMakesCgroups: what a server makes below its own cgroup goes too.
func TestServerMakesCgroups(t *testing.T) {
	needMechanism(t, berth.TreeCgroup)
	checkLeaks(t)
	r := startRig(t, withMechanism(berth.TreeCgroup), shell(`read dir; mkdir -p $dir/a/b $dir/c; sh -c "echo \$\$ > $dir/a/b/cgroup.procs; `+one+`" & echo up; wait`))
	if _, err := r.stdin.WriteString(r.CgroupPath() + "\n"); err != nil {
		t.Fatal(err)
	}
	r.awaitUp(2)
	if members, err := r.Members(); len(members) < 2 || err != nil {
		t.Errorf("members: %v, %v", members, err)
	}
	r.mustKill()
}

// TestOwnCgroupIsLeft: below the cgroup of a server no other is made, so that
// one server's kill is not another's.
func TestOwnCgroupIsLeft(t *testing.T) {
	name := cgroupName(NewIncarnation(randomHex()))
	for at, want := range map[string]string{
		"/": "/", "/user.slice/x.scope": "/user.slice/x.scope",
		"/" + name: "/", "/a/" + name + "/b": "/a", "/a/" + name: "/a",
		"/a/berth-x/b": "/a/berth-x/b", "/berth.service": "/berth.service",
	} {
		mustBe(t, at, outsideServers(at), want)
	}
}

func TestNoCgroupMounted(t *testing.T) {
	s := Spec{Path: "/bin/true", Incarnation: NewIncarnation(randomHex())}
	if _, err := startCgroup(&s, places{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a mount: %v", err)
	}
	if _, err := startCgroup(&s, places{unified: []string{"/no/such/place"}}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make a cgroup") {
		t.Errorf("with a place that is not there: %v", err)
	}
}
