package proc

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// shape is a process tree: a command and how many processes of it say "up".
type shape struct {
	name string
	run  options
	up   int
	// exits: the leader exits by itself with this code, before the kill.
	exits int
	// slips: the members that nothing but a cgroup, a namespace or a subreaper
	// can hold.
	slips bool
}

// one is a process that says that it is up and then stays.
const one = `sh -c 'echo up; exec sleep 1000'`

var shapes = []shape{
	{name: "plain sh", run: shell(`echo up; read x`), up: 1, exits: -1},
	{name: "background child", run: shell(one + ` & echo up; wait`), up: 2, exits: -1},
	{name: "setsid", run: shell(`setsid ` + one + ` & echo up; wait`), up: 2, exits: -1},
	{name: "double-forked setsid", run: shell(`(setsid sh -c '` + `sleep 1000 & echo up; exit' &); echo up; read x`), up: 2, exits: -1},
	{name: "nohup and trap", run: shell(`trap '' TERM HUP INT; nohup ` + one + ` 2>/dev/null & echo up; while :; do wait; done`), up: 2, exits: -1},
	{name: "ignores everything", run: role("deaf"), up: 1, exits: -1},
	{name: "first thread ended", run: role("headless"), up: 1, exits: -1},
	{name: "leader exits", run: shell(one + ` & setsid ` + one + ` & (setsid ` + one + ` &) ; read x; exit 7`), up: 3, exits: 7},
	{name: "empty environment", run: shell(`env -i setsid ` + one + ` & echo up; wait`), up: 2, exits: -1},
	{name: "empty environment, leader exits", run: shell(`(env -i setsid ` + one + ` &) ; read x; exit 0`), up: 1, exits: 0},
	{name: "nothing to know it by, leader exits", run: shell(`(env -i setsid sh -c 'exec 3>&-; echo up; exec sleep 1000' &) ; read x; exit 0`), up: 1, exits: 0, slips: true},
	{name: "swarm of 300", run: shell(`i=0; while [ $i -lt 300 ]; do setsid ` + one + ` & i=$((i+1)); done; wait`), up: 300, exits: -1},
}

// TestKillEndsTheWholeTree is the promise of the package, for each mechanism
// and each way in which servers are known to leave processes behind.
func TestKillEndsTheWholeTree(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, s := range shapes {
			t.Run(s.name, func(t *testing.T) {
				checkLeaks(t)
				if s.slips && m == berth.TreeProcessGroup {
					testSlip(t, s)
					return
				}
				r := startRig(t, withMechanism(m), s.run)
				r.awaitUp(s.up)
				if s.exits >= 0 {
					r.stdin.Close()
					e := r.awaitExit()
					if e.Code == nil || *e.Code != s.exits {
						t.Errorf("the leader ended with %v, want code %d", e, s.exits)
					}
				}
				if empty, err := r.Empty(); empty || err != nil {
					t.Errorf("Empty while it lives: %v, %v", empty, err)
				}
				members, err := r.Members()
				if err != nil || len(members) < s.up {
					t.Errorf("%d members, error %v, but %d processes are up", len(members), err, s.up)
				}
				if err := r.Close(); err == nil {
					t.Error("a tree that lives was closed")
				}
				r.mustKill()
				if s.exits < 0 {
					mustBe(t, "signal of the exit", r.Exit().Signal, "SIGKILL")
				}
			})
		}
	})
}

