package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, the unit of start times in /proc: 100 in every
// kernel that Go runs on.
const ticksPerSecond = 100

// thisWorld also proves that /proc shows our own PID namespace: if it shows
// another one, each pid that it names is somebody else's here.
func thisWorld() (world, error) {
	var buf [64]byte
	n, err := readInto("/proc/sys/kernel/random/boot_id", buf[:])
	if err != nil {
		return world{}, fmt.Errorf("read the boot id: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return world{}, &os.PathError{Op: "stat", Path: "/proc/self/ns/pid", Err: err}
	}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return world{}, err
	}
	if self != strconv.Itoa(os.Getpid()) {
		return world{}, fmt.Errorf("/proc calls this process %s, but it is %d: %w", self, os.Getpid(), ErrForeign)
	}
	return world{boot: string(bytes.TrimSpace(buf[:n])), namespace: st.Ino}, nil
}

// Describe returns what the system tells of a live process.
func Describe(pid int) (Info, error) {
	id, err := Identify(pid)
	if err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(pid), &st); err != nil {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, goneOr(err))
	}
	line, err := os.ReadFile(procPath(pid, "cmdline"))
	if err != nil {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, goneOr(err))
	}
	started, err := wallClock(id.Start)
	if err != nil {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, err)
	}
	info := Info{ID: id, UID: int(st.Uid), Started: started}
	if text, ok := bytes.CutSuffix(line, []byte{0}); ok {
		for _, arg := range bytes.Split(text, []byte{0}) {
			info.Argv = append(info.Argv, string(arg))
		}
	}
	// All of it must be of one process.
	if now, err := Identify(pid); err != nil || now != id {
		return Info{}, fmt.Errorf("describe pid %d: %w", pid, ErrGone)
	}
	return info, nil
}

// wallClock turns ticks after boot into a time, by today's difference of the
// two clocks: exact to a tick unless the wall clock was set since.
func wallClock(ticks uint64) (time.Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}, os.NewSyscallError("clock_gettime", err)
	}
	age := time.Duration(ts.Nano()) - time.Duration(ticks)*(time.Second/ticksPerSecond)
	return time.Now().Add(-age), nil
}

// residentBytes is the process' share of memory: PSS, or RSS where PSS may not
// be read; 0 if the process is gone.
func residentBytes(pid int) uint64 {
	if n, ok := pss(pid); ok {
		return n
	}
	var buf [128]byte
	n, err := readInto(procPath(pid, "statm"), buf[:])
	if err != nil {
		return 0
	}
	fields := bytes.Fields(buf[:n])
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}

func pss(pid int) (uint64, bool) {
	var buf [2048]byte
	n, err := readInto(procPath(pid, "smaps_rollup"), buf[:])
	if err != nil {
		return 0, false
	}
	_, rest, _ := bytes.Cut(buf[:n], []byte("\nPss:"))
	number, _, ok := bytes.Cut(rest, []byte(" kB"))
	if !ok {
		return 0, false
	}
	kib, err := parseNumber(number)
	return kib * 1024, err == nil
}
