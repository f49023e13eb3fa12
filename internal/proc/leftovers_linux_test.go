package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
)

// supervisor is a process that started a tree, and may be killed. What it says
// itself comes over a pipe that ends with it; its stdout is the server's.
type supervisor struct {
	t      testing.TB
	cmd    *exec.Cmd
	orders io.WriteCloser
	says   *os.File
	words  *bufio.Reader
	out    *os.File
	lines  *bufio.Reader
	query  Query
}

// startSupervisor starts one; env is added to its environment.
func startSupervisor(t testing.TB, m berth.TreeMechanism, script string, env ...string) *supervisor {
	t.Helper()
	key := randomHex()
	s := &supervisor{t: t, query: Query{Key: key, TreeLock: filepath.Join(t.TempDir(), "server.tree")}}
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Args = []string{rolePrefix + "supervisor", string(m), key, s.query.TreeLock, script}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stderr = os.Stderr
	var err error
	if s.orders, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, outW := mustPipe(t)
	says, saysW := mustPipe(t)
	s.out, s.lines = out, bufio.NewReader(out)
	s.says, s.words = says, bufio.NewReader(says)
	s.cmd.Stdout = outW
	s.cmd.ExtraFiles = []*os.File{saysW} // descriptor 3
	err = s.cmd.Start()
	outW.Close()
	saysW.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if _, err := Sweep(deadlineContext(t), s.query); err != nil {
			t.Errorf("cleanup: %v", err)
		}
		s.orders.Close()
		s.out.Close()
		s.says.Close()
		mustHaveNoCgroup(t, key)
	})
	return s
}

// hears waits until the supervisor said something, and returns false if it
// ended instead.
func (s *supervisor) hears(word string) bool {
	s.t.Helper()
	s.says.SetReadDeadline(time.Now().Add(deadline))
	line, err := s.words.ReadString('\n')
	if err == io.EOF {
		return false
	}
	if err != nil || line != word+"\n" {
		s.t.Fatalf("the supervisor said %q, %v; want %q", line, err, word)
	}
	return true
}

// awaitUp reads "up" from each of n processes of the server.
func (s *supervisor) awaitUp(n int) {
	s.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(deadline))
	for i := range n {
		if line, err := s.lines.ReadString('\n'); line != "up\n" {
			s.t.Fatalf("process %d of %d said %q, %v", i+1, n, line, err)
		}
	}
}

func (s *supervisor) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

func (s *supervisor) mustBeDeserted() {
	s.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(deadline))
	if _, err := io.Copy(io.Discard, s.lines); err != nil {
		s.t.Errorf("somebody still holds the server's stdout: %v", err)
	}
}

// TestSweepAfterTheSupervisorWasKilled: the successor finds the tree and ends
// it, whatever held it together.
func TestSweepAfterTheSupervisorWasKilled(t *testing.T) {
	scripts := map[string]struct {
		script string
		up     int
	}{
		"family":         {one + ` & setsid ` + one + ` & (setsid ` + one + ` &); echo up; wait`, 4},
		"leader is gone": {`(setsid ` + one + ` &); exit`, 1},
		"no environment": {`env -i setsid ` + one + ` & echo up; wait`, 2},
		"no descriptors": {`setsid sh -c 'exec 3>&-; echo up; exec sleep 1000' & exec 3>&-; echo up; wait`, 2},
		"swarm":          {`i=0; while [ $i -lt 60 ]; do setsid ` + one + ` & i=$((i+1)); done; wait`, 60},
	}
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for name, c := range scripts {
			t.Run(name, func(t *testing.T) {
				checkLeaks(t)
				s := startSupervisor(t, m, c.script)
				if !s.hears("started") {
					t.Fatal("it ended")
				}
				s.awaitUp(c.up)
				found, err := Leftovers(s.query)
				if err != nil || len(found) < c.up {
					t.Errorf("Leftovers finds %v, %v; %d processes are up", found, err, c.up)
				}
				s.kill()
				if m == berth.TreePIDNamespace {
					s.mustBeDeserted() // nobody else need do anything
				}
				survivors, err := Sweep(deadlineContext(t), s.query)
				if err != nil || len(survivors) > 0 {
					t.Fatalf("Sweep: %v, %v", survivors, err)
				}
				s.mustBeDeserted()
				if left, err := Leftovers(s.query); len(left) > 0 || err != nil {
					t.Errorf("Leftovers after Sweep: %v, %v", left, err)
				}
				mustHaveNoCgroup(t, s.query.Key)
				if survivors, err := Sweep(deadlineContext(t), s.query); err != nil || len(survivors) > 0 {
					t.Errorf("second Sweep: %v, %v", survivors, err)
				}
			})
		}
	})
}

