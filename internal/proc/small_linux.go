package proc

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The init of a PID namespace stays for as long as its server, and does next to
// nothing: the runtime of Go would be nearly all of it. So it becomes, in place, a
// program of some hundred bytes that does the same.

// msgWaited is msgExited with the status in 4 bytes, little end first.
const msgWaited = 'W'

// The layout of the executable: one segment, which begins with the headers.
const (
	smallBase       = 0x400000
	smallParameters = 0xb0 // behind the header and two program headers
	smallStart      = 0xd0
)

// smallImage is the executable; nil where there is none for this machine.
func smallImage(server, children int) []byte {
	code := smallCode()
	if code == nil {
		return nil
	}
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, smallMachine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, smallBase+smallStart)
	b = le.AppendUint64(b, 64) // the program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 2, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	size := uint64(smallStart + len(code))
	header := func(kind, flags uint32, at, size, align uint64) {
		b = le.AppendUint32(b, kind)
		b = le.AppendUint32(b, flags)
		for _, n := range []uint64{0, at, at, size, size, align} {
			b = le.AppendUint64(b, n)
		}
	}
	header(1, 5, smallBase, size, 4096) // PT_LOAD, to be read and executed
	header(0x6474e551, 6, 0, 0, 16)     // PT_GNU_STACK, not to be executed
	b = le.AppendUint32(b, uint32(server))
	b = le.AppendUint32(b, uint32(children))
	b = append(b, InitName...) // at 0xb8; zeros end it
	b = append(b, make([]byte, smallStart-len(b))...)
	return append(b, code...)
}

// becomeSmall executes it. It returns if that is not possible; nothing has changed
// then. This is the main thread, the only one whose mask the program gets.
func (p program) becomeSmall(server int) {
	var children unix.Sigset_t
	children.Val[0] = 1 << (unix.SIGCHLD - 1)
	signals, err := unix.Signalfd(-1, &children, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return
	}
	defer unix.Close(signals)
	image := smallImage(server, signals)
	if image == nil {
		return
	}
	memory, err := unix.MemfdCreate(InitName, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // Linux before 6.3, where all are executable
		memory, err = unix.MemfdCreate(InitName, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return
	}
	defer unix.Close(memory)
	if n, err := unix.Write(memory, image); n != len(image) || err != nil {
		return
	}
	if p.channel != absent {
		// Nobody of this user may read the file, so the process is not dumpable.
		_ = unix.Fchmod(memory, 0o100)
	}
	closeOnExecFrom(3)
	keep := []int{controlFD, signals}
	if len(p.files) > 3 {
		keep = append(keep, int(p.files[3]))
	}
	for _, fd := range keep {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	if unix.PthreadSigmask(unix.SIG_BLOCK, &children, nil) != nil {
		return
	}
	// By what this process is recognised as the server's, and no more.
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return !strings.HasPrefix(kv, IncarnationVariable+"=") })
	execDescriptor(memory, []string{InitName}, env)
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &children, nil)
	closeOnExecFrom(3)
}

// execDescriptor executes a file by its descriptor; it returns if that failed.
func execDescriptor(fd int, argv, env []string) {
	empty, err := syscall.BytePtrFromString("")
	if err != nil {
		return
	}
	argp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return
	}
	_, _, _ = unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argp[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
}
