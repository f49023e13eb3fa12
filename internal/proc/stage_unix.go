//go:build unix

package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitMain is the main function of the roles InitName and ExecName. It does not
// return. The hooks are for servers that are confined.
func InitMain(args []string, hooks Hooks) {
	switch {
	case len(args) > 0 && args[0] == ExecName:
		stageMain(args[1:], hooks)
	case len(args) > 0 && args[0] == InitName:
		initMain(args[1:], hooks)
	}
	fmt.Fprintf(os.Stderr, "berth: %s and %s are roles that berth gives to itself\n", InitName, ExecName)
	os.Exit(2)
}

// stageArgs are the arguments of the stage: the descriptor of the report, behind
// which lie those of the channel, if there is one, and of the files to join; the
// limits, and the server's path and argv.
func (p program) stageArgs(report int) []string {
	return append([]string{
		ExecName, strconv.Itoa(report), p.extras(),
		strconv.FormatUint(p.limits.descriptors, 10),
		strconv.FormatUint(p.limits.data, 10),
		strconv.FormatUint(p.limits.processes, 10),
		p.path,
	}, p.argv...)
}

// extras says which descriptors a role has besides the server's and its own:
// "c" for a channel and a "j" for each file to join, in the order of them.
func (p program) extras() string {
	joins := strings.Repeat("j", len(p.joins))
	if p.channel != absent {
		return "c" + joins
	}
	return joins
}

// takeExtras sets what extras said; the first of the descriptors is given.
func (p *program) takeExtras(extras string, first int) {
	p.channel = absent
	for i, kind := range extras {
		fd := uintptr(first + i)
		switch kind {
		case 'c':
			p.channel = fd
		case 'j':
			p.joins = append(p.joins, fd)
		}
	}
}

// hold is the report descriptor of a stage that executes nothing: it stays
// until its stdin ends, for trying a mechanism.
const hold = "hold"

func stageMain(args []string, hooks Hooks) {
	// Mask, limits and exec must be of one thread.
	runtime.LockOSThread()
	if len(args) == 1 && args[0] == hold {
		holdMain()
	}
	if len(args) < 7 {
		os.Exit(2)
	}
	report, err := strconv.Atoi(args[0])
	if err != nil {
		os.Exit(2)
	}
	// The report must close by the exec, and only by that. What lies above it
	// is ours too; below it are the server's descriptors.
	closeOnExecFrom(report)
	var p program
	p.takeExtras(args[1], report+1)
	p.limits.descriptors, _ = strconv.ParseUint(args[2], 10, 64)
	p.limits.data, _ = strconv.ParseUint(args[3], 10, 64)
	p.limits.processes, _ = strconv.ParseUint(args[4], 10, 64)
	fail := p.prepare()
	if fail == nil && p.channel != absent {
		fail = callHook(hooks.Stage, p.channel)
	}
	var execute func() syscall.Errno
	if fail == nil {
		if execute, err = prepareExec(args[5], args[6:], os.Environ()); err != nil {
			fail = &startError{op: opExec, err: err}
		}
	}
	// The last limit may be less than this process has already: whatever is allocated
	// from then on ends it.
	about, failed := []byte{aboutToExec}, append(make([]byte, 0, 32), opExec+" "...)
	if fail == nil {
		fail = p.limits.apply()
	}
	if fail == nil {
		_, _ = unix.Write(report, about)
		_, _ = unix.Write(report, strconv.AppendUint(failed, uint64(execute()), 10))
	} else {
		_, _ = unix.Write(report, fail.encode())
	}
	os.Exit(127)
}

// prepare does what a hook may take the right to: joining cgroups, and raising
// limits.
func (p *program) prepare() *startError {
	for _, fd := range p.joins {
		if _, err := unix.Write(int(fd), []byte("0")); err != nil {
			return &startError{op: opJoin, err: err}
		}
	}
	ResetSignals()
	if p.channel == absent {
		return nil
	}
	if err := raise(syscall.RLIMIT_NOFILE, p.limits.descriptors); err != nil {
		return &startError{op: opDescriptors, err: err}
	}
	if err := raise(syscall.RLIMIT_DATA, p.limits.data); err != nil {
		return &startError{op: opData, err: err}
	}
	return nil
}

// raise allows n for a limit that is lower; the limit itself stays.
func raise(resource int, n uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil || now.Max >= n {
		return err
	}
	now.Max = n
	return syscall.Setrlimit(resource, &now)
}

// callHook calls one of Hooks. A binary without it must not execute a server that
// is to be confined.
func callHook(hook func(channel int) error, channel uintptr) *startError {
	if hook == nil {
		return &startError{op: opHook, err: errNoHook}
	}
	if err := hook(int(channel)); err != nil {
		return &startError{op: opHook, err: err}
	}
	return nil
}

var errNoHook = errors.New("this binary cannot confine")

// apply sets the limits on this process. The one on data comes last, for from
// then on our own allocations may fail.
func (l limits) apply() *startError {
	if n := l.descriptors; n != 0 {
		// Not by package unix: syscall must forget the limit that it would
		// restore at exec.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return &startError{op: opDescriptors, err: err}
		}
	}
	if n := l.processes; n != 0 {
		if err := syscall.Setrlimit(unix.RLIMIT_NPROC, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return &startError{op: opProcesses, err: err}
		}
	}
	if n := l.data; n != 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return &startError{op: opData, err: err}
		}
	}
	return nil
}

func holdMain() {
	var buf [1]byte
	for {
		n, err := unix.Read(0, buf[:])
		if err != unix.EINTR && n <= 0 {
			os.Exit(0)
		}
	}
}