// TestSweepSparesTheSweeper: also one that carries every sign itself, as a
// supervisor does that was started by its own server.
func TestSweepSparesTheSweeper(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), func(s *Spec) {
			s.Path, s.Argv = "/proc/self/exe", []string{rolePrefix + "launcher", s.Key, s.TreeLock.Name()}
		})
		// This process has the lock's file open while it starts the tree, and would be
		// swept with it.
		if _, err := io.WriteString(r.stdin, "sweep\n"); err != nil {
			t.Fatal(err)
		}
		if line := r.line(); line != "swept 1" {
			t.Errorf("the sweeper said %q", line)
		}
		if survivors, err := r.Kill(deadlineContext(t)); err != nil || len(survivors) > 0 {
			t.Errorf("Kill: %v, %v", survivors, err)
		}
	})
}

// launcherRole is a server that starts a child and then, once it is told to, sweeps
// its own key.
func launcherRole(args []string) {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		die("%v", err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		die("%v", err)
	}
	sweeperRole(args)
	if err := cmd.Wait(); err == nil {
		die("the child was not killed")
	}
}

// TestSweepSparesStrangers: what looks like the server but is not is left.
func TestSweepSparesStrangers(t *testing.T) {
	checkLeaks(t)
	key := randomHex()
	dir := t.TempDir()
	for _, name := range []string{"server.tree", "other.tree"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other, err := os.Open(filepath.Join(dir, "other.tree"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// Strangers with the variable of another key, the text elsewhere, another
	// lock, and the same name of a lock in another place.
	same := filepath.Join(t.TempDir(), "server.tree")
	elsewhere, err := os.Create(same)
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	var strangers []*exec.Cmd
	for _, env := range []string{
		IncarnationVariable + "=" + NewIncarnation(randomHex()),
		"X=" + IncarnationVariable + "=" + NewIncarnation(key),
		"X" + IncarnationVariable + "=" + NewIncarnation(key),
		IncarnationVariable + "=" + key, // no incarnation
	} {
		cmd := exec.Command("/bin/cat")
		cmd.Env = []string{env}
		cmd.ExtraFiles = []*os.File{other, elsewhere}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		strangers = append(strangers, cmd)
	}
	// A record may name directories that are not cgroups of this server.
	q := Query{Key: key, TreeLock: filepath.Join(dir, "server.tree"), CgroupPaths: []string{
		"/", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", dir,
		filepath.Join(dir, cgroupName(NewIncarnation(key))), "/sys/fs/cgroup/unified/" + cgroupName(NewIncarnation(randomHex())),
	}}
	if found, err := Leftovers(q); err != nil || len(found) > 0 {
		t.Errorf("Leftovers: %v, %v", found, err)
	}
	if survivors, err := Sweep(deadlineContext(t), q); err != nil || len(survivors) > 0 {
		t.Errorf("Sweep: %v, %v", survivors, err)
	}
	for i, cmd := range strangers {
		id, err := Identify(cmd.Process.Pid)
		if err != nil {
			t.Errorf("stranger %d: %v", i, err)
			continue
		}
		if alive, err := id.Alive(); !alive || err != nil {
			t.Errorf("stranger %d: alive %v, %v", i, alive, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// TestSweepRecordedCgroup: a successor that lives elsewhere finds the cgroup by
// the record.
func TestSweepRecordedCgroup(t *testing.T) {
	needMechanism(t, berth.TreeCgroup)
	checkLeaks(t)
	// Nothing else tells of this process, and the cgroup is not directly below
	// our own.
	r := startRig(t, withMechanism(berth.TreeCgroup), shell(`exec 3>&-; exec env -i sh -c 'echo up; exec sleep 1000'`))
	r.awaitUp(1)
	away := cgroup(r.CgroupPath()).file("away")
	if err := os.Mkdir(away, 0o755); err != nil {
		t.Fatal(err)
	}
	inner, err := makeCgroup(away, NewIncarnation(r.key))
	if err != nil {
		t.Fatal(err)
	}
	if err := inner.write("cgroup.procs", fmt.Sprint(r.PID())); err != nil {
		t.Fatal(err)
	}
	q := Query{Key: r.key, CgroupPaths: []string{string(inner)}}
	found, err := Leftovers(q)
	if err != nil || !slices.Contains(found, r.ID()) {
		t.Errorf("Leftovers: %v, %v", found, err)
	}
	if survivors, err := Sweep(deadlineContext(t), q); err != nil || len(survivors) > 0 {
		t.Errorf("Sweep: %v, %v", survivors, err)
	}
	mustBe(t, "exit", r.awaitExit().String(), "signal SIGKILL")
	mustHaveNoCgroup(t, r.key)
}

func TestSweepRefusesBadKeys(t *testing.T) {
	for _, key := range []string{"", "*", "0123", "0123456789ABCDEF", "../../../../../.."} {
		if _, err := Sweep(t.Context(), Query{Key: key}); err == nil {
			t.Errorf("key %q was accepted", key)
		}
	}
}
