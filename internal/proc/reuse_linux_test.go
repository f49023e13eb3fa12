package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// TestPIDReuse: in a namespace with few pids, more than a hundred of them come
// to belong to strangers, and none of these is signalled.
func TestPIDReuse(t *testing.T) {
	needRoot(t)
	checkLeaks(t)
	cmd := exec.CommandContext(deadlineContext(t), "/proc/self/exe")
	cmd.Args = []string{rolePrefix + "reuse"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == skipped {
		t.Skipf("%s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	var reused int
	if _, err := fmt.Sscanf(string(out), "%d reused", &reused); err != nil || reused < 100 {
		t.Errorf("%d pids were reused (%v), want 100", reused, err)
	}
}

// skipped is the exit code of a role that cannot be played here.
const skipped = 77

func reuseRole([]string) {
	if err := mountProc(); err != nil {
		fmt.Print(err)
		os.Exit(skipped)
	}
	// Pids below 300 are not given out twice.
	if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte("420"), 0); err != nil {
		fmt.Print("a pid_max of this namespace's own (Linux 6.14): ", err)
		os.Exit(skipped)
	}
	reused := 0
	for round := 0; reused < 110; round++ {
		if round == 50 {
			die("only %d pids were reused", reused)
		}
		reused += reuseRound()
	}
	reused += reuseOfLeaders()
	fmt.Println(reused, "reused")
}

// cat is a process that stays until its stdin ends, which it does with this one.
func cat() *exec.Cmd {
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		die("%v", err)
	}
	// A process group of the same number as that of the dead, in our session.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		die("start: %v", err)
	}
	_ = in // closed by Wait
	return cmd
}

func bury(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// reuseRound lets processes die, others get their pids, and tries everything
// that signals on the identities of the dead. It returns how many were reused.
func reuseRound() int {
	const many = 50
	dead := map[int]ID{}
	for range many {
		cmd := cat()
		id, err := Identify(cmd.Process.Pid)
		if err != nil {
			die("identify: %v", err)
		}
		dead[id.PID] = id
		bury(cmd)
	}
	var strangers []*exec.Cmd
	reused := 0
	// Pids are given out in turn, so there is a way to go until those come up.
	for range 3 * many {
		cmd := cat()
		old, was := dead[cmd.Process.Pid]
		if !was {
			bury(cmd)
			continue
		}
		strangers = append(strangers, cmd)
		reused++
		if alive, err := old.Alive(); alive || err != nil {
			die("%v belongs to another, but is alive: %v, %v", old, alive, err)
		}
		if p, err := Pin(old); !errors.Is(err, ErrGone) {
			_ = p.Kill()
			die("%v belongs to another, but was pinned: %v", old, err)
		}
		if list, err := Descendants(old); len(list) > 0 || err != nil {
			die("%v belongs to another, but has descendants: %v, %v", old, list, err)
		}
		// What a scan saw of the dead must not hit the stranger either.
		h := hunt{scan: func() ([]stat, error) { return nil, nil }, belongs: sameStart}
		if err := h.signalAll([]stat{{pid: old.PID, start: old.Start}}, syscall.SIGKILL); err != nil {
			die("%v", err)
		}
		// Naively: kill(pid) would have.
		if err := syscall.Kill(old.PID, 0); err != nil {
			die("the stranger is not there: %v", err)
		}
	}
	mustLive(strangers)
	for _, cmd := range strangers {
		bury(cmd)
	}
	return reused
}

func mustLive(strangers []*exec.Cmd) {
	for _, cmd := range strangers {
		if s, err := readStat(cmd.Process.Pid); err != nil || s.zombie() {
			die("the stranger %d was killed: %v", cmd.Process.Pid, err)
		}
	}
}

// reuseOfLeaders lets strangers have the pid, and so the process group and the
// session, of leaders whose trees are signalled afterwards. It returns how many
// were reused.
func reuseOfLeaders() int {
	reused := 0
	for _, m := range mechanisms() {
		var p Prober
		if !p.try(m).Works {
			continue
		}
		for !reuseOfLeader(m) {
		}
		if m != berth.TreeProcessGroup {
			reused++
		}
	}
	return reused
}

// reuseOfLeader does so for one leader. It returns false if it has to be tried
// again: a thread of ours, which needs a pid too, came first.
func reuseOfLeader(m berth.TreeMechanism) bool {
	in, out, err := os.Pipe()
	if err != nil {
		die("%v", err)
	}
	up, w, err := os.Pipe()
	if err != nil {
		die("%v", err)
	}
	key := randomHex()
	t, err := Start(Spec{
		Path: "/bin/sh", Argv: []string{"sh", "-c", "(setsid sleep 1000 &); echo up; read x; exit 0"},
		Stdin: in, Stdout: w, Stderr: os.Stderr, Key: key, Incarnation: NewIncarnation(key), Mechanism: m,
		Env: os.Environ(),
	})
	if err != nil {
		die("%v", err)
	}
	w.Close()
	in.Close()
	if _, err := bufio.NewReader(up).ReadString('\n'); err != nil {
		die("%v", err)
	}
	out.Close()
	<-t.Exited()
	stranger, got := takePID(t.PID())
	_, err = os.Stat(fmt.Sprintf("/proc/self/task/%d", t.PID()))
	ours := err == nil
	if m == berth.TreeProcessGroup && (got || ours) {
		die("the leader's pid was free while its group might be signalled")
	}
	if m != berth.TreeProcessGroup && !got && !ours {
		die("%s: pid %d was not to be had", m, t.PID())
	}
	if err := t.Terminate(); err != nil {
		die("%v", err)
	}
	if got {
		mustLive(stranger)
	}
	if survivors, err := t.Kill(context.Background()); err != nil || len(survivors) > 0 {
		die("%v %v", survivors, err)
	}
	if got {
		mustLive(stranger)
		bury(stranger[0])
	}
	if _, err := io.Copy(io.Discard, up); err != nil {
		die("%v", err)
	}
	up.Close()
	if err := t.Close(); err != nil {
		die("%v", err)
	}
	return !ours
}

// takePID starts processes until one has the pid, for two rounds of all pids.
func takePID(pid int) ([]*exec.Cmd, bool) {
	for range 300 {
		cmd := cat()
		if cmd.Process.Pid == pid {
			return []*exec.Cmd{cmd}, true
		}
		bury(cmd)
	}
	return nil, false
}
