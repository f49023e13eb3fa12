package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/netns"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/sandbox"
	"golang.org/x/sys/unix"
)

// What a role says by the channel, each with descriptors.
const (
	saysListeners = "listeners" // of the server's network
	saysNotify    = "notify"    // of its connects
)

// mostRights is how many descriptors one message may carry (SCM_MAX_FD is 253).
const mostRights = 200

// hooks are what this binary does in the roles of package proc.
func hooks() proc.Hooks { return proc.Hooks{Init: initHook, Stage: stageHook} }

// initHook prepares the namespaces: their network first, for which it needs what the
// mounts may hide.
func initHook(channel int) error {
	i, err := instructed(channel)
	if err != nil {
		return err
	}
	if i.Plan.Namespaces.Net {
		files, err := netns.Prepare(i.Ports)
		if err != nil {
			return fmt.Errorf("make a network of its own: %w", err)
		}
		if err := sendFiles(channel, saysListeners, files); err != nil {
			return fmt.Errorf("hand out the listeners: %w", err)
		}
	}
	if i.Plan.Namespaces.Mount {
		return i.Plan.Mounts()
	}
	return nil
}

// stageHook confines the thread that executes the server, and tries what is forbidden.
func stageHook(channel int) error {
	i, err := instructed(channel)
	if err != nil {
		return err
	}
	notify, err := i.Plan.Enter()
	if err != nil {
		return err
	}
	if notify >= 0 {
		f := os.NewFile(uintptr(notify), "notify")
		if err := sendFiles(channel, saysNotify, []*os.File{f}); err != nil {
			return fmt.Errorf("hand out the notifications: %w", err)
		}
	}
	return i.Plan.SelfTest()
}

// instructed reads the one message that is for this role.
func instructed(channel int) (instructions, error) {
	var i instructions
	n, _, err := unix.Recvfrom(channel, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
	if err != nil {
		return i, os.NewSyscallError("recvfrom", err)
	}
	buf := make([]byte, n)
	if n, err = unix.Read(channel, buf); err != nil {
		return i, os.NewSyscallError("read", err)
	}
	return i, json.Unmarshal(buf[:n], &i)
}

// sendFiles sends descriptors and closes them.
func sendFiles(channel int, says string, files []*os.File) error {
	defer closeAll(files...)
	for len(files) > 0 {
		part := files[:min(len(files), mostRights)]
		files = files[len(part):]
		var fds []int
		for _, f := range part {
			fds = append(fds, int(f.Fd()))
		}
		err := unix.Sendmsg(channel, []byte(says), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		closeAll(part...)
		if err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
	}
	return nil
}

// served says whether the server's network is: also that of one which may reach
// nothing, so that what it tries is known.
func (j *jail) served() bool { return j.plan.Namespaces.Net || j.plan.Notify }

// instructions are what each role gets by the channel.
type instructions struct {
	Plan  sandbox.Plan `json:"plan"`
	Ports []uint16     `json:"ports,omitempty"`
}

func (j *jail) instructions() ([]byte, error) {
	i := instructions{Plan: j.plan}
	if j.plan.Namespaces.Net {
		i.Ports = j.rules.Ports()
	}
	return json.Marshal(i)
}

// start starts the program with the hooks of its roles, and serves its way out from
// the moment that it has one: the test of the stage may need it.
func (j *jail) start(spec proc.Spec) (*proc.Tree, error) {
	remove, err := j.layTrap()
	if err != nil {
		return nil, err
	}
	defer remove()
	orders, err := j.instructions()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := openChannel()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	roles := 1
	if j.plan.Namespaces.PID {
		roles = 2
	}
	for range roles {
		if _, err := ours.Write(orders); err != nil {
			theirs.Close()
			return nil, fmt.Errorf("hand the plan of %d bytes to the process to confine: %w", len(orders), err)
		}
	}
	spec.Confine = &proc.Confine{Channel: theirs, Network: j.plan.Namespaces.Net, IPC: j.plan.Namespaces.IPC}
	heard := make(chan error, 1)
	go func() { heard <- j.listen(ours) }()
	tree, err := proc.Start(spec)
	theirs.Close()
	served := <-heard // it ends with the channel, which ends with the roles
	if err != nil {
		return nil, err
	}
	if served == nil && j.served() && j.wayOut == nil {
		served = errors.New("the listeners of its network did not arrive")
	}
	if served != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", proc.ErrUnconfined, served), discard(tree))
	}
	return tree, nil
}

// layTrap has something listen on this host's loopback that the server must not reach,
// for the test of the stage to try. Where it may reach it there is nothing to try.
func (j *jail) layTrap() (remove func(), err error) {
	remove = func() {}
	if j.plan.Net == sandbox.NetOpen {
		return remove, nil
	}
	for range 10 {
		address, close, err := sandbox.Trap()
		if err != nil {
			return remove, fmt.Errorf("listen for the test of the sandbox: %w", err)
		}
		_, port, _ := strings.Cut(address, ":")
		n, _ := strconv.ParseUint(port, 10, 16)
		// What is listened on within at that port is no hole.
		if j.rules.Allows(address) || slices.Contains(j.rules.Ports(), uint16(n)) {
			close()
			continue
		}
		j.plan.Test.Connect = address
		return close, nil
	}
	return remove, nil
}

// listen takes what the roles send until the program is executed, or never will be.
func (j *jail) listen(channel *os.File) error {
	var files []*os.File
	serve := func(notify *os.File) error {
		if len(files) == 0 && notify == nil {
			return nil
		}
		return j.serve(files, notify, nil)
	}
	for {
		says, more, err := hearFiles(channel)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			if j.wayOut != nil {
				return nil
			}
			return serve(nil)
		}
		if err != nil {
			closeAll(files...)
			return err
		}
		switch {
		case says == saysListeners:
			files = append(files, more...)
		case says == saysNotify && len(more) == 1:
			notify := more[0]
			if j.plan.Learn {
				if err := j.learn(notify); err != nil {
					closeAll(files...)
					return err
				}
			}
			if j.plan.Notify {
				if err := serve(notify); err != nil {
					return err
				}
			}
		default:
			closeAll(append(files, more...)...)
			return fmt.Errorf("%w: a role says %q with %d descriptors", ErrProtocol, says, len(more))
		}
	}
}

