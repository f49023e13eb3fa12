//go:build unix

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is a server's command as it is executed, by the caller of Start or by
// the init of its PID namespace.
type program struct {
	exe    string // the binary for our own roles
	path   string
	argv   []string
	env    []string
	dir    string
	files  []uintptr // descriptors 0, 1, 2 and perhaps the tree lock
	limits limits
	// channel is for the hook of the stage, which the server never has; absent
	// for a server that is not confined.
	channel uintptr
	joins   []uintptr // limits.join, once opened
}

// absent is no descriptor.
const absent = ^uintptr(0)

// limits are what a process sets on itself before it executes the server.
type limits struct {
	descriptors uint64 // RLIMIT_NOFILE, 0 for none
	data        uint64 // RLIMIT_DATA, 0 for none
	processes   uint64 // RLIMIT_NPROC, 0 for none
	// join are files into which it writes itself: cgroup.procs. They are opened
	// by who makes the cgroup, for where the stage is they may be hidden.
	join []string
}

func (l limits) none() bool {
	return l.descriptors == 0 && l.data == 0 && l.processes == 0 && len(l.join) == 0
}

// staged says whether there is something to do between fork and exec.
func (p program) staged() bool {
	return !p.limits.none() || len(p.joins) > 0 || p.channel != absent
}

// openJoins opens the files of limits.join; close them when the stage has them.
func (p *program) openJoins() (closeAll func(), err error) {
	var opened []int
	closeAll = func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}
	for _, path := range p.limits.join {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeAll()
			return nil, &startError{op: opJoin, err: err}
		}
		opened = append(opened, fd)
		p.joins = append(p.joins, uintptr(fd))
	}
	p.limits.join = nil
	return closeAll, nil
}

// start forks and executes the program, and returns after exec succeeded. It
// goes through the stage ExecName only where that has something to do: it is a
// second exec and costs some milliseconds.
func (p program) start(attr syscall.SysProcAttr) (*child, error) {
	if !p.staged() && cleanSignals() {
		return p.fork(p.path, p.argv, p.files, attr)
	}
	closeJoins, err := p.openJoins()
	if err != nil {
		return nil, err
	}
	defer closeJoins()
	report, err := pipe()
	if err != nil {
		return nil, &startError{op: "pipe", err: err}
	}
	files := append(append([]uintptr{}, p.files...), uintptr(report[1]))
	if p.channel != absent {
		files = append(files, p.channel)
	}
	files = append(files, p.joins...)
	c, err := p.fork(p.exe, p.stageArgs(len(p.files)), files, attr)
	unix.Close(report[1])
	if err != nil {
		unix.Close(report[0])
		var se *startError
		if errors.As(err, &se) && se.op == opExec {
			se.op = opStage
		}
		return nil, err
	}
	if err := readReport(report[0]); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (p program) fork(path string, argv []string, files []uintptr, attr syscall.SysProcAttr) (*child, error) {
	c, err := fork(path, argv, &syscall.ProcAttr{Dir: p.dir, Env: p.env, Files: files, Sys: &attr})
	if err != nil {
		return nil, &startError{op: opExec, err: err}
	}
	return c, nil
}

// What a start that failed was doing, if it was not the exec itself.
const (
	opExec        = "exec"
	opStage       = "stage"
	opJoin        = "join"
	opDescriptors = "descriptors"
	opData        = "data"
	opProcesses   = "processes"
	opEnded       = "ended"
	opHook        = "hook"
)

// startError is a failure between fork and exec.
type startError struct {
	op  string
	err error
}

func (e *startError) Error() string { return e.op + ": " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// maxReport bounds what a helper says of a failure.
const maxReport = 4096

// encode is the form in which helpers report: "exec 2", and where the number is
// not all also the words, "hook 13 landlock: permission denied".
func (e *startError) encode() []byte {
	var errno syscall.Errno
	if !errors.As(e.err, &errno) {
		errno = syscall.EIO
	}
	report := []byte(e.op + " " + strconv.Itoa(int(errno)))
	if e.op == opHook || e.op == opEnded {
		report = append(append(report, ' '), e.err.Error()...)
	}
	return report[:min(len(report), maxReport-16)]
}

func decodeStartError(b []byte) *startError {
	op, rest, ok := strings.Cut(string(b), " ")
	number, text, _ := strings.Cut(rest, " ")
	errno, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || errno <= 0:
		return &startError{op: opEnded, err: fmt.Errorf("unknown report %q", clip(b))}
	case text != "":
		return &startError{op: op, err: &saidError{text: text, errno: syscall.Errno(errno)}}
	}
	return &startError{op: op, err: syscall.Errno(errno)}
}

// saidError is an error of another process, in its words.
type saidError struct {
	text  string
	errno syscall.Errno
}

func (e *saidError) Error() string { return e.text }
func (e *saidError) Unwrap() error { return e.errno }

// aboutToExec is what the stage reports before it executes the server. If then
// the pipe is closed, the exec succeeded: nothing else closes it.
const aboutToExec = '!'

func readReport(fd int) error {
	defer unix.Close(fd)
	var report []byte
	var buf [64]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &startError{op: opEnded, err: err}
		}
		if n == 0 {
			break
		}
		report = append(report, buf[:n]...)
	}
	rest, ok := bytes.CutPrefix(report, []byte{aboutToExec})
	switch {
	case len(rest) > 0:
		return decodeStartError(rest)
	case !ok:
		return &startError{op: opEnded, err: fmt.Errorf("%s ended before it executed the program", ExecName)}
	}
	return nil
}

// explainStart says in words what a start was doing when it failed.
func (s *Spec) explainStart(err error) error {
	var se *startError
	if !errors.As(err, &se) {
		return fmt.Errorf("start %q: %w", s.Path, err)
	}
	switch se.op {
	case opExec:
		return s.explainExec(se.err)
	case opStage:
		if bad := checkDir(s.Dir); bad != nil {
			return fmt.Errorf("start %q: %w", s.Path, bad)
		}
		return fmt.Errorf("start %q: execute %s as %s: %w", s.Path, executable(s.Executable), ExecName, se.err)
	case opDescriptors:
		return fmt.Errorf("start %q: limit open files to %d: %w", s.Path, s.MaxFileDescriptors, se.err)
	case opData, opJoin:
		return fmt.Errorf("start %q: limit memory to %d bytes: %w", s.Path, s.MaxMemoryBytes, se.err)
	case opProcesses:
		return fmt.Errorf("start %q: limit the tree to %d processes: %w", s.Path, s.MaxProcesses, se.err)
	case opHook:
		return fmt.Errorf("start %q: %w: %w", s.Path, ErrUnconfined, se.err)
	case opEnded:
		return fmt.Errorf("start %q: %w", s.Path, se.err)
	}
	return fmt.Errorf("start %q: %s: %w", s.Path, se.op, se.err)
}

func (s *Spec) program() program {
	files := []uintptr{s.Stdin.Fd(), s.Stdout.Fd(), s.Stderr.Fd()}
	if s.TreeLock != nil {
		files = append(files, s.TreeLock.Fd())
	}
	p := program{
		exe:     executable(s.Executable),
		path:    s.Path,
		argv:    s.Argv,
		env:     s.environ(),
		dir:     s.Dir,
		files:   files,
		limits:  limits{descriptors: s.MaxFileDescriptors},
		channel: absent,
	}
	if s.Confine != nil {
		p.channel = s.Confine.Channel.Fd()
	}
	return p
}
