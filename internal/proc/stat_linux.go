package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// parseStat parses /proc/PID/stat. The second field is the name of the program
// in parentheses; it may hold anything, parentheses and newlines too, so it is
// skipped from the end.
func parseStat(line []byte) (stat, error) {
	open := bytes.IndexByte(line, '(')
	end := bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no program name in %q", clip(line))
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil || pid <= 0 {
		return stat{}, fmt.Errorf("no pid in %q", clip(line))
	}
	s := stat{pid: pid}
	rest := line[end+1:]
	for field := 3; ; field++ {
		var word []byte
		if word, rest = nextField(rest); len(word) == 0 {
			return stat{}, fmt.Errorf("only %d fields in %q", field-1, clip(line))
		}
		switch field {
		case 3:
			if c := word[0] | 0x20; len(word) > 1 || c < 'a' || c > 'z' { // in either case
				return stat{}, fmt.Errorf("no state in %q", clip(line))
			}
			s.state = word[0]
		case 4:
			s.ppid, err = strconv.Atoi(string(word))
		case 5:
			s.pgrp, err = strconv.Atoi(string(word))
		case 6:
			s.session, err = strconv.Atoi(string(word))
		case 20:
			s.threads, err = strconv.Atoi(string(word))
		case 22:
			s.start, err = strconv.ParseUint(string(word), 10, 64)
			if err == nil {
				return s, nil
			}
		}
		if err != nil {
			return stat{}, fmt.Errorf("field %d of %q is no number", field, clip(line))
		}
	}
}

// nextField splits a field off, which is empty at the end.
func nextField(line []byte) (field, rest []byte) {
	line = bytes.TrimLeft(line, " \n")
	n := bytes.IndexAny(line, " \n")
	if n < 0 {
		n = len(line)
	}
	return line[:n], line[n:]
}

// readStat reads the state of a process; a process that is gone is ErrGone.
func readStat(pid int) (stat, error) {
	fd, err := openProc(pid, "stat")
	if err != nil {
		return stat{}, statError(pid, err)
	}
	defer unix.Close(fd)
	var buf [512]byte
	n, err := readHead(fd, buf[:])
	if err != nil {
		return stat{}, statError(pid, err)
	}
	s, err := parseStat(buf[:n])
	if err != nil {
		return stat{}, fmt.Errorf("%s: %w", procPath(pid, "stat"), err)
	}
	return s, nil
}

func statError(pid int, err error) error {
	if err = goneOr(err); err == ErrGone {
		return err
	}
	return fmt.Errorf("read %s: %w", procPath(pid, "stat"), err)
}

// goneOr turns the two errors by which /proc says that a process is gone into
// ErrGone.
func goneOr(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return err
}

// processes reads the state of every process, zombies too.
func processes() ([]stat, error) {
	list, err := openPIDs()
	if err != nil {
		return nil, err
	}
	defer list.close()
	var stats []stat
	for {
		pid, err := list.next()
		if err != nil {
			return nil, err
		}
		if pid == 0 {
			return stats, nil
		}
		s, err := readStat(pid)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			return nil, err
		default:
			stats = append(stats, s)
		}
	}
}