// learn begins to hear what the server tries with files: by the descriptor that Enter
// returned, unless connects are heard by that.
func (j *jail) learn(notify *os.File) error {
	if j.plan.Notify {
		notify = nil
	}
	l, err := j.plan.Learning(notify, j.home, func(what, grant string) {
		j.denied.keep(berth.Denial{What: what, Grant: grant, At: time.Now()})
	})
	if err != nil {
		return err
	}
	j.learner, j.other = l, l.Heard
	return nil
}

func hearFiles(channel *os.File) (says string, files []*os.File, err error) {
	raw, err := channel.SyscallConn()
	if err != nil {
		return "", nil, err
	}
	var buf [64]byte
	oob := make([]byte, unix.CmsgSpace(4*mostRights))
	var n, oobn int
	rerr := raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), buf[:], oob, unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if err = errors.Join(rerr, err); err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, io.EOF
	}
	scms, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", nil, err
	}
	for _, m := range scms {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return "", nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "egress"))
		}
	}
	return strings.TrimSpace(string(buf[:n])), files, nil
}

// openChannel makes the socket by which the roles are told what to do. Of the two
// ends only ours does not block.
func openChannel() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	_ = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) // as far as it may
	_ = unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "channel"), os.NewFile(uintptr(fds[1]), "channel"), nil
}

// surroundings are what others confine this process by.
func surroundings() string {
	var found []string
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		for _, name := range []string{"CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp"} {
			if strings.HasPrefix(line, name) {
				found = append(found, strings.Join(strings.Fields(line), ""))
			}
		}
	}
	label, _ := os.ReadFile("/proc/self/attr/current") // of AppArmor or SELinux
	user, _ := os.Readlink("/proc/self/ns/user")
	return strings.Join(append(found, strings.TrimRight(string(label), "\x00\n"), user), " ")
}
