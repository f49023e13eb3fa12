package shim

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// textMost is how many mappings of programs are looked at: a Go program has two,
// one that is linked with others some more.
const textMost = 16

// releaseText takes the program's own code out of this process's memory: most of
// what ran while it started never runs again, and what does is back in the time of
// a page fault, for the file stays in the system's cache. It costs no garbage.
//
// madvise(2): after MADV_DONTNEED "subsequent accesses of pages in the range will
// succeed, but will result in […] repopulating the memory contents from the
// up-to-date contents of the underlying mapped file". So it is only for what
// nobody changed since it was mapped.
func releaseText() {
	fd, err := unix.Open("/proc/self/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var (
		buf   [4 << 10]byte
		held  int
		found mappings
	)
	for {
		n, err := unix.Read(fd, buf[held:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		held += n
		used := found.add(buf[:held])
		held = copy(buf[:], buf[used:held])
	}
	for _, m := range found.all[:found.n] {
		// Constants may have been relocated where a loader was at work: then more
		// files than ours have code here.
		if m.code || found.files == 1 {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(m.from), uintptr(m.to-m.from), unix.MADV_DONTNEED) // it only costs memory
		}
	}
}

// forget takes what b holds out of memory: it is zeros afterwards, and takes no
// room until somebody writes to it. Only whole pages are.
func forget(b []byte) {
	page := uintptr(unix.Getpagesize())
	from := (uintptr(unsafe.Pointer(unsafe.SliceData(b))) + page - 1) &^ (page - 1)
	to := (uintptr(unsafe.Pointer(unsafe.SliceData(b))) + uintptr(len(b))) &^ (page - 1)
	if from < to {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED) // it only costs memory
	}
}

// mappings are the parts of files that are mapped and cannot be written to.
type mappings struct {
	all   [textMost]mapping
	n     int
	files int // of which code is mapped
	last  uint64
}

type mapping struct {
	from, to uint64
	code     bool
}

// add takes the whole lines of text, in the form of /proc/PID/maps (proc(5)), and
// returns how many bytes they are.
func (m *mappings) add(text []byte) (used int) {
	for {
		end := bytes.IndexByte(text[used:], '\n')
		if end < 0 {
			return used
		}
		m.line(text[used : used+end])
		used += end + 1
	}
}

// line takes one: "from-to perms offset device inode path".
func (m *mappings) line(line []byte) {
	from, line := number(line, 16)
	to, line := number(skip(line), 16)
	line = skip(line)
	if len(line) < 5 || line[0] != 'r' || line[1] != '-' || line[3] != 'p' {
		return
	}
	code := line[2] == 'x'
	line = line[5:]
	for range 2 { // offset and device
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			return
		}
		line = line[i+1:]
	}
	inode, _ := number(line, 10)
	if inode == 0 || to <= from || m.n == textMost {
		return
	}
	if code && inode != m.last {
		m.files++
		m.last = inode
	}
	m.all[m.n] = mapping{from, to, code}
	m.n++
}

// skip steps over one byte.
func skip(b []byte) []byte { return b[min(1, len(b)):] }

// number reads a number and returns what follows it.
func number(b []byte, base uint64) (n uint64, rest []byte) {
	for i, c := range b {
		d := uint64(c - '0')
		if c >= 'a' && c <= 'f' {
			d = uint64(c-'a') + 10
		}
		if d >= base {
			return n, b[i:]
		}
		n = n*base + d
	}
	return n, nil
}
