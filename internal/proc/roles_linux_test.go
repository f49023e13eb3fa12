package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

// supervisorRole starts the server of a script and obeys lines on its stdin:
// "kill" ends the tree and closes it, "sweep" sweeps. What it says goes to
// descriptor 3, which its server does not have.
func supervisorRole(args []string) {
	mechanism, key, lock, script := args[0], args[1], args[2], args[3]
	lockFile, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		die("%v", err)
	}
	in, _, err := os.Pipe()
	if err != nil {
		die("%v", err)
	}
	tree, err := Start(Spec{
		Path: "/bin/sh", Argv: []string{"sh", "-c", script},
		Stdin: in, Stdout: os.Stdout, Stderr: os.Stderr, TreeLock: lockFile, Env: os.Environ(),
		Key: key, Incarnation: NewIncarnation(key), Mechanism: berth.TreeMechanism(mechanism),
		MaxFileDescriptors: 100,
	})
	if err != nil {
		die("%v", err)
	}
	says := os.NewFile(3, "says")
	fmt.Fprintln(says, "started")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var err error
		switch orders.Text() {
		case "kill":
			_, err = tree.Kill(context.Background())
			if err == nil {
				err = tree.Close()
			}
		case "sweep":
			_, err = Sweep(context.Background(), Query{Key: key, TreeLock: lock})
		}
		if err != nil {
			die("%v", err)
		}
		fmt.Fprintln(says, "done")
	}
}

// sweeperRole sweeps while it carries all the evidence itself.
func sweeperRole(args []string) {
	q := Query{Key: args[0], TreeLock: args[1]}
	if len(args) > 2 {
		q.CgroupPaths = args[2:]
	}
	lock, err := os.Open(q.TreeLock)
	if err != nil {
		die("%v", err)
	}
	defer lock.Close()
	before, err := Leftovers(q)
	if err != nil {
		die("%v", err)
	}
	survivors, err := Sweep(context.Background(), q)
	if err != nil || len(survivors) > 0 {
		die("survivors %v, error %v", survivors, err)
	}
	fmt.Println("swept", len(before))
}

// reexecRole hands its tree over to itself by an exec in place, and says how
// the server ended. The server's stdin is descriptor 0 of this process' own
// pipe, kept open across the exec.
func reexecRole(args []string) {
	if text := os.Getenv("PROC_TEST_HANDOVER"); text != "" {
		adopted(text)
		return
	}
	mechanism, script := args[0], args[1]
	in, out, err := os.Pipe()
	if err != nil {
		die("%v", err)
	}
	key := randomHex()
	tree, err := Start(Spec{
		Path: "/bin/sh", Argv: []string{"sh", "-c", script},
		Stdin: in, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ(),
		Key: key, Incarnation: NewIncarnation(key), Mechanism: berth.TreeMechanism(mechanism),
		MaxMemoryBytes: 512 << 20,
	})
	if err != nil {
		die("%v", err)
	}
	in.Close()
	orders := bufio.NewReader(os.Stdin)
	order, _ := orders.ReadString('\n')
	if order == "exit first\n" {
		out.Close()
		<-tree.Exited()
	}
	handover, err := tree.Handover()
	if err != nil {
		die("%v", err)
	}
	if order == "exit between\n" {
		// Nobody watches now: the exit must be there for the next image.
		p, err := Pin(tree.ID())
		if err != nil {
			die("%v", err)
		}
		out.Close()
		<-p.Done()
		p.Close()
	}
	if order == "twice\n" {
		if tree, err = Adopt(handover); err != nil {
			die("%v", err)
		}
		if handover, err = tree.Handover(); err != nil {
			die("%v", err)
		}
	}
	text, err := json.Marshal(handover)
	if err != nil {
		die("%v", err)
	}
	keep := handover.Keep()
	env := append(os.Environ(), "PROC_TEST_HANDOVER="+string(text))
	if order == "twice\n" || order == "exit after\n" {
		keep = append(keep, int(out.Fd()))
		env = append(env, "PROC_TEST_STDIN="+strconv.Itoa(int(out.Fd())))
	}
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			die("%v", err)
		}
	}
	die("exec: %v", syscall.Exec("/proc/self/exe", []string{rolePrefix + "reexec"}, env))
}

func adopted(text string) {
	var h Handover
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		die("%v", err)
	}
	tree, err := Adopt(h)
	if err != nil {
		die("adopt: %v", err)
	}
	if number := os.Getenv("PROC_TEST_STDIN"); number != "" {
		fd, _ := strconv.Atoi(number)
		unix.Close(fd) // the server's stdin ends
	}
	<-tree.Exited()
	_, memory := tree.Guarantee()
	fmt.Printf("ended with %v, memory %s\n", tree.Exit(), memory.State)
	if survivors, err := tree.Kill(context.Background()); err != nil || len(survivors) > 0 {
		die("kill: %v %v", survivors, err)
	}
	if err := tree.Close(); err != nil {
		die("close: %v", err)
	}
	if left := openHandles(); len(left) > 0 {
		die("descriptors left: %v", left)
	}
	fmt.Println("closed")
}

// openHandles lists the descriptors above the standard ones but for those
// of the runtime.
func openHandles() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var list []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		fd, _ := strconv.Atoi(e.Name())
		// The runtime watches its processor limit, cpu.*.
		if err == nil && fd > 2 && !strings.Contains(target, "event") && !strings.Contains(target, "/cpu.") {
			list = append(list, target)
		}
	}
	return list
}
