package unotify

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener is the descriptor of a filter that was made with
// SECCOMP_FILTER_FLAG_NEW_LISTENER.
type Listener struct{ file *os.File }

// Call is a system call of which a thread waits for the answer.
type Call struct {
	id uint64
	// PID is the thread that makes it, as this process sees it.
	PID int
	// Number is that of the call, by the architecture of this program.
	Number int
	Args   [6]uint64
}

// notification and response are the kernel's structures.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// Open takes a file over. It may be one that blocks.
func Open(f *os.File) (*Listener, error) {
	// The runtime's poller takes only descriptors that do not block.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	f.Close()
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &Listener{os.NewFile(uintptr(fd), "seccomp notify")}, nil
}

// Close has every call that waits, and every later one, fail with ENOSYS, unless
// somebody else has the descriptor too.
func (l *Listener) Close() error { return l.file.Close() }

// File is the descriptor once more, for another process.
func (l *Listener) File() (*os.File, error) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) })
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), l.file.Name()), nil
}

// Next waits for a call. It returns io.EOF when the last process under the filter has
// ended, and another error when the Listener was closed.
func (l *Listener) Next() (Call, error) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return Call{}, err
	}
	for {
		var n notification
		var failed error
		err := raw.Read(func(fd uintptr) (done bool) {
			// Receiving would wait in the kernel, for ever and with a thread of ours;
			// so it is done only when there is something.
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if count, err := unix.Poll(ready, 0); err != nil || count == 0 {
				if err != nil && err != unix.EINTR {
					failed = err
				}
				return failed != nil
			}
			if ready[0].Revents&unix.POLLIN == 0 {
				failed = io.EOF
				return true
			}
			n = notification{}
			err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
			return err == nil || err != unix.EINTR && err != unix.ENOENT // ENOENT: killed meanwhile
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return Call{}, err
		}
		if n.id != 0 {
			return Call{n.id, int(n.pid), int(n.nr), n.args}, nil
		}
	}
}

// Valid says whether the thread of a call still waits. What was opened by its PID before
// is its own only then.
func (l *Listener) Valid(c Call) bool {
	return l.control(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&c.id)) == nil
}

// Answer is what the call returns: 0, or what is wrong.
func (l *Listener) Answer(c Call, errno unix.Errno) {
	r := response{id: c.id, error: -int32(errno)}
	_ = l.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)) // ENOENT: it is gone
}

// Continue lets the kernel do the call. It is no permission: by then the arguments may
// be others than those that were looked at.
func (l *Listener) Continue(c Call) {
	r := response{id: c.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_ = l.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// ErrGone: the thread of a call does not wait any more.
var ErrGone = errors.New("the thread has gone on")

// Memory reads what is at an address of the thread's memory: as much of b as there is,
// which may end at a page.
func (l *Listener) Memory(c Call, at uint64, b []byte) (int, error) {
	mem, err := unix.Open("/proc/"+strconv.Itoa(c.PID)+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open", err)
	}
	defer unix.Close(mem)
	if !l.Valid(c) {
		return 0, ErrGone
	}
	n, err := unix.Pread(mem, b, int64(at))
	return max(n, 0), os.NewSyscallError("pread", err)
}

// Text reads a text that ends with a NUL byte, of less than PATH_MAX bytes.
func (l *Listener) Text(c Call, at uint64) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := l.Memory(c, at, b)
	if end := bytes.IndexByte(b[:n], 0); end >= 0 {
		return string(b[:end]), nil
	}
	if err == nil {
		err = unix.ENAMETOOLONG
	}
	return "", err
}

func (l *Listener) control(name uint, arg unsafe.Pointer) error {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = ioctl(fd, name, arg) })
	return errors.Join(cerr, err)
}

func ioctl(fd uintptr, name uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(name), uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
