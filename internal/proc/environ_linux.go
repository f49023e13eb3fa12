package proc

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// execPatience is how long a process in the middle of execve is waited for.
// That takes microseconds, or as long as a disk takes to give the head of a
// program.
const execPatience = time.Second

// environBlock is how much of an environment is looked at at a time.
const environBlock = 2 << 10

// carries says whether a variable in the environment with which a process was
// executed begins with marker.
func carries(pid int, marker []byte) answer {
	for begun := time.Now(); ; {
		found, end := searchEnviron(pid, marker)
		if found != no || end == endKnown || environSize(pid) == uint64(end) {
			return found
		}
		// It executed another program while we looked. Nothing tells when that
		// is done.
		if time.Since(begun) > execPatience {
			return unreadable
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// environEnd is where the search of an environment came to its end: after how
// many bytes a read gave no more, or endKnown, where that is certain to be all.
type environEnd int

const endKnown environEnd = -1

// searchEnviron looks through the environment once. Reading ends after the last
// byte, and also when the program is no more: its successor, of which nothing
// was read then, may carry what it carried.
func searchEnviron(pid int, marker []byte) (answer, environEnd) {
	fd, err := openProc(pid, "environ")
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			return no, endKnown
		}
		return unreadable, endKnown
	}
	defer unix.Close(fd)
	// The first variable is preceded by a NUL as all others are.
	var buf [environBlock]byte
	held := 1
	for total := 0; ; {
		space := buf[held:]
		n, err := unix.Read(fd, space)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ESRCH:
			return no, endKnown
		case err != nil:
			return unreadable, endKnown
		case n == 0:
			return no, environEnd(total)
		}
		total += n
		held += n
		if hasVariable(buf[:held], marker) {
			return yes, endKnown
		}
		if n < len(space) {
			return no, endKnown
		}
		// Keep what may be the NUL and the beginning of the marker.
		if held > len(marker) {
			held = copy(buf[:], buf[held-len(marker):held])
		}
	}
}

// hasVariable says whether marker stands after a NUL.
func hasVariable(environ, marker []byte) bool {
	for {
		i := bytes.Index(environ, marker)
		if i < 0 {
			return false
		}
		if i > 0 && environ[i-1] == 0 {
			return true
		}
		environ = environ[i+1:]
	}
}

// environSize is how long a process' environment is: 0 for the dead and for
// kernel threads, which have no memory at all, and more than any while its
// program is being replaced.
func environSize(pid int) uint64 {
	fd, err := openProc(pid, "stat")
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := readHead(fd, buf[:])
	if err != nil {
		return 0
	}
	return parseEnvironSize(buf[:n])
}

// parseEnvironSize reads four fields of /proc/PID/stat, by the numbers of proc(5):
// 23 is the size of the memory, 50 and 51 are where the environment begins and
// ends, and 27 is where the code ends, which execve sets after those two and
// which is 0 until then.
func parseEnvironSize(line []byte) uint64 {
	var size, code, begin uint64
	rest := line[bytes.LastIndexByte(line, ')')+1:]
	for field := 3; ; field++ { // after the name of the program, in parentheses
		var word []byte
		if word, rest = nextField(rest); len(word) == 0 {
			return 0
		}
		switch field {
		case 23:
			size, _ = strconv.ParseUint(string(word), 10, 64)
		case 27:
			code, _ = strconv.ParseUint(string(word), 10, 64)
		case 50:
			begin, _ = strconv.ParseUint(string(word), 10, 64)
		case 51:
			end, _ := strconv.ParseUint(string(word), 10, 64)
			switch {
			case size == 0:
				return 0
			case code == 0:
				return math.MaxUint64
			}
			return end - begin
		}
	}
}