// testSlip shows what the weakest mechanism cannot do, so that the gap it
// reports stays true: if this fails, the gap is to be reworded.
func testSlip(t *testing.T, s shape) {
	r := startRig(t, withMechanism(berth.TreeProcessGroup), s.run)
	r.awaitUp(s.up)
	r.stdin.Close()
	r.awaitExit()
	g, _ := r.Guarantee()
	if g.State != berth.Partial || g.Gap == "" {
		t.Errorf("the guarantee is %+v, but processes escape", g)
	}
	survivors, err := r.Kill(deadlineContext(t))
	if err != nil || len(survivors) > 0 {
		t.Fatalf("Kill: %v, %v", survivors, err)
	}
	// It escaped; end it by the one thing that it kept.
	escaped := holders(t, r.out)
	mustBe(t, "escaped processes", len(escaped), s.up)
	for _, id := range escaped {
		p, err := Pin(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		p.Close()
	}
	r.mustBeDeserted()
}

// holders finds the processes that have the other end of a pipe.
func holders(t *testing.T, f *os.File) []ID {
	t.Helper()
	want, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(f.Fd()), true); err != nil { // Fd made it blocking
		t.Fatal(err)
	}
	list, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var found []ID
	for _, s := range list {
		pid := s.pid
		entries, err := os.ReadDir(procPath(pid, "fd"))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for _, e := range entries {
			if target, _ := os.Readlink(procPath(pid, "fd/"+e.Name())); target == want {
				id, err := Identify(pid)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, id)
				break
			}
		}
	}
	return found
}

// deafRole is a server that ignores every signal that can be ignored, and the
// end of its stdin.
func deafRole([]string) {
	signal.Ignore()
	fmt.Println("up")
	for {
		_ = unix.Pause()
	}
}

// headlessRole ends its first thread: /proc then shows a zombie, but the other
// threads go on.
func headlessRole([]string) {
	go func() {
		// The first thread is ended by the goroutine that holds it; it is dead
		// when its state says so.
		for {
			if s, err := readStat(os.Getpid()); err == nil && s.state == 'Z' {
				break
			}
			runtime.Gosched()
		}
		fmt.Println("up")
		for {
			_ = unix.Pause()
		}
	}()
	onFirstThread(func() { unix.Syscall(unix.SYS_EXIT, 0, 0, 0) })
}

// onFirstThread calls f on the thread that the process began with.
func onFirstThread(f func()) {
	for {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			f()
			return
		}
		next := make(chan struct{})
		go func() { // this thread stays locked, so the goroutine gets another
			close(next)
			onFirstThread(f)
		}()
		<-next
		select {}
	}
}

func TestTerminateReachesAll(t *testing.T) {
	// Each process says that the signal came; the leader outlives the others.
	const script = `
		listener='trap "echo term; exit" TERM; echo up; while :; do sleep 1000 & wait $!; done'
		setsid sh -c "$listener" &
		sh -c "$listener" &
		trap 'echo term' TERM; echo up; wait; wait; wait`
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), shell(script))
		r.awaitUp(3)
		if err := r.Terminate(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			mustBe(t, "answer to SIGTERM", r.line(), "term")
		}
		r.mustKill()
	})
}

// TestForkBomb: a program that forks without end is ended for certain by the
// strong mechanisms, and by the weak ones too once its user may have no more
// processes. The bomb itself stops after its deadline.
func TestForkBomb(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("a limit on processes does not bind root: see TestAsNobody")
	}
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		// Other tests of this user may run beside this one.
		limitProcesses(t, tasksOfUser(t)+400)
		r := startRig(t, withMechanism(m), role("bomb"))
		r.awaitUp(1)
		r.mustKill()
	})
}

// tasksOfUser counts what the limit counts: the threads of this user.
func tasksOfUser(t *testing.T) (n uint64) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		dir := "/proc/" + e.Name()
		if _, err := strconv.Atoi(e.Name()); err != nil || unix.Stat(dir, &st) != nil || int(st.Uid) != os.Geteuid() {
			continue
		}
		threads, _ := os.ReadDir(dir + "/task") // none: it has ended
		n += uint64(len(threads))
	}
	return n
}

// limitProcesses limits how many processes this user may have, for the test.
func limitProcesses(t *testing.T, n uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NPROC, &old) })
}

// bombRole forks copies of a shell that forks two more, and so on. Each ends by
// itself after some seconds, and none forks after a fork that failed.
func bombRole([]string) {
	const bomb = `b() { b & b & wait; }; b`
	fmt.Println("up")
	script := `exec 2>/dev/null; ` + bomb
	err := syscall.Exec("/usr/bin/timeout", []string{"timeout", "-s", "KILL", "20", "/bin/sh", "-c", script}, os.Environ())
	die("exec: %v", err)
}
