package proc

import (
	"encoding/binary"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Every supervisor looks through /proc when it starts. What that allocates it
// keeps for the rest of its life, in which it has next to nothing to do, and a
// machine may have a thousand processes. So here paths, names and contents stay
// on the stack, and no file is put into the poller.

// procPath returns /proc/PID/name.
func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// openProc opens /proc/PID/name for reading. Its errors are bare.
func openProc(pid int, name string) (int, error) {
	var room [64]byte
	path := append(room[:0], "/proc/"...)
	path = strconv.AppendInt(path, int64(pid), 10)
	path = append(path, '/')
	path = append(path, name...)
	path = append(path, 0)
	for {
		// The directory is not looked at for a path from the root.
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, 0, uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINTR {
			return -1, errno
		}
	}
}

// readLink reads where a symbolic link in an open directory points. What does
// not fit into buf is cut off.
func readLink(dir int, name []byte, buf []byte) ([]byte, error) {
	var room [256]byte
	path := append(append(room[:0], name...), 0)
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return buf[:n], nil
}

// entries reads the names in an open directory.
type entries struct {
	fd      int
	buf     [1024]byte
	at, end int  // of the part of buf that is to be read
	kind    byte // of the last one: DT_DIR and the like, where the file system tells
}

// The members of struct linux_dirent64, getdents64(2).
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

// next returns a name, which is valid until the call after, and nil at the end.
func (e *entries) next() ([]byte, error) {
	if e.at == e.end {
		n, err := unix.ReadDirent(e.fd, e.buf[:])
		for err == unix.EINTR {
			n, err = unix.ReadDirent(e.fd, e.buf[:])
		}
		if err != nil || n == 0 {
			return nil, err
		}
		e.at, e.end = 0, n
	}
	record := e.buf[e.at:e.end]
	record = record[:binary.NativeEndian.Uint16(record[direntLength:])]
	e.at += len(record)
	e.kind = record[direntType]
	name := record[direntName:]
	for i, c := range name {
		if c == 0 {
			return name[:i], nil
		}
	}
	return name, nil
}

// pidList reads the processes that /proc shows.
type pidList struct{ entries }

func openPIDs() (pidList, error) {
	fd, err := openRead("/proc")
	return pidList{entries{fd: fd}}, err
}

// next returns a pid, and 0 at the end.
func (l *pidList) next() (int, error) {
	for {
		name, err := l.entries.next()
		if err != nil {
			return 0, &os.PathError{Op: "read", Path: "/proc", Err: err}
		}
		if name == nil {
			return 0, nil
		}
		// The other names there do not begin with a digit.
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(string(name)); err == nil {
			return pid, nil
		}
	}
}

func (l *pidList) close() { unix.Close(l.fd) }

// readInto reads the head of a small file without os.File, which would put it
// into the poller.
func readInto(path string, buf []byte) (int, error) {
	fd, err := openRead(path)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	n, err := readHead(fd, buf)
	if err != nil {
		err = &os.PathError{Op: "read", Path: path, Err: err}
	}
	return n, err
}

// readHead reads until buf is full or the file ends.
func readHead(fd int, buf []byte) (int, error) {
	total := 0
	for total < len(buf) {
		n, err := unix.Read(fd, buf[total:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
		total += n
	}
	return total, nil
}

// readAll reads a file into buf, or where it does not fit into a larger one.
func readAll(path string, buf []byte) ([]byte, error) {
	fd, err := openRead(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for total := 0; ; {
		n, err := readHead(fd, buf[total:])
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if total += n; total < len(buf) {
			return buf[:total], nil
		}
		buf = append(buf, make([]byte, len(buf))...)
	}
}

func openRead(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}
