package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// thisWorld is the boot session; macOS has no PID namespaces.
func thisWorld() (world, error) {
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return world{}, fmt.Errorf("read the boot session: %w", err)
	}
	return world{boot: boot}, nil
}

// statOf translates what sysctl says of a process.
func statOf(k *unix.KinfoProc) stat {
	const zombie = 5 // SZOMB
	s := stat{
		pid:     int(k.Proc.P_pid),
		state:   'R',
		ppid:    int(k.Eproc.Ppid),
		pgrp:    int(k.Eproc.Pgid),
		start:   uint64(k.Proc.P_starttime.Sec)*1e6 + uint64(k.Proc.P_starttime.Usec),
		threads: 1,
	}
	if k.Proc.P_stat == zombie {
		s.state = 'Z'
	}
	// The session in KinfoProc is a kernel address.
	s.session, _ = unix.Getsid(s.pid)
	return s
}

// readStat reads the state of a process; a process that is gone is ErrGone.
func readStat(pid int) (stat, error) {
	k, err := kinfo(pid)
	if err != nil {
		return stat{}, err
	}
	return statOf(k), nil
}

func kinfo(pid int) (*unix.KinfoProc, error) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	// EIO: the kernel returned no record.
	if errors.Is(err, unix.EIO) || err == nil && int(k.Proc.P_pid) != pid {
		return nil, ErrGone
	}
	return k, err
}

// processes reads the state of every process, zombies too.
func processes() ([]stat, error) {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, err
	}
	stats := make([]stat, 0, len(all))
	for i := range all {
		if all[i].Proc.P_pid > 0 {
			stats = append(stats, statOf(&all[i]))
		}
	}
	return stats, nil
}

// Describe returns what the system tells of a live process.
func Describe(pid int) (Info, error) {
	k, err := kinfo(pid)
	if err != nil {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, err)
	}
	id, err := Identify(pid)
	if err != nil {
		return Info{}, err
	}
	argv, _, err := arguments(pid)
	if err != nil {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, err)
	}
	return Info{ID: id, UID: int(k.Eproc.Ucred.Uid), Argv: argv, Started: time.UnixMicro(int64(id.Start))}, nil
}

// arguments returns argv and the environment with which a process was executed.
func arguments(pid int) (argv, env []string, err error) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return nil, nil, err
	}
	return parseArguments(raw)
}

// parseArguments reads what the kernel gives: the number of arguments, the path
// of the program, padding, then the arguments and the environment, each with a
// NUL at the end.
func parseArguments(raw []byte) (argv, env []string, err error) {
	if len(raw) < 4 {
		return nil, nil, fmt.Errorf("short arguments: %d bytes", len(raw))
	}
	count := int(binary.NativeEndian.Uint32(raw))
	_, rest, _ := bytes.Cut(raw[4:], []byte{0})
	rest = bytes.TrimLeft(rest, "\x00")
	for len(rest) > 0 {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte{0})
		switch {
		case len(argv) < count:
			argv = append(argv, string(word))
		case len(word) > 0:
			env = append(env, string(word))
		}
	}
	return argv, env, nil
}

// carries says whether a variable in the environment with which a process was
// executed begins with marker.
func carries(pid int, marker []byte) answer {
	_, env, err := arguments(pid)
	if err != nil {
		return unreadable
	}
	for _, kv := range env {
		if strings.HasPrefix(kv, string(marker)) {
			return yes
		}
	}
	return no
}

// residentBytes is not known without libproc; see Tree.Memory.
func residentBytes(pid int) uint64 {
	k, err := kinfo(pid)
	if err != nil {
		return 0
	}
	return uint64(k.Eproc.Xrssize) * uint64(syscall.Getpagesize())
}
